"""The model of relations keeps the contract of learned models, and its item vectors are those of random walks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from helpers.learned_contract import LearnedModelContract
from helpers.learned_world import embeddings
from semrec.contracts import RELATIONS_SCHEMA
from semrec.graph.graph import build_graph
from semrec.models.graph import GraphModel, walk_vectors
from semrec.models.sparse import SparseRows
from semrec.release.relations import item_relations
from semrec.sorted_ids import SortedIds


class TestGraphModel(LearnedModelContract):
    model = GraphModel
    learns_from_text_alone = True  # as relations, here


def test_words_and_items_of_later_have_no_relations() -> None:
    stored = GraphModel.load({}, 4, {"mean_D": np.ones(4, np.float32)})
    assert stored.cold_items({"text": embeddings()[:3]}).tolist() == np.zeros((3, 4)).tolist()


def test_inner_products_are_the_mean_of_walks_of_one_and_two_round_trips() -> None:
    draws = np.random.default_rng(0)
    related = draws.random((40, 15)) < 0.2
    related[3] = False
    rows, columns = np.nonzero(related)
    vectors_ID = walk_vectors(SparseRows.from_pairs(rows, columns, np.ones(len(rows), np.float32), 40, 15))
    of_items, of_nodes = (np.maximum(related.sum(axis=axis), 1) ** -0.5 for axis in (1, 0))
    step = of_items[:, None] * related * of_nodes
    trip = step @ step.T
    assert vectors_ID @ vectors_ID.T == pytest.approx((trip + trip @ trip) / 2, abs=1e-5)
    assert not vectors_ID[3].any() and vectors_ID.shape == (40, 15)


def test_items_are_related_to_nodes_in_both_directions_and_to_each_other_by_a_common_one() -> None:
    triples = [("b", "by", "kaye"), ("kaye", "likes", "a"), ("c", "follows", "b"), ("kaye", "in", "town")]
    columns = [*map(list, zip(*triples, strict=True)), [False] * 4, [1.0] * 4]
    graph = build_graph(pa.table(columns, schema=RELATIONS_SCHEMA))
    matrix = item_relations(graph, SortedIds.of(pa.array(["a", "b", "c", "d"])))
    nodes = [
        graph.names_of(matrix.columns[start:stop])
        for start, stop in zip(matrix.offsets, matrix.offsets[1:], strict=False)
    ]
    assert nodes == [["kaye"], ["b", "c", "kaye"], ["b", "c"], []]
    assert (matrix.values == 1).all()
