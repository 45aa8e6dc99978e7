"""Keeps item changes and events between releases: their log, the overlay over a release, and compaction."""
