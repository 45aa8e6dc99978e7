"""The release: an immutable, fingerprinted set of everything that scoring and serving need."""
