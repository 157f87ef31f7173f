"""Tests (tests/pairs)."""
