"""Benches that need a cluster or a running service."""
