"""Checked requests: pydantic models of what callers send over HTTP and gRPC, and the typed queries they stand for.

Every list ends at its first wrong element, and every list and text has a longest: pydantic makes an object of every error, so
what a wrong request costs is a matter of how many it may find.
"""
