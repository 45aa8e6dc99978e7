"""Infers from relations what follows by an ontology, by rules of OWL 2 RL (W3C 2012, section 4.3), named after their axioms.

Left out are the rules about equal individuals, restrictions, cardinalities and datatypes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec import owl
from semrec.errors import InputError
from semrec.graph.closure import PairRule, Rule, chained, closure, inverse, same, transitive
from semrec.graph.graph import INFERRED_SCHEMA
from semrec.graph.ontology import Ontology
from semrec.graph.triples import node_triples

__all__ = ["Inference", "Subclasses", "including_subclasses", "infer", "pair_rules", "subclasses_with"]

#: Attribute -> value -> the values below it, however far, ascending; a value that has none is not there.
Subclasses = Mapping[str, Mapping[str, Sequence[str]]]

_SHOWN: Final = 3


@dataclass(frozen=True)
class Inference:
    """What follows: relations (INFERRED_SCHEMA), without those that were given, and the hierarchy of attributes' values."""

    relations: pa.Table
    subclasses: Subclasses


def including_subclasses(values: Sequence[str], below: Mapping[str, Sequence[str]]) -> list[str]:
    """Some values of an attribute and all that lie below them, each once."""
    return list(dict.fromkeys([*values, *(narrower for value in values for narrower in below.get(value, ()))]))


def subclasses_with(known: Subclasses, added: Sequence[tuple[str, str]]) -> Subclasses:
    """The hierarchy of attributes' values after more axioms: pairs of a class and one above it, each `attribute=value`."""
    known_above = _sets_above(
        (f"{attribute}={value}", f"{attribute}={wider}")
        for attribute, values_below in known.items()
        for wider, below in values_below.items()
        for value in below
    )
    added_above = _sets_above(added)
    pairs: list[tuple[str, str]] = []
    for below in {*known_above, *added_above}:
        reached = set(known_above.get(below, ()))
        waiting = [below, *reached]
        while waiting:  # what is known is followed to its end already: only what was added leads on
            for wider in added_above.get(waiting.pop(), ()):
                if wider not in reached:
                    new = {wider, *known_above.get(wider, ())} - reached
                    reached |= new
                    waiting += new
        pairs += ((below, wider) for wider in reached)
    return _subclasses(pairs)


def infer(ontology: Ontology, relations: pa.Table) -> Inference:
    """What follows from relations (RELATIONS_SCHEMA) and the ontology's facts.

    Only relations of properties that the ontology speaks of are looked at. Raises InputError for what is in two disjoint
    classes, naming it, and as `closure` does.
    """
    triples = node_triples(pa.concat_tables([relations, ontology.facts]))
    attributes = [name for name in triples["predicate"].unique().to_pylist() if ontology.values_of(name)]
    followed = sorted({owl.TYPE, owl.SUBCLASS_OF, *attributes, *ontology.properties})
    triples = triples.filter(pc.is_in(triples["predicate"], value_set=pa.array(followed)))
    named = {name for end in ("subject", "object") for name in triples[end].unique().to_pylist()}
    nodes = _Nodes(named | ontology.classes)
    facts = {
        name: nodes.codes(triples.filter(pc.equal(triples["predicate"], name)).select(["subject", "object"]))
        for name in followed
    }
    facts[owl.EQUIVALENT_CLASS] = nodes.codes_of(ontology.pairs(owl.EQUIVALENT_CLASS))
    rules = [*_class_rules(nodes, ontology, attributes), *_property_rules(nodes.count, ontology)]
    known = closure(facts, rules)
    _check_disjoint(nodes, ontology, known[owl.TYPE][0])
    is_value_N = nodes.among([name for attribute in attributes for name in ontology.values_of(attribute)])
    tables = [INFERRED_SCHEMA.empty_table()]
    for name, (codes, numbers) in sorted(known.items()):
        subjects, objects = np.divmod(codes, nodes.count)
        is_shown = (numbers > 0) & (subjects != objects)  # what is related to itself says nothing
        if name == owl.TYPE:  # what is of the class of a value has the attribute, which says it
            is_shown &= ~is_value_N[objects]
        elif name.startswith("_:"):  # an inverse without a name of its own
            continue
        made_by = pa.array([rule.name for rule in rules], pa.string()).take(pa.array(numbers[is_shown].astype(int) - 1))
        predicates = pa.repeat(pa.scalar(name, pa.string()), len(made_by))
        columns = [nodes.names(subjects[is_shown]), predicates, nodes.names(objects[is_shown]), made_by]
        tables.append(pa.table(columns, schema=INFERRED_SCHEMA))
    narrow, wide = (nodes.names(ends).to_pylist() for ends in np.divmod(known[owl.SUBCLASS_OF][0], nodes.count))
    return Inference(pa.concat_tables(tables), _subclasses(zip(narrow, wide, strict=True)))


class _Nodes:
    """The nodes that take part, numbered in the order of their names, and pairs of them as codes (see `closure`)."""

    def __init__(self, names: set[str]) -> None:
        self._names, self.count = pa.array(sorted(names), pa.string()), max(len(names), 1)
        self.number_of = {name: number for number, name in enumerate(self._names.to_pylist())}

    def codes(self, pairs: pa.Table) -> np.ndarray:
        """The codes of pairs of names, two columns."""
        left, right = (pc.index_in(ends, value_set=self._names).to_numpy().astype(np.int64) for ends in pairs.columns)
        return np.unique(left * self.count + right)

    def codes_of(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        return np.unique([self.number_of[left] * self.count + self.number_of[right] for left, right in pairs]).astype(
            np.int64
        )

    def among(self, names: Sequence[str]) -> np.ndarray:
        """Which nodes have one of some names: bool [count]."""
        is_among_N = np.zeros(self.count, bool)
        is_among_N[[self.number_of[name] for name in names]] = True
        return is_among_N

    def names(self, numbers: np.ndarray) -> pa.Array:
        return self._names.take(pa.array(numbers))


def _class_rules(nodes: _Nodes, ontology: Ontology, attributes: Sequence[str]) -> list[Rule]:
    count, subclass, equivalent = nodes.count, "rdfs:subClassOf", "owl:equivalentClass"
    rules = [
        Rule(equivalent, owl.SUBCLASS_OF, (owl.EQUIVALENT_CLASS,), same),
        Rule(equivalent, owl.SUBCLASS_OF, (owl.EQUIVALENT_CLASS,), partial(inverse, count)),
        Rule(subclass, owl.SUBCLASS_OF, (owl.SUBCLASS_OF,), partial(transitive, count, subclass), is_idempotent=True),
        Rule(subclass, owl.TYPE, (owl.TYPE, owl.SUBCLASS_OF), partial(chained, count, subclass)),
    ]
    for attribute in attributes:
        of_values = partial(_with_objects, nodes.among(ontology.values_of(attribute)))
        ends = (owl.TYPE, attribute), (attribute, owl.TYPE)
        rules += [Rule("owl:hasValue", head, (body,), of_values) for head, body in ends]
    for word, name, end in ((owl.DOMAIN, "rdfs:domain", 0), (owl.RANGE, "rdfs:range", 1)):
        for of_property, of_class in ontology.pairs(word):
            members = partial(_members, count, end, nodes.number_of[of_class])
            rules.append(Rule(name, owl.TYPE, (of_property,), members))
    return rules


def pair_rules(ontology: Ontology) -> tuple[PairRule, ...]:
    """The rules of an ontology that ask for two things alone, in the order in which they are applied."""
    turned = "owl:inverseOf"
    rules = [PairRule("rdfs:subPropertyOf", above, below, False) for below, above in ontology.pairs(owl.SUBPROPERTY_OF)]
    for one, other in ontology.pairs(owl.EQUIVALENT_PROPERTY):
        rules += [PairRule("owl:equivalentProperty", *ends, False) for ends in ((one, other), (other, one))]
    for one, other in ontology.pairs(owl.INVERSE_OF):
        rules += [PairRule(turned, *ends, True) for ends in ((one, other), (other, one))]
    rules += [PairRule("owl:SymmetricProperty", name, name, True) for name in ontology.of_type(owl.SYMMETRIC)]
    return tuple(rules)


def _property_rules(count: int, ontology: Ontology) -> list[Rule]:
    joined, chain = "owl:TransitiveProperty", "owl:propertyChainAxiom"
    rules = [rule.among(count) for rule in pair_rules(ontology)]
    rules += [
        Rule(joined, name, (name,), partial(transitive, count, joined), is_idempotent=True)
        for name in ontology.of_type(owl.TRANSITIVE)
    ]
    return rules + [Rule(chain, head, steps, partial(chained, count, chain)) for head, steps in ontology.chains]


def _with_objects(is_wanted_N: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """The pairs whose object is wanted."""
    return codes[is_wanted_N[codes % len(is_wanted_N)]]


def _members(count: int, end: int, of_class: int, codes: np.ndarray) -> np.ndarray:
    """Each subject (`end` 0) or object (1) of the pairs as a member of a class."""
    return np.unique(np.divmod(codes, count)[end]) * count + of_class


def _check_disjoint(nodes: _Nodes, ontology: Ontology, type_codes: np.ndarray) -> None:
    """Raises InputError for what is in two classes that have no member in common."""
    members, of_class = np.divmod(type_codes, nodes.count)
    violations = []
    for left, right in ontology.disjoint:
        one, other = (members[of_class == nodes.number_of[name]] for name in (left, right))
        violations += [
            f"{name!r} is in {left!r} and {right!r}" for name in nodes.names(np.intersect1d(one, other)).to_pylist()
        ]
    if violations:
        more = f" and {len(violations) - _SHOWN:,} more" if len(violations) > _SHOWN else ""
        raise InputError(
            f"the ontology says that no thing is in both, but {'; '.join(violations[:_SHOWN])}{more}",
            expected="relations that agree with owl:disjointWith",
            remedy="Correct the relations or attributes of these, or the axiom.",
        )


def _sets_above(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """The classes above each, of pairs of a class and one above it."""
    above: dict[str, set[str]] = {}
    for below, wider in pairs:
        above.setdefault(below, set()).add(wider)
    return above


def _subclasses(pairs: Iterable[tuple[str, str]]) -> Subclasses:
    """The classes below others, as values of one attribute, from all pairs of a class and one above it."""
    values_below: dict[str, dict[str, list[str]]] = {}
    for below, above in sorted(pairs):
        (attribute, _, value), (other, _, wider) = below.partition("="), above.partition("=")
        if attribute == other and value != wider and value and wider:
            values_below.setdefault(attribute, {}).setdefault(wider, []).append(value)
    return values_below
