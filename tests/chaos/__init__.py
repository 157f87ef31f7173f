"""Tests (tests/chaos)."""
