"""Answers queries on an opened release with what changed since laid over it; `cluster.serving` runs it as a service."""
