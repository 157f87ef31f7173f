"""Presence documents (RFC 3863, RFC 4479, RFC 4480 and extensions) as pure functions."""
