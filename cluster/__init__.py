"""Runs the computations of `semrec` on a Ray cluster: the only package that imports ray."""
