"""Exact recommendations for every user. This package is what is computed: arrays, files, maths. It never imports ray."""

__all__ = ["__version__"]

__version__ = "0.1.0"
