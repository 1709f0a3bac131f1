"""F3: the durable engine: accept, claim, lease, fence, finish, sweep. Knows runs and the queue, no graph."""
