"""What follows from relations by rules: forward chaining over whole columns until nothing new follows.

A binary relation is an ascending int64 array of distinct codes `subject * num_nodes + object`. Rules are applied in their
order, round after round, so that the result and the rule that is named for it are always the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Final

import numpy as np

from semrec.errors import InputError

__all__ = ["PairRule", "Rule", "chained", "closure", "inverse", "same", "transitive"]

_PAIRS_PER_BLOCK: Final = 1 << 22
_MOST_PAIRS: Final = 1 << 26


@dataclass(frozen=True)
class Rule:
    """Adds what `derive` makes of the codes of the predicates `bodies` to the predicate `head`, ascending and distinct.

    `name` is that of the axiom that it comes from. `is_idempotent`: applied to its own result it adds nothing.
    """

    name: str
    head: str
    bodies: tuple[str, ...]
    derive: Callable[..., np.ndarray]
    is_idempotent: bool = False


@dataclass(frozen=True)
class PairRule:
    """A rule by which a relation of two things follows from another of the same two, whatever else is related.

    `is_inverse`: the other way round. Its axiom is one of sub- and equivalent properties, inverse and symmetric ones.
    """

    axiom: str
    head: str
    body: str
    is_inverse: bool

    def among(self, num_nodes: int) -> Rule:
        """The rule over codes of so many nodes."""
        return Rule(self.axiom, self.head, (self.body,), partial(inverse, num_nodes) if self.is_inverse else same)


def closure(facts: Mapping[str, np.ndarray], rules: Sequence[Rule]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """All that follows from `facts`, by predicate: codes, ascending, and the rule of each (uint16: its place + 1; 0: a fact).

    Raises InputError for a rule that makes more than 67 million pairs.
    """
    nothing = np.zeros(0, np.int64), np.zeros(0, np.uint16)
    known = {predicate: (codes, np.zeros(len(codes), np.uint16)) for predicate, codes in facts.items()}
    sizes_seen: dict[int, list[int]] = {}  # by the number of a rule: what it was applied to last

    def sizes(rule: Rule) -> list[int]:
        return [len(known.get(body, nothing)[0]) for body in rule.bodies]

    is_complete = False
    while not is_complete:
        is_complete = True
        for number, rule in enumerate(rules, start=1):
            before = sizes(rule)
            if before == sizes_seen.get(number):
                continue
            derived = rule.derive(*(known.get(body, nothing)[0] for body in rule.bodies))
            codes, numbers = known.get(rule.head, nothing)
            added = np.setdiff1d(derived, codes, assume_unique=True)
            if len(added):
                if len(codes) + len(added) > _MOST_PAIRS:
                    raise _too_many(rule.name)
                numbers = np.concatenate([numbers, np.full(len(added), number, np.uint16)])
                codes = np.concatenate([codes, added])
                order = np.argsort(codes, kind="stable")
                known[rule.head] = codes[order], numbers[order]
                is_complete = False
            sizes_seen[number] = sizes(rule) if rule.is_idempotent else before
    return known


def same(codes: np.ndarray) -> np.ndarray:
    """The pairs as they are."""
    return codes


def inverse(num_nodes: int, codes: np.ndarray) -> np.ndarray:
    """The pairs the other way round."""
    return np.sort(codes % num_nodes * num_nodes + codes // num_nodes)


def chained(num_nodes: int, name: str, *relations: np.ndarray) -> np.ndarray:
    """The pairs that the relations lead from and to, one after the other. Raises InputError as `closure` does."""
    return reduce(lambda left, right: _composed(left, right, num_nodes, name), relations)


def transitive(num_nodes: int, name: str, codes: np.ndarray) -> np.ndarray:
    """The transitive closure: each pair is prolonged once by each step. Raises InputError as `closure` does."""
    known = newest = codes
    while len(newest):
        newest = np.setdiff1d(_composed(newest, codes, num_nodes, name), known, assume_unique=True)
        known = np.union1d(known, newest)
        if len(known) > _MOST_PAIRS:
            raise _too_many(name)
    return known


def _composed(left: np.ndarray, right: np.ndarray, num_nodes: int, name: str) -> np.ndarray:
    """The pairs (a, c) with (a, b) in `left` and (b, c) in `right`, a few million at a time."""
    subjects, middles = np.divmod(left, num_nodes)
    starts, stops = (np.searchsorted(right, (middles + more) * num_nodes) for more in (0, 1))
    leads_on = stops > starts
    subjects, starts, counts = subjects[leads_on], starts[leads_on], (stops - starts)[leads_on]
    pairs, num_pairs, ends = [np.zeros(0, np.int64)], 0, np.cumsum(counts)
    first = 0
    while first < len(counts):
        before = ends[first] - counts[first]
        last = max(first + 1, int(np.searchsorted(ends, before + _PAIRS_PER_BLOCK, side="right")))
        block = slice(first, last)
        lengths = counts[block]
        places = np.arange(lengths.sum()) - np.repeat(ends[block] - lengths - before, lengths)
        objects = right[np.repeat(starts[block], lengths) + places] % num_nodes
        pairs.append(np.unique(np.repeat(subjects[block], lengths) * num_nodes + objects))
        first, num_pairs = last, num_pairs + len(pairs[-1])
        if num_pairs > _MOST_PAIRS:  # which those of a subject in two blocks count for twice
            pairs = [np.unique(np.concatenate(pairs))]
            num_pairs = len(pairs[0])
            if num_pairs > _MOST_PAIRS:
                raise _too_many(name)
    return np.unique(np.concatenate(pairs))


def _too_many(name: str) -> InputError:
    return InputError(
        f"more than {_MOST_PAIRS:,} relations that follow by {name}",
        expected="an ontology from which fewer follow",
        remedy="Leave the axiom out, or import fewer relations of the property: a transitive one joins all with all.",
    )
