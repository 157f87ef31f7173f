"""Partial presence documents: RFC 5262, and the patches of RFC 5263 and RFC 5264."""
