"""The CPU engine: torch's product per tile, compiled loops around it."""
