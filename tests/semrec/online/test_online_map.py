"""The map: neighbours stay neighbours, the same vectors give the same picture, and what is stored is read again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.whole_path import make_world, release
from semrec.changes.overlay import ItemChange, OverlayView
from semrec.data import ItemRow
from semrec.errors import CorruptArtefactError, MissingArtefactError
from semrec.release.reader import Release
from semrec.reports import map as item_map
from semrec.reports import projection
from semrec.reports.map import (
    draw_map,
    gone_points,
    items_with_title,
    map_bytes,
    map_items,
    map_legend,
    read_map,
    rows_of,
)
from semrec.reports.projection import project

NOTHING = OverlayView.empty()


def clusters(num_items: int, num_clusters: int, seed: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around as many centres, and which centre each has."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(num_clusters, 32))
    owner = rng.integers(0, num_clusters, num_items)
    vectors = (centres[owner] + 0.35 * rng.normal(size=(num_items, 32))).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), owner


@pytest.mark.parametrize(
    "max_fitted", [20_000, 150]
)  # all shape the picture, or a third; the others are placed among them
def test_neighbours_stay_neighbours(max_fitted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "_MAX_FITTED", max_fitted)
    num_items = 400
    vectors, owner = clusters(num_items, 8)
    places = project(vectors, seed=0)
    assert places.shape == (num_items, 2) and places.dtype == np.float32
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(num_items)
    nearest = owner[distances.argsort(axis=1)[:, :5]]
    assert (nearest == owner[:, None]).mean() > 0.97
    np.testing.assert_array_equal(places.min(axis=0), 0)
    np.testing.assert_array_equal(places.max(axis=0), 1)
    np.testing.assert_array_equal(project(vectors, seed=0), places)


@pytest.mark.parametrize("num_items", [0, 1, 2, 3, 4, 5, 20])
def test_few_equal_and_empty_vectors_have_places_too(num_items: int) -> None:
    for vectors in (np.ones((num_items, 4), np.float32), np.zeros((num_items, 1), np.float32)):
        places = project(vectors, seed=1)
        assert places.shape == (num_items, 2) and np.isfinite(places).all()
        assert ((places >= 0) & (places <= 1)).all()


@pytest.fixture
def opened(tmp_path: Path) -> Release:
    world = make_world(tmp_path / "w")
    return Release(world.storage, release(world).release_id)


def drawn(release: Release) -> np.ndarray:
    """The positions of a map that was drawn now."""
    assert draw_map(release.storage, release.release_id)
    return read_map(release)


def test_a_map_is_drawn_once_and_a_damaged_one_again(opened: Release) -> None:
    with pytest.raises(MissingArtefactError, match="Run `semrec map`"):
        read_map(opened)
    first = drawn(opened)
    assert first.dtype == np.uint16 and first.shape == (8, 2) and first.max() == 65535
    assert not draw_map(opened.storage, opened.release_id)
    file = opened.storage.read_json(f"{opened.folder}/map.json")["file"]
    whole = opened.storage.read_bytes(file)
    for damaged in (b"", b"\x93NUMPY nonsense", whole[:-4]):
        opened.storage.write_bytes(file, damaged)
        with pytest.raises(CorruptArtefactError, match="another SHA-256"):
            read_map(opened)
        np.testing.assert_array_equal(drawn(opened), first)


def test_a_map_drawn_otherwise_is_drawn_again(opened: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(opened)
    monkeypatch.setattr(item_map, "_SEED", 1)
    drawn(opened)
    monkeypatch.setattr(item_map, "_MAX_POINTS", 3)
    assert drawn(opened).shape == (3, 2)
    assert not draw_map(opened.storage, opened.release_id)


def test_the_answer_holds_what_its_docstring_says(opened: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_map, "_MAX_POINTS", 3)  # so that the stride is 3: rows 0, 3, 6
    places, legend = drawn(opened), map_legend(opened)
    raw = map_bytes(opened, places, legend)
    length = int.from_bytes(raw[4:8], "little")
    head = json.loads(raw[8 : 8 + length])
    assert raw[:4] == b"SRM1" and length % 4 == 0 and len(raw) == 8 + length + 3 * 5
    assert {name: head[name] for name in ("num_points", "num_items", "stride")} == {
        "num_points": 3, "num_items": 8, "stride": 3,
    }  # fmt: skip
    np.testing.assert_array_equal(np.frombuffer(raw, "<u2", 6, 8 + length).reshape(2, 3).T, places)
    assert raw[-3:] == legend.codes.tobytes()


def test_the_rarest_of_an_items_values_colours_it() -> None:
    items = [
        {"genre": ["Drama", "War"]},
        {"genre": ["Drama"]},
        {"genre": ["War"], "x": ["y"]},
        {"genre": ["Drama"]},
        {},
    ]
    legend = map_legend(_Catalogue(items))  # type: ignore[arg-type]
    assert (legend.attribute, legend.values, legend.counts) == ("genre", ("Drama", "War"), (3, 2))
    assert legend.codes.tolist() == [1, 0, 1, 0, 2]
    nothing = map_legend(_Catalogue([{}, {}]))  # type: ignore[arg-type]
    assert nothing.attribute is None and nothing.codes.tolist() == [0, 0]


def test_items_are_found_by_row_id_and_title(opened: Release) -> None:
    assert [item["item_id"] for item in map_items(opened, NOTHING, [7, 0, 8, -1])] == ["item-7", "item-0"]
    assert rows_of(opened, ["item-3", "none", "item-3", "item-1"]) == {"item-3": 3, "item-1": 1}
    titles = opened.items.column("title").to_pylist()
    assert items_with_title(opened, NOTHING, titles[2].upper(), 5)[0]["row"] == 2
    assert items_with_title(opened, NOTHING, titles[2][1:], 5)[0]["row"] == 2
    assert items_with_title(opened, NOTHING, "no such title", 5) == []


def test_items_are_as_they_now_are(opened: Release) -> None:
    vector = np.ones(2, np.float32)
    renamed, new = ItemRow("item-2", "Title renamed", "t", {"genre": ["Noir"]}), ItemRow("item-25", "A new title", "t")
    changes = [ItemChange.put(renamed, vector), ItemChange.put(new, vector), ItemChange.deletion("item-3")]
    overlay = OverlayView.of(changes)
    now = {"row": 2, "item_id": "item-2", "title": "Title renamed", "attributes": {"genre": ["Noir"]}}
    newer = {"row": None, "item_id": "item-25", "title": "A new title", "attributes": {}}
    assert map_items(opened, overlay, [2, 3], ["item-25", "item-3", "item-2", "none"]) == [now, now, newer]
    found = [item["item_id"] for item in items_with_title(opened, overlay, "TITLE", 20)]
    assert found == [
        "item-0",
        "item-1",
        "item-2",
        *(f"item-{n}" for n in range(4, 8)),
        "item-25",
    ]  # begins with it: first
    assert items_with_title(opened, overlay, "title", 3)[2] == now
    assert [item["item_id"] for item in items_with_title(opened, overlay, "of item-2", 5)] == []


def test_points_of_deleted_items_are_told(opened: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay = OverlayView.of([ItemChange.deletion(name) for name in ("item-6", "item-2", "never", "item-4")])
    assert gone_points(opened, overlay) == (2, 4, 6)
    monkeypatch.setattr(item_map, "_MAX_POINTS", 3)  # rows 0, 3 and 6 are on the map
    assert gone_points(opened, overlay) == (2,)
    raw = map_bytes(opened, drawn(opened), map_legend(opened), gone_points(opened, overlay))
    assert json.loads(raw[8 : 8 + int.from_bytes(raw[4:8], "little")])["gone"] == [2]


class _Catalogue:
    """As much of a release as the legend looks at."""

    def __init__(self, items: list[dict[str, list[str]]]) -> None:
        import pyarrow as pa

        from semrec.contracts import ATTRIBUTES_TYPE

        self.num_items = len(items)
        self.items = pa.table({"attributes": pa.array([list(item.items()) for item in items], ATTRIBUTES_TYPE)})
