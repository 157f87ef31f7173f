"""Tests (tests/pysip)."""
