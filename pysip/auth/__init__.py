"""Authentication and trust: Digest (RFC 7616, RFC 8760) and asserted identities (RFC 3325)."""
