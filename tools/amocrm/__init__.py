"""The amoCRM MCP server: a program of its own (`consilium mcp-amocrm`) over amoCRM's REST API v4.

One process serves one amoCRM account. `client.py` speaks HTTP, `directory.py` knows the account's pipelines and people, the
files named after entities hold the tools, `server.py` offers them over MCP.
"""
