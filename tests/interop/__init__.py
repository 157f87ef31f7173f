"""Tests with programs that others have written: SIPp, baresip, Kamailio."""
