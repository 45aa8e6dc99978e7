"""Texts to an index of words, and items ranked by the words of a query (BM25F)."""
