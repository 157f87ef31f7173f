"""Tests (tests/interop)."""
