"""The layout of the SQLite file, one numbered script per version."""
