"""Serving: what is answered online, from an opened release and what has changed since. Where it runs is `cluster.serving`."""
