"""MIME objects beside a presence document: published, kept, and told to watchers.

A document refers to them by ``cid:`` URLs (RFC 2392); they stand in the same
``multipart/related`` (RFC 2387), whole or by reference (RFC 4483).
"""
