"""F0: pure values every other floor speaks in. Imports the standard library and pydantic, nothing of ours."""
