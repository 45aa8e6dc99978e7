"""The encoder's promise: a vector depends on its text alone, and is the model's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semrec.encoders.identity import text_identity
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.sources import resolve_model
from semrec.encoders.text import TextEncoder
from semrec.encoders.vectors import normalise_rows
from semrec.errors import DeviceError, EncoderError

_SENTENCES = (
    "Nosferatu",
    "A silent comedy about a stolen locomotive.",
    "Young clerk Thomas Hutter travels to a crumbling castle and sells a house to a count who casts no reflection.",
    "Die Nachtwache, Öl auf Leinwand, 1642; heute im Rijksmuseum, gereinigt und neu gerahmt.",
    "Two sisters inherit a lighthouse, a debt, and a goat that refuses to leave the lantern room.",
    "東京の小さな食堂で、毎晩おなじ客が席につく。",
    "In the last winter of the war a cartographer is paid to draw a border through the village where she was born.",
    "Jazz, rain, neon: a detective loses the case and finds the song.",
    "An etching of a harbour at low tide, signed and dated in the plate, with later hand colouring by the artist's son.",
    "It is a long road.",
)


def _texts() -> list[str]:
    """Each sentence alone and in ever longer runs: 2 to more than 256 tokens, every length class."""
    runs = [" ".join(_SENTENCES[:count] * repeat) for count, repeat in ((2, 1), (3, 1), (4, 1), (6, 1), (7, 1), (8, 1))]
    runs += [" ".join(_SENTENCES[i] for i in chosen) for chosen in ((2, 3), (2, 3, 4), (2, 3, 8))]
    return [*_SENTENCES, *runs, " ".join(_SENTENCES), " ".join(_SENTENCES * 2), " ".join(_SENTENCES * 3)]


TEXTS = _texts()


@pytest.fixture(scope="module")
def reference(encoder: TextEncoder) -> np.ndarray:
    vectors_ND, rejected = encoder.embed(TEXTS)
    assert rejected == []
    return vectors_ND


def test_texts_reach_every_shape(encoder):
    seen = _spy_on(encoder, TEXTS)
    assert {tuple(ids.shape) for ids, _ in seen} == set(encoder.identity.shapes)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=st.lists(st.integers(0, len(TEXTS) - 1), min_size=1, max_size=len(TEXTS)))
def test_any_selection_in_any_order_gives_the_same_bytes(encoder, reference, chosen):
    vectors_ND, rejected = encoder.embed([TEXTS[index] for index in chosen])
    assert rejected == []
    assert vectors_ND.tobytes() == reference[chosen].tobytes()


def test_full_calls_give_the_bytes_of_nearly_empty_ones(encoder, reference):
    longest, shortest = len(TEXTS) - 1, 0
    rows = {length: rows for rows, length in encoder.identity.shapes}
    vectors_ND, _ = encoder.embed([TEXTS[longest]] * rows[264] + [TEXTS[shortest]] * (rows[16] + 1))
    assert (vectors_ND[: rows[264]] == reference[longest]).all()
    assert (vectors_ND[rows[264] :] == reference[shortest]).all()


def test_no_call_has_a_mask_of_all_ones(encoder):
    # transformers drops such a mask and torch then takes another kernel; 14 words and 2 special tokens make 16.
    sixteen = "a " * 14
    rows = {length: rows for rows, length in encoder.identity.shapes}
    seen = _spy_on(encoder, [sixteen] * rows[32] + [TEXTS[-1]] * rows[264])
    assert [tuple(mask.shape) for _, mask in seen] == [(64, 32), (7, 264)]
    assert [int(mask.sum()) for _, mask in seen] == [64 * 16, 7 * 256]


def test_vectors_are_those_of_plain_sentence_transformers(encoder, reference):
    from sentence_transformers import SentenceTransformer

    path = resolve_model("all-MiniLM-L6-v2").path
    plain_ND = SentenceTransformer(path, device="cpu", local_files_only=True).encode(TEXTS, batch_size=32)
    cosines_N = (plain_ND * reference).sum(axis=1)
    assert cosines_N.mean() >= 0.9995
    assert cosines_N.min() >= 0.995
    assert np.abs(np.linalg.norm(reference.astype(np.float64), axis=1) - 1).max() < 1e-6


def test_float32_differs_from_plain_by_rounding_only(encoder, model_installed):
    from sentence_transformers import SentenceTransformer

    choice = EmbedSettings(device="cpu", dtype="float32")
    ours_ND, _ = TextEncoder(text_identity(choice), resolve_model(choice.model)).embed(TEXTS[:6])
    path = resolve_model("all-MiniLM-L6-v2").path
    plain_ND = SentenceTransformer(path, device="cpu", local_files_only=True).encode(TEXTS[:6], batch_size=32)
    assert np.abs(ours_ND - plain_ND).max() < 2e-6


def test_texts_that_cannot_be_embedded_are_named(encoder, reference):
    vectors_ND, rejected = encoder.embed(["", TEXTS[1], " \n\t", "\u200b", "\ud800", TEXTS[7]])
    assert rejected == [(0, "empty text"), (2, "empty text"), (3, "no tokens"), (4, "tokenizer failure")]
    assert vectors_ND[[1, 5]].tobytes() == reference[[1, 7]].tobytes()
    assert not vectors_ND[[0, 2, 3, 4]].any()


def test_no_texts_give_no_vectors(encoder):
    vectors_ND, rejected = encoder.embed([])
    assert (vectors_ND.shape, vectors_ND.dtype, rejected) == ((0, 384), np.float32, [])


def test_non_finite_and_zero_vectors_are_rejected(encoder, monkeypatch):
    forward = encoder._forward

    def spoiled(ids_RT, mask_RT):
        out = forward(ids_RT, mask_RT).copy()
        out[0, 5], out[1] = np.nan, 0
        return out

    monkeypatch.setattr(encoder, "_forward", spoiled)
    vectors_ND, rejected = encoder.embed([TEXTS[0], TEXTS[1], TEXTS[9]])
    assert rejected == [(0, "non-finite vector"), (1, "zero vector")]
    assert not vectors_ND[:2].any()
    assert vectors_ND[2].any()


def test_a_call_that_does_not_fit_is_halved_until_it_does(encoder, reference, monkeypatch):
    forward = encoder._forward
    monkeypatch.setattr(encoder, "_rows", dict(encoder._rows))
    monkeypatch.setattr(encoder, "halved_calls", 0)

    def small_device(ids_RT, mask_RT):
        if len(ids_RT) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(ids_RT, mask_RT)

    monkeypatch.setattr(encoder, "_forward", small_device)
    vectors_ND, rejected = encoder.embed([*TEXTS, *TEXTS[:1] * 40])
    assert rejected == []
    # rows 128, 64, 42, 32, 25 and 21 of the six shortest shapes come down to 16 or less; 16, 10 and 7 fit as they are
    assert encoder.halved_calls == 3 + 2 + 2 + 1 + 1 + 1
    assert (vectors_ND[: len(TEXTS)] * reference).sum(axis=1).min() > 0.999
    assert (vectors_ND[len(TEXTS) :] == vectors_ND[0]).all()


def test_a_row_that_does_not_fit_alone_is_rejected(encoder, monkeypatch):
    monkeypatch.setattr(encoder, "_rows", dict(encoder._rows))
    monkeypatch.setattr(encoder, "halved_calls", 0)

    def no_memory(ids_RT, mask_RT):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(encoder, "_forward", no_memory)
    _, rejected = encoder.embed([TEXTS[0], TEXTS[0]])
    assert rejected == [(0, "too large for device memory"), (1, "too large for device memory")]
    assert encoder.halved_calls == 7 + 2  # 128 down to 1, then once for each text


def test_normalising_does_not_depend_on_the_other_rows():
    raw_ND = np.random.default_rng(7).standard_normal((65, 385)).astype(np.float32)
    all_ND, norms_N = normalise_rows(raw_ND)
    one_by_one = np.concatenate([normalise_rows(raw_ND[i : i + 1])[0] for i in range(65)])
    assert all_ND.tobytes() == one_by_one.tobytes()
    np.testing.assert_allclose(norms_N, np.linalg.norm(raw_ND.astype(np.float64), axis=1), rtol=1e-14)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(model_installed):
    with pytest.raises(DeviceError, match="sees 0 CUDA devices"):
        text_identity(EmbedSettings(device="cuda"))
    planned_elsewhere = text_identity(EmbedSettings(), device_kind="cuda")
    assert (planned_elsewhere.dtype, planned_elsewhere.shapes[0]) == ("bfloat16", (4096, 16))
    with pytest.raises(DeviceError, match="sees 0 CUDA devices"):
        TextEncoder(planned_elsewhere, resolve_model("all-MiniLM-L6-v2"))
    with pytest.raises(DeviceError, match="expected a cuda device"):
        TextEncoder(planned_elsewhere, resolve_model("all-MiniLM-L6-v2"), device="cpu")


def test_other_weights_than_planned_are_refused(encoder):
    other = replace(resolve_model("all-MiniLM-L6-v2"), weights_sha256="0" * 64)
    with pytest.raises(EncoderError, match="with which the run was planned"):
        TextEncoder(encoder.identity, other, device="cpu")


def _spy_on(encoder: TextEncoder, texts: list[str]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The (ids, mask) of every call that `texts` cause; the model itself is not asked."""
    seen = []

    def forward(ids_RT, mask_RT):
        seen.append((ids_RT.clone(), mask_RT.clone()))
        return np.ones((len(ids_RT), 384), dtype=np.float32)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "_forward", forward)
        encoder.embed(texts)
    return seen
