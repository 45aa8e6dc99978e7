"""Scoring: the exact top K of every user among the items they may see. One contract, several engines."""
