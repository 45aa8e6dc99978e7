"""Holds the embedded demo: a catalogue of well-known films, and viewers simulated from seven tastes."""

from semrec.demo.catalogue import ONTOLOGY, PLATFORMS, film_items
from semrec.demo.viewers import TASTES, Taste, viewer_interactions, viewer_rows

__all__ = ["ONTOLOGY", "PLATFORMS", "TASTES", "Taste", "film_items", "viewer_interactions", "viewer_rows"]
