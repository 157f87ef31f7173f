"""The commands of ``presencectl``."""
