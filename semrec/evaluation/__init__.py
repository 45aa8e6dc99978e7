"""Evaluation: unsampled ranking metrics of any model that gives user and item vectors, with intervals."""
