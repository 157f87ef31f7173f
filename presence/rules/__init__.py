"""Presence authorization rules: who may watch, and what is seen (RFC 4745, RFC 5025, OMA)."""
