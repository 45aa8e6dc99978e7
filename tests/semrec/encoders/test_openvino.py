"""The backend openvino keeps the encoder's promise: a vector depends on its text alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from semrec.encoders.identity import TextIdentity, text_identity
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.text import TextEncoder
from semrec.errors import EncoderError, InputError

_SENTENCE = "a harbour at low tide where the cartographer draws one more border through her village in the last winter "
_TEXTS = [_SENTENCE[:length] * repeat for repeat in (1, 3, 9, 20) for length in (10, 42, len(_SENTENCE))]


@pytest.fixture(scope="module")
def openvino_encoder(model_installed: None) -> TextEncoder:
    settings = EmbedSettings(device="cpu", backend="openvino")
    return TextEncoder.load(TextEncoder.plan(settings), settings)


@pytest.fixture(scope="module")
def reference(openvino_encoder: TextEncoder) -> np.ndarray:
    vectors_ND, rejected = openvino_encoder.embed(_TEXTS)
    assert rejected == []
    return vectors_ND


def test_vectors_are_those_of_torch_but_for_rounding(openvino_encoder, reference):
    settings = EmbedSettings(device="cpu", dtype="float32")
    of_torch_ND, _ = TextEncoder.load(TextEncoder.plan(settings), settings).embed(_TEXTS)
    assert (reference * of_torch_ND).sum(axis=1).min() > 0.99999
    assert openvino_encoder.embed([""])[1] == [(0, "empty text")]


def test_any_selection_in_any_order_by_any_number_of_threads_gives_the_same_bytes(openvino_encoder, reference):
    order = np.random.default_rng(3).permutation(len(_TEXTS))
    assert openvino_encoder.embed([_TEXTS[i] for i in order])[0].tobytes() == reference[order].tobytes()
    many_ND, _ = openvino_encoder.embed([_TEXTS[0]] * 150 + [_TEXTS[-1]] * 9)
    assert (many_ND[:150] == reference[0]).all() and (many_ND[150:] == reference[-1]).all()
    before = torch.get_num_threads()
    try:
        for num_threads in (1, 3):
            settings = EmbedSettings(device="cpu", backend="openvino")
            encoder = TextEncoder.load(TextEncoder.plan(settings), settings, num_threads=num_threads)
            assert encoder.embed(_TEXTS)[0].tobytes() == reference.tobytes()
    finally:
        torch.set_num_threads(before)


def test_its_vectors_are_of_another_identity_and_those_of_torch_keep_theirs(model_installed):
    of_torch = text_identity(EmbedSettings(device="cpu", dtype="float32"))
    ours = text_identity(EmbedSettings(device="cpu", backend="openvino"))
    assert "backend" not in of_torch.to_json()
    assert ours == replace(of_torch, backend="openvino")
    assert ours.name != of_torch.name
    assert TextIdentity.from_json(ours.to_json()) == ours


@pytest.mark.parametrize("values", [{"dtype": "bfloat16"}, {"device": "cuda"}])
def test_what_it_cannot_compute_is_refused(values, model_installed):
    kind = "cuda" if values.get("device") else "cpu"
    with pytest.raises(InputError, match="backend openvino for"):
        text_identity(EmbedSettings(backend="openvino", dtype=values.get("dtype", "auto")), device_kind=kind)


def test_a_missing_package_is_named(model_installed, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "openvino", None)
    settings = EmbedSettings(device="cpu", backend="openvino")
    with pytest.raises(EncoderError, match=r"pip install 'semrec\[openvino\]'"):
        TextEncoder.load(TextEncoder.plan(settings), settings)
