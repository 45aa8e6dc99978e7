"""Keeps the last change of each item or relation: what the views of both share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Protocol, TypeVar

__all__ = ["changes_after", "with_latest"]


class _Numbered(Protocol):
    @property
    def sequence(self) -> int: ...


Key = TypeVar("Key")
Change = TypeVar("Change", bound=_Numbered)


def with_latest(
    known: Mapping[Key, Change], changes: Iterable[Change], key: Callable[[Change], Key]
) -> Mapping[Key, Change]:
    """Adds changes, in any order: of two with one key the one with the higher sequence counts, of equals the later one."""
    latest = dict(known)
    for change in changes:
        name = key(change)
        before = latest.get(name)
        if before is None or before.sequence <= change.sequence:
            latest[name] = change
    return MappingProxyType(latest)


def changes_after(changes: Mapping[Key, Change], applied: int) -> Mapping[Key, Change]:
    """Returns the changes with sequences above `applied`; the same mapping where that are all, or `applied` is 0."""
    later = {key: change for key, change in changes.items() if change.sequence > applied}
    return changes if applied <= 0 or len(later) == len(changes) else MappingProxyType(later)
