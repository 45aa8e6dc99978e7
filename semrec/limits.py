"""Defines limits that imports, runs and the service share. What comes in by one way can be asked for by every other."""

from __future__ import annotations

from typing import Final

__all__ = ["CONTROL_CHARACTERS", "MAX_EVENT_VALUE", "MAX_ID_CHARS", "MAX_K"]

#: What no id may hold and no terminal is sent: control characters, line and paragraph separators, and marks that change the
#: direction of writing. A character class for Python's `re` and Arrow's RE2 alike, which share no escape beyond one byte.
CONTROL_CHARACTERS: Final = "[\\x00-\\x1f\\x7f-\\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
#: Greatest value of one event, either way of zero: without a bound one event of 3e38 was all that a user's vector held.
#: It has room for seconds watched and for plays that were added up; a service may take less. It holds where events come in:
#: what a workspace has from before stays until it is imported again.
MAX_EVENT_VALUE: Final = 1_000_000.0
#: Longest id of an item or user, in characters (`semrec.ids` has the whole rule). Percent-encoded it has at most 12 KiB,
#: which the request line of every HTTP server here takes.
MAX_ID_CHARS: Final = 1_024
#: Most recommendations per user of a run. A service may allow fewer, but never fewer than the run that it serves has.
MAX_K: Final = 10_000
