"""What a Presence Source publishes beside its documents: MIME objects (oma-presence.md 5)."""
