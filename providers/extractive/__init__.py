"""The embedded provider: no network, no weights, deterministic. It drives the agents through messages and tool calls
only."""
