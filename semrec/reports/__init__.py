"""Draws reports of a release: the map of its items, and the archetypes of its users."""
