"""Durable state of the Presence Server."""
