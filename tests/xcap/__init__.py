"""Tests of the document servers and their clients."""
