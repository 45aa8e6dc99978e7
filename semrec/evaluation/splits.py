"""Divide interactions into what models learn from and what they are asked to predict.

All splits drop nothing silently: `Split.counts` says how many users were tested and how many could not be, and why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from semrec.errors import InputError
from semrec.models.base import Events

__all__ = ["SPLITS", "Split", "check_events", "check_no_overlap", "split_events"]

#: Method -> one sentence for help texts and reports.
SPLITS: Final = {
    "leave-last-out": "each user's last liked item is held out",
    "last-share": "the last share of each user's liked items is held out",
    "global-time": "what happened after one instant is held out, with all its users and items",
    "strong": "a share of the users trains nothing: their first events are folded in, their last liked ones asked for",
    "cold-items": "all interactions of a share of the items are held out; ranked among these items alone",
}


@dataclass(frozen=True)
class Split:
    """Interactions divided for one evaluation.

    `train`: the events that models learn from. `history`: the events that user vectors are folded in from, which are also
    the seen items; the same as `train` except in the strong split. User u is asked for the item rows
    `target_rows[target_offsets[u] : target_offsets[u + 1]]` (int64, ascending, none of them in the user's history).
    `candidates`: the ascending item rows that compete, int64, or None for the whole catalogue.
    """

    method: str
    train: Events
    history: Events
    target_offsets: np.ndarray
    target_rows: np.ndarray
    num_items: int
    candidates: np.ndarray | None = None
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def num_users(self) -> int:
        return len(self.target_offsets) - 1

    @property
    def tested_users(self) -> np.ndarray:
        """The users with at least one target, ascending: int64."""
        return np.flatnonzero(np.diff(self.target_offsets))


def split_events(
    events: Events,
    method: str,
    *,
    num_users: int,
    num_items: int,
    neutral_value: float,
    share: float = 0.2,
    seed: int = 0,
) -> Split:
    """Splits events by one of `SPLITS`.

    `events` may come in any order; of several events of one user with one item the latest counts. An event is liked when
    its value exceeds `neutral_value`; only liked items are targets, and every other event of a history is seen. `share` is
    that of each user's liked items (last-share, and the asked users of strong, at least one item), of the events
    (global-time), of the users (strong) or of the items with an interaction (cold-items). `seed` draws users and items.

    Users with fewer than two liked items are not asked in leave-last-out, last-share and strong: with the only one held out
    nothing would be known of them. Events without timestamps (all equal) are ordered by item row within a user.

    Raises InputError for an unknown method, impossible values (see `check_events`), a share outside 0 to 1, equal timestamps
    in global-time, and when no user has a target.
    """
    if method not in SPLITS:
        raise InputError(f"split {method!r}", expected=" or ".join(SPLITS), remedy="Choose one of these.")
    if not 0 < share < 1:
        raise InputError(f"a held-out share of {share}", expected="between 0 and 1", remedy="Take 0.2, say.")
    check_events(events, num_users=num_users, num_items=num_items)
    events = _in_order(events).latest()
    liked = events.value > neutral_value
    everyone = np.arange(num_users)
    candidates = None
    if method == "leave-last-out":
        is_target, leaves = _last_liked(events.user, liked, num_users, share=0.0)
    elif method == "last-share":
        is_target, leaves = _last_liked(events.user, liked, num_users, share=share)
    elif method == "global-time":
        leaves = events.timestamp > _instant(events.timestamp, share)
        is_target = leaves & liked
    elif method == "strong":
        drawn = np.random.default_rng(seed).permutation(num_users)[: max(1, round(share * num_users))]
        is_asked = np.isin(everyone, drawn)[events.user]
        is_target, leaves = _last_liked(events.user, liked & is_asked, num_users, share=share)
    else:
        known_rows = np.unique(events.row)
        num_drawn = max(1, round(share * len(known_rows)))
        candidates = np.sort(np.random.default_rng(seed).permutation(known_rows)[:num_drawn])
        leaves = np.isin(events.row, candidates)
        is_target = leaves & liked
    history = events.keep(~leaves)
    train = history.keep(~is_asked[~leaves]) if method == "strong" else history
    return _checked_split(method, train, history, events.keep(is_target), num_users, num_items, candidates)


def check_events(events: Events, *, num_users: int, num_items: int) -> None:
    """Raises InputError for values that are not finite, and for users or items that do not exist, naming the first."""
    bad = np.flatnonzero(~np.isfinite(events.value))
    if len(bad):
        raise InputError(
            f"the value {events.value[bad[0]]} of user {events.user[bad[0]]} and item row {events.row[bad[0]]}",
            expected="finite values",
            remedy="Drop the event, or give it the neutral value.",
        )
    for name, index, limit in (("user", events.user, num_users), ("item row", events.row, num_items)):
        outside = index[(index < 0) | (index >= limit)]
        if len(outside):
            raise InputError(
                f"an event of {name} {outside[0]}",
                expected=f"0 to {limit - 1}",
                remedy="Number users and items without gaps, and state how many there are.",
            )


def check_no_overlap(train: Events, test: Events, num_items: int) -> None:
    """Raises InputError with the count when pairs of user and item stand in both train and test."""
    shared = np.intersect1d(train.user * num_items + train.row, test.user * num_items + test.row)
    if len(shared):
        user, row = divmod(int(shared[0]), num_items)
        raise InputError(
            f"{len(shared):,} pairs of train stand in test, too: user {user} with item row {row}, for one",
            expected="no pair in both: seen items are never recommended, so these could not be found",
            remedy="Remove the pairs from one of the two.",
        )


def _in_order(events: Events) -> Events:
    """The events by (user, timestamp, row)."""
    order = np.lexsort((events.row, events.timestamp, events.user))
    return Events(events.user[order], events.row[order], events.value[order], events.timestamp[order])


def _last_liked(user: np.ndarray, liked: np.ndarray, num_users: int, *, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Masks over events, in order: each user's last `share` of liked ones as targets, and what leaves the history.

    At least one and never all of a user's liked events are taken; a share of 0 takes one. Both masks are the same: a later
    event that was not liked stays in the history, as seen.
    """
    num_liked_U = np.bincount(user[liked], minlength=num_users)
    num_held_U = np.minimum(np.maximum(np.ceil(share * num_liked_U), 1), num_liked_U - 1).astype(np.int64)
    liked_events = np.flatnonzero(liked)
    starts_U = np.cumsum(num_liked_U) - num_liked_U
    place = np.arange(len(liked_events)) - starts_U[user[liked_events]]  # 0 for the user's first liked event
    owner = user[liked_events]
    is_last = place >= num_liked_U[owner] - num_held_U[owner]
    mask = np.zeros(len(user), bool)
    mask[liked_events[is_last]] = True
    return mask, mask


def _instant(timestamps: np.ndarray, share: float) -> int:
    """The instant after which about `share` of the events lie."""
    if not len(timestamps) or timestamps.min() == timestamps.max():
        raise InputError(
            "events without different timestamps",
            expected="an instant that divides them",
            remedy="Split by user instead: leave-last-out or last-share.",
        )
    instant = int(np.quantile(timestamps, 1 - share, method="lower"))
    return min(instant, int(timestamps.max()) - 1)


def _checked_split(
    method: str,
    train: Events,
    history: Events,
    targets: Events,
    num_users: int,
    num_items: int,
    candidates: np.ndarray | None,
) -> Split:
    num_targets_U = np.bincount(targets.user, minlength=num_users)
    if not len(targets.user):
        raise InputError(
            f"no user has an item to ask for in a {method} split",
            expected="users with liked items beyond those that train",
            remedy="Import more interactions, or check the neutral value above which an item is liked.",
        )
    order = np.lexsort((targets.row, targets.user))
    counts = {
        "users": num_users,
        "tested_users": int((num_targets_U > 0).sum()),
        "untested_users": int((num_targets_U == 0).sum()),
        "targets": len(targets.user),
        "train_events": len(train.user),
        "candidates": num_items if candidates is None else len(candidates),
    }
    offsets = np.concatenate([[0], np.cumsum(num_targets_U)]).astype(np.int64)
    return Split(method, train, history, offsets, targets.row[order].astype(np.int64), num_items, candidates, counts)
