"""Tests (tests/contract)."""
