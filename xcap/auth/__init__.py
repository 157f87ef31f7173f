"""Who sends a request: HTTP Digest, lock-out, and identities asserted between servers."""
