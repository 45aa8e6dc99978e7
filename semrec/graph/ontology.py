"""Reads the axioms of an ontology: what its triples say of classes and properties, apart from what they say of things."""

from __future__ import annotations

from functools import cached_property
from itertools import combinations

import pyarrow as pa
import pyarrow.compute as pc

from semrec import owl
from semrec.errors import InputError
from semrec.graph.triples import node_triples

__all__ = ["Ontology"]

_Pair = tuple[str, str]


class Ontology:
    """The axioms among triples (RELATIONS_SCHEMA). The other triples are `facts`: relations like the imported ones.

    Names are those of the graph's nodes. `genre=Slasher` is the class of what has the genre Slasher, OWL's restriction
    hasValue. A name that no relation has is a class or property without members. Classes that lie below each other in a
    circle have the same members. Raises InputError for a property chain or list of classes that has no end.
    """

    def __init__(self, triples: pa.Table) -> None:
        nodes = node_triples(triples)
        is_axiom, about_words = owl.is_vocabulary(nodes["predicate"]), owl.is_vocabulary(nodes["object"])
        is_hierarchy = pc.is_in(nodes["predicate"], value_set=pa.array([owl.TYPE, owl.SUBCLASS_OF])).to_numpy()
        self.facts = triples.filter(pa.array((~is_axiom | is_hierarchy) & ~about_words))
        # That all is an owl:Thing, or what the datatype of a property is, says nothing of what is related.
        says = pc.is_in(nodes["predicate"], value_set=pa.array([owl.TYPE, owl.REST])).to_numpy()
        self._pairs_of: dict[str, list[_Pair]] = {}
        for row in nodes.filter(pa.array(is_axiom & (says | ~about_words))).to_pylist():
            self._pairs_of.setdefault(row["predicate"], []).append((row["subject"], row["object"]))
        self.chains = [(head, tuple(self._list(start))) for head, start in self.pairs(owl.CHAIN)]
        groups = set(self.of_type(owl.ALL_DISJOINT_CLASSES))
        lists = [self._list(start) for name, start in self.pairs(owl.MEMBERS) if name in groups]
        self.disjoint = [*self.pairs(owl.DISJOINT_WITH), *(pair for names in lists for pair in combinations(names, 2))]

    def pairs(self, word: str) -> list[_Pair]:
        """The subject and object of each axiom of a kind, as rdfs:domain."""
        return self._pairs_of.get(word, [])

    def of_type(self, word: str) -> list[str]:
        """What is of a type of the vocabulary, as owl:SymmetricProperty."""
        return [name for name, kind in self.pairs(owl.TYPE) if kind == word]

    @cached_property
    def classes(self) -> set[str]:
        """All classes of which an axiom says something."""
        pairs = [*self.pairs(owl.SUBCLASS_OF), *self.pairs(owl.EQUIVALENT_CLASS), *self.disjoint]
        memberships = [*self.pairs(owl.DOMAIN), *self.pairs(owl.RANGE)]
        return {name for pair in pairs for name in pair} | {name for _, name in memberships}

    @cached_property
    def properties(self) -> set[str]:
        """All properties of which an axiom says something."""
        pairs = [*self.pairs(owl.SUBPROPERTY_OF), *self.pairs(owl.EQUIVALENT_PROPERTY), *self.pairs(owl.INVERSE_OF)]
        names = {name for pair in pairs for name in pair}
        names |= {name for name, _ in (*self.pairs(owl.DOMAIN), *self.pairs(owl.RANGE))}
        names |= {name for head, steps in self.chains for name in (head, *steps)}
        return names.union(self.of_type(owl.SYMMETRIC), self.of_type(owl.TRANSITIVE))

    def values_of(self, attribute: str) -> list[str]:
        """The classes of an attribute's values, ascending."""
        return sorted(name for name in self.classes if name.startswith(f"{attribute}="))

    def _list(self, start: str) -> list[str]:
        """The members of an RDF list."""
        first, rest = dict(self.pairs(owl.FIRST)), dict(self.pairs(owl.REST))
        names: list[str] = []
        place = start
        while place != owl.NIL:
            if place not in first or place not in rest or len(names) == len(first):
                raise InputError(
                    f"the list {start!r} of the ontology has no end",
                    expected="rdf:first and rdf:rest at each place, up to rdf:nil",
                    remedy="Write it in Turtle's brackets: ( :first :second ).",
                )
            names.append(first[place])
            place = rest[place]
        return names
