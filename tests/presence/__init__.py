"""Tests (tests/presence)."""
