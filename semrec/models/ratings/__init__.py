"""Predict how a user would rate an item; see README.md."""
