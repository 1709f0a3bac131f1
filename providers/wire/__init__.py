"""The wire guard: what a provider streams is framed, checked and coalesced here, below the vendors' classes."""
