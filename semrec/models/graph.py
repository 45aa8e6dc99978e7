"""The model of relations: items are near each other where short random walks over what they are related to meet.

With B the relations (items x nodes of the graph, of 0 and 1), and Di and Dn the numbers of relations of items and nodes, a walk
from an item to a node and back is one step of

    M M'      M = Di^-1/2 B Dn^-1/2  =  U S V'  (truncated)

An item's vector is its row of U times sqrt(mean of S^2t over t = 1 to T): inner products are the mean of walks of 1 to T
round trips, whose weights fall with what is shared by many. From there on the model is `content_ridge`, with these vectors in
the place of embeddings. Relations do not depend on who liked an item, so new items have vectors as good as others.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from semrec.errors import InputError
from semrec.models.base import TrainingData
from semrec.models.content_ridge import ContentRidgeModel
from semrec.models.nsvd import degree_scales, truncated_svd
from semrec.models.sparse import SparseRows, map_ranges, multiply_rows

__all__ = ["RELATIONS", "GraphModel", "walk_vectors"]

#: The modality of `walk_vectors`.
RELATIONS: Final = "relations"
_DIMENSION: Final = 128
_ROUND_TRIPS: Final = 2


class GraphModel(ContentRidgeModel):
    """Users by ridge regression over the vectors that items have by their relations.

    An item without relations has no say in a user's vector, and the mean score of all. Words have no relations, nor has an
    item that comes online before the next release.
    """

    kind = "graph"
    modality = RELATIONS
    is_content_only = False
    compares_items = False  # what is similar stays a matter of content, which words have as well
    least_weight = 0.0

    @classmethod
    def embeddings(cls, data: TrainingData) -> np.ndarray:
        """The vectors of `walk_vectors`, float32 [I, D]. Raises InputError where no item is related to anything."""
        vectors_ID = data.content.get(RELATIONS)
        if vectors_ID is None or not vectors_ID.any():
            raise InputError(
                "no item has an embedding by its relations",
                expected="relations that were imported, or attributes that release.relations_from names",
                remedy="Import relations, name attributes, or leave graph out of models.kinds.",
            )
        return vectors_ID


def walk_vectors(relations: SparseRows) -> np.ndarray:
    """The vectors that items have by their relations, items x nodes with 1 for each: float32 [I, D], zeros without any.

    At most 128 dimensions, fewer of fewer items or nodes. The same bytes on any number of threads.
    """
    normalised = relations.scaled(degree_scales(relations.lengths, 0.5), degree_scales(relations.column_counts, 0.5))
    singular_D, right_ND = truncated_svd(normalised, _DIMENSION)
    trips = np.arange(_ROUND_TRIPS)
    gains_D = np.sqrt((singular_D[:, None] ** (2 * trips)).mean(axis=1))  # M V = U S
    scaled_ND = (right_ND * gains_D).astype(np.float32)
    return map_ranges(lambda rows: multiply_rows(rows, scaled_ND), normalised, len(singular_D))
