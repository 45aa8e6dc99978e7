"""Changed items whose stored vectors are of another encoder: embedded once, or left out of answers; never the end of it."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cluster.serving.encoders import OverlayVectors, ReleaseEncoders
from cluster.serving.execute import Ranker, Snapshot
from cluster.serving.watcher import ReleaseWatcher
from helpers.replica_without_ray import WordEncoder
from helpers.serving_world import DIMENSION, K, World, make_world
from semrec.changes.overlay import ItemChange, OverlayView, change_table
from semrec.changes.state import item_log
from semrec.data import ItemRow
from semrec.errors import EncoderError, InputError
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of
from semrec.workspace.storage import Storage


class PickyEncoder(WordEncoder):
    """Counts the texts it is given; refuses those named, as a tokeniser does that knows none of their characters."""

    def __init__(self, *refused: str) -> None:
        self.refused, self.texts = set(refused), list[str]()
        self.error: Exception | None = None

    def vector(self, text: str) -> np.ndarray:
        self.texts.append(text)
        if self.error:
            raise self.error
        if text in self.refused:
            raise InputError("a text cannot be embedded: no tokens", expected="words", remedy="Write some.")
        return super().vector(text)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "w")


def put(world: World, item_id: str, text: str, size: int = DIMENSION) -> None:
    """A change that was acknowledged under another encoder, with vectors of another size perhaps."""
    log = item_log(world.workspace.storage)
    log.open()
    change = ItemChange.put(ItemRow(item_id, f"new {item_id}", text), np.ones(size, np.float32), "another")
    log.append([(change_table([change]), None)])


def followed(world: World, encoder: PickyEncoder) -> ReleaseWatcher:
    def opened(storage: Storage, release_id: str, run_id: str) -> tuple[OnlineRelease, Ranker]:
        served = OnlineRelease(storage, release_id, run_id)
        return served, served.rank

    return ReleaseWatcher(world.workspace.storage, opened, lambda release: encoder)


def now_of(live: ReleaseWatcher) -> Snapshot:
    assert live.now is not None
    return live.now


def shown(live: ReleaseWatcher) -> set[str]:
    """Every item that some of the users could be shown."""
    now = now_of(live)
    users = [now.served.users.anonymous(), *filter(None, (now.served.user(f"user-{n}") for n in range(40)))]
    answers = now.rank([rank_query_of(user, k=100) for user in users], now.overlay)
    return {hit.item_id for ranked in answers for hit in ranked.hits}


def test_a_text_that_the_releases_encoder_refuses_is_in_no_answer_and_stops_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    put(world, "n01", "\u200b", size=DIMENSION + 1)
    put(world, "new", "words")
    encoder = PickyEncoder("\u200b")
    live = followed(world, encoder)
    with caplog.at_level(logging.WARNING):
        assert live.check_live()
    assert "item 'n01' is in no answer" in caplog.text
    now = now_of(live)
    assert now.overlay.num_without_vector == 1
    assert not {"n01"} & shown(live) and {"new", "n02"} <= shown(live)
    assert now.served.item("n01", now.overlay).title == "new n01"
    put(world, "newer", "more words")
    assert live.state is not None
    live.state.catch_up()
    live.refresh()
    assert {"new", "newer"} <= shown(live)
    assert sorted(encoder.texts) == ["more words", "words", "\u200b"]  # each once


@pytest.mark.parametrize(
    "error", [EncoderError("no weights", expected="w", remedy="r"), RuntimeError("out of memory"), OSError("hub")]
)
def test_an_encoder_that_fails_leaves_its_items_out_and_is_tried_again(world: World, error: Exception) -> None:
    put(world, "new", "words")
    put(world, "newer", "more words")
    encoder = PickyEncoder()
    encoder.error = error
    live = followed(world, encoder)
    assert live.check_live()
    assert now_of(live).overlay.num_without_vector == 2 and "new" not in shown(live)
    live.refresh()
    assert len(encoder.texts) == 1  # nothing waits for a hub again at every change
    encoder.error = None
    live._vectors._retry_at_s = dict.fromkeys(live._vectors._retry_at_s, 0.0)  # half a minute later
    assert not live.check_live()
    assert now_of(live).overlay.num_without_vector == 0 and {"new", "newer"} <= shown(live)


@pytest.mark.parametrize("vector", [np.ones(DIMENSION + 1, np.float32), np.full(DIMENSION, np.nan, np.float32)])
def test_a_vector_that_fits_no_release_is_no_vector(
    world: World, vector: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(world, "new", "words")
    encoder = PickyEncoder()
    monkeypatch.setattr(encoder, "vector", lambda text: vector)
    live = followed(world, encoder)
    assert live.check_live()
    assert now_of(live).overlay.num_without_vector == 1 and len(shown(live)) > K


def test_whatever_fails_looking_does_not_raise_and_what_is_served_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = followed(world, PickyEncoder())
    assert live.check_live() and live.state is not None
    before = now_of(live)
    monkeypatch.setattr(live.state, "drop_through", lambda applied: {}["nothing"])
    live._forget_s = 0.0
    assert not live.check_live()
    assert live.now is before


def test_what_the_overlay_no_longer_needs_is_forgotten() -> None:
    encoders = {name: PickyEncoder() for name in "abc"}

    class Release:
        release_id, embedding_dimension = "r", DIMENSION

        def __init__(self, name: str) -> None:
            self.manifest = SimpleNamespace(settings=SimpleNamespace(embedding_name=name))

    def change(sequence: int) -> ItemChange:
        return ItemChange(sequence, f"i{sequence}", False, "t", f"text {sequence}", {}, np.ones(9, np.float32), "old")

    made: Any = ReleaseEncoders(lambda release: encoders[release.manifest.settings.embedding_name])
    vectors = OverlayVectors(made)
    for name in "abc":
        vectors.complete(Release(name), OverlayView.of([change(1), change(2)]))  # type: ignore[arg-type]
        vectors.complete(Release(name), OverlayView.of([change(2)]))  # type: ignore[arg-type]
    assert sorted(vectors._vector_of) == [("a", 2), ("b", 2), ("c", 2)]
    vectors.forget_encoders(Release("c"))  # type: ignore[arg-type]
    assert sorted(vectors._vector_of) == [("c", 2)]
    assert len(made._encoders._kept) == 2


def test_a_switch_embeds_before_it_takes_the_lock_that_changes_wait_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(world, "new", "words")
    encoder = PickyEncoder()
    live, was_locked = followed(world, encoder), list[bool]()
    plain = encoder.vector

    def vector(text: str) -> np.ndarray:
        was_locked.append(live._publishing.locked())
        return plain(text)

    monkeypatch.setattr(encoder, "vector", vector)
    assert live.check_live()
    assert was_locked == [False] and "new" in shown(live)
