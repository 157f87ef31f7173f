"""Application usages: what is special about each kind of document."""
