"""The Content Server, and those who use it (PRS-13, PRS-14, PRS-15; AGP-106 to AGP-117)."""
