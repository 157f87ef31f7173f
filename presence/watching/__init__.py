"""What a watcher asks for, and what it makes of what it is told (oma-presence.md 6)."""
