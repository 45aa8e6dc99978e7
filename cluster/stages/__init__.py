"""Holds the stages that jobs call: one function per verb."""
