"""The web console: pages that call the public API with the token of whoever looks at them. It imports no other floor."""
