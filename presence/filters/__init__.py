"""Event filters: what a watcher wants to be told, and when (RFC 4660, RFC 4661)."""
