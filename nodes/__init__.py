"""F5: the steps of a turn. One node a file; graphs/ wires them."""
