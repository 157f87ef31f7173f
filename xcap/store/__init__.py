"""Durable documents, and the machinery of files that other stores share."""
