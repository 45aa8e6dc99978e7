"""Which semantic primitives a text is about, as values to filter by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa

from semrec.encoders.facets import Facet
from semrec.encoders.lexicon import PRIMITIVES, read_lexicon
from semrec.encoders.primitive_counts import MAX_EXPONENT, count_primitives
from semrec.encoders.sources import check_weights

__all__ = ["PrimitivesFacet"]


class PrimitivesFacet(Facet):
    """`FEEL` of a text with one word at least about FEEL, `FEEL:2` of one with two, and so for each primitive.

    So much a signature tells (`primitive_counts.signatures`): its exponents end at MAX_EXPONENT.
    """

    name: ClassVar[str] = "primitives"
    version: ClassVar[int] = 1
    values: ClassVar[tuple[str, ...]] = tuple(
        primitive if count == 1 else f"{primitive}:{count}"
        for primitive in PRIMITIVES
        for count in range(1, MAX_EXPONENT + 1)
    )

    def of_texts(self, texts: Sequence[str]) -> pa.ListArray:
        lexicon = read_lexicon()
        check_weights(self.identity["model"], lexicon.sha256, self.identity["weights_sha256"])
        counts_NP = count_primitives(texts, lexicon)
        least_V = np.tile(np.arange(1, MAX_EXPONENT + 1), len(PRIMITIVES))
        has_value_NV = np.repeat(counts_NP, MAX_EXPONENT, axis=1) >= least_V
        offsets = np.concatenate([[0], np.cumsum(has_value_NV.sum(axis=1))])
        values = pa.array(self.values, pa.string()).take(pa.array(np.nonzero(has_value_NV)[1]))
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
