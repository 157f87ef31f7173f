"""Event packages of the Presence Server."""
