"""Defines the words of RDF, RDFS and OWL: what an ontology may say, by the OWL 2 RL profile (W3C 2012, section 4.3).

Read are class and property hierarchies, equivalences, domains, ranges, inverse, symmetric and transitive properties, property
chains and disjoint classes. There is no reasoning about datatypes, restrictions, cardinalities or equal individuals.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = [
    "ALL_DISJOINT_CLASSES",
    "CHAIN",
    "DISJOINT_WITH",
    "DOMAIN",
    "EQUIVALENT_CLASS",
    "EQUIVALENT_PROPERTY",
    "FIRST",
    "INVERSE_OF",
    "MEMBERS",
    "NIL",
    "RANGE",
    "REST",
    "SUBCLASS_OF",
    "SUBPROPERTY_OF",
    "SYMMETRIC",
    "TRANSITIVE",
    "TYPE",
    "is_vocabulary",
    "unsupported_axioms",
]

_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_RDFS: Final = "http://www.w3.org/2000/01/rdf-schema#"
_OWL: Final = "http://www.w3.org/2002/07/owl#"
_XSD: Final = "http://www.w3.org/2001/XMLSchema#"

TYPE: Final = f"{_RDF}type"
FIRST: Final = f"{_RDF}first"
REST: Final = f"{_RDF}rest"
NIL: Final = f"{_RDF}nil"
SUBCLASS_OF: Final = f"{_RDFS}subClassOf"
SUBPROPERTY_OF: Final = f"{_RDFS}subPropertyOf"
DOMAIN: Final = f"{_RDFS}domain"
RANGE: Final = f"{_RDFS}range"
EQUIVALENT_CLASS: Final = f"{_OWL}equivalentClass"
EQUIVALENT_PROPERTY: Final = f"{_OWL}equivalentProperty"
INVERSE_OF: Final = f"{_OWL}inverseOf"
CHAIN: Final = f"{_OWL}propertyChainAxiom"
DISJOINT_WITH: Final = f"{_OWL}disjointWith"
MEMBERS: Final = f"{_OWL}members"
SYMMETRIC: Final = f"{_OWL}SymmetricProperty"
TRANSITIVE: Final = f"{_OWL}TransitiveProperty"
ALL_DISJOINT_CLASSES: Final = f"{_OWL}AllDisjointClasses"

_PREDICATES: Final = (
    TYPE, FIRST, REST, SUBCLASS_OF, SUBPROPERTY_OF, DOMAIN, RANGE, EQUIVALENT_CLASS, EQUIVALENT_PROPERTY, INVERSE_OF,
    CHAIN, DISJOINT_WITH, MEMBERS,
    # Annotations, from which nothing follows.
    *(f"{_RDFS}{name}" for name in ("label", "comment", "seeAlso", "isDefinedBy")),
    *(f"{_OWL}{name}" for name in ("versionInfo", "versionIRI", "deprecated")),
)  # fmt: skip
_OBJECTS: Final = (
    NIL, SYMMETRIC, TRANSITIVE, ALL_DISJOINT_CLASSES,
    # Declarations, and classes that say nothing of their members.
    *(f"{_RDF}{name}" for name in ("Property", "List")),
    *(f"{_RDFS}{name}" for name in ("Class", "Resource", "Literal", "Datatype")),
    *(
        f"{_OWL}{name}"
        for name in (
            "Class", "Thing", "ObjectProperty", "DatatypeProperty", "AnnotationProperty", "NamedIndividual", "Ontology"
        )
    ),
)  # fmt: skip


def is_vocabulary(names: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Returns which names are words of RDF, RDFS, OWL or XML Schema: bool [len(names)]."""
    is_word = np.zeros(len(names), bool)
    for namespace in (_RDF, _RDFS, _OWL, _XSD):
        is_word |= pc.starts_with(names, namespace).to_numpy(zero_copy_only=False)
    return is_word


def unsupported_axioms(predicates: pa.Array, objects: pa.Array) -> np.ndarray:
    """Returns which triples use a word of RDF, RDFS or OWL that is not read here: bool [len(predicates)].

    Datatypes (XML Schema) may stand as objects, where they say nothing of the members of a class.
    """
    unsupported = is_vocabulary(predicates) & ~_among(predicates, _PREDICATES)
    is_datatype = pc.starts_with(objects, _XSD).to_numpy(zero_copy_only=False)
    return unsupported | (is_vocabulary(objects) & ~is_datatype & ~_among(objects, _OBJECTS))


def _among(names: pa.Array, known: tuple[str, ...]) -> np.ndarray:
    is_known: np.ndarray = pc.is_in(names, value_set=pa.array(known)).to_numpy(zero_copy_only=False)
    return is_known
