"""The HTTP/1.1 server below the document servers and the Aggregation Proxy (RFC 9112)."""
