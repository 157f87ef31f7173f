"""Tests (tests)."""
