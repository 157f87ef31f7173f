"""SQL of the Content Server's store: one script per version."""
