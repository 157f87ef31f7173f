"""SIP transports: UDP, TCP, TLS and the in-memory loop transport (RFC 3261 section 18)."""
