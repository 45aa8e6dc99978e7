"""Builds and reads releases: an immutable, fingerprinted set of everything that scoring and serving need."""
