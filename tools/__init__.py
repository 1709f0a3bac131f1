"""F4: what agents can do. One tool a file; the registry validates and describes; nodes/ executes."""
