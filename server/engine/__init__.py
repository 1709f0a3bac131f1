"""The run engine: accepts, executes, follows and ends runs."""
