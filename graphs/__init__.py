"""F6: the graphs. Each file reads from top to bottom as nodes, routes, edges."""
