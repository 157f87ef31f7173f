"""The Resource List Server: one subscription watches a whole list (RFC 4662)."""
