"""Measurements that a reader can repeat on their own machine."""
