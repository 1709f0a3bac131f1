"""Tools of other programs, over the Model Context Protocol.

`servers.py` is the way in: which tools an organisation's agents have and how its servers do. `session.py` holds one connection,
owned by a task of its own; `wire.py` and `addresses.py` guard what it reads and where it goes.
"""
