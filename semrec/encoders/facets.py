"""Facets: what filters can ask of an item beside the attributes that it states, because an encoder reads it in the text.

One more facet is a class with a name, a version, its values and `of_texts`, and one line in FACETS.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final

import pyarrow as pa

from semrec.registry import Registry, import_class

__all__ = ["FACETS", "Facet", "facets_of"]

#: Kind of encoder -> module and class of the facet that its releases have. Imported on first use.
FACETS: Final[Registry] = {"primitives": ("semrec.encoders.primitives_facet", "PrimitivesFacet")}


class Facet(ABC):
    """Values of texts, out of `values`, that filters ask for by `name`, as by that of an attribute.

    `identity` is that of the encoder which reads them, as manifests record it.
    """

    name: ClassVar[str]
    version: ClassVar[int]  # raised when the same text gives other values
    values: ClassVar[tuple[str, ...]]

    def __init__(self, identity: Mapping[str, Any]) -> None:
        self.identity = identity

    @abstractmethod
    def of_texts(self, texts: Sequence[str]) -> pa.ListArray:
        """The values of each text, list<string> [N], none of them null. Raises EncoderError where another encoder is here."""


def facets_of(identities: Iterable[Mapping[str, Any]]) -> list[Facet]:
    """The facets that encoders give the items of a release, by the encoders' identities."""
    known = [identity for identity in identities if identity.get("kind") in FACETS]
    return [import_class(FACETS, identity["kind"], "facet")(identity) for identity in known]
