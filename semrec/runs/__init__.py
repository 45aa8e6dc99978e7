"""Runs: one all-user scoring of a release, its verification, and what is live."""
