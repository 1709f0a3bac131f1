"""F2: models. One vendor family a file, the registry that builds them, the pure choice between them, the stream
validator."""
