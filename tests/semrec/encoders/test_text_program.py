"""A kept program gives the model's own tokens and bytes, without the libraries that define the model."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from semrec.encoders import text_program
from semrec.encoders.identity import TextIdentity, text_identity
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.sources import ModelSource, resolve_model
from semrec.encoders.text_program import TextProgram, load_program
from semrec.errors import EncoderError

_TEXTS = [
    "Nosferatu",
    "A silent comedy about a stolen locomotive. " * 40,
    "東京の小さな食堂で、毎晩おなじ客が席につく。",
    "Öl auf Leinwand, 1642\t(gereinigt)\r\n\u200b\ufeff naïve cafe\u0301 \U0001f682\U0001f3fd",
    "[CLS] [SEP] [MASK] <s> ##ing [PAD]",
    "שלום, مرحبا",
    "\x00 \x1f a\u0000b",
]

Loaded = tuple[Path, TextIdentity, ModelSource, TextProgram]


@pytest.fixture(scope="module")
def loaded(model_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """The cache of a user who has loaded the default model once, and that model as its libraries run it."""
    home = tmp_path_factory.mktemp("home")
    settings = EmbedSettings(device="cpu")
    identity, source = text_identity(settings), resolve_model(settings.model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        load_program(identity, source, "cpu")
    model = text_program._program_of(text_program._load_model(identity, source, "cpu"), identity, "cpu")
    return home, identity, source, model


@pytest.fixture
def no_model(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same user again; loading the model itself fails."""
    monkeypatch.setenv("HOME", str(loaded[0]))
    monkeypatch.setattr(text_program, "_load_model", _refuse)


def _refuse(*_: object) -> None:
    raise AssertionError("the model was loaded")


def test_a_kept_program_gives_the_tokens_and_bytes_of_the_model(loaded, no_model):
    _, identity, source, model = loaded
    kept = load_program(identity, source, "cpu")
    assert (kept.pad_id, kept.num_special) == (model.pad_id, model.num_special)
    assert kept.token_ids(_TEXTS) == model.token_ids(_TEXTS)
    assert len(kept.token_ids(_TEXTS)[1]) == identity.max_tokens
    with pytest.raises((TypeError, UnicodeError)):
        kept.token_ids(["\ud800"])
    with torch.inference_mode():
        for rows, length in ((1, 16), (5, 40), identity.shapes[-1], (2, 96)):
            call = text_program._example(rows, length)
            expected_RD = model.vectors(*call)
            for _ in range(3):  # torch rewrites a program after its first calls, if it is let
                assert torch.equal(kept.vectors(*call), expected_RD)


def test_a_process_with_a_kept_program_loads_no_transformers(loaded):
    code = (
        "import sys; from semrec.encoders.settings import EmbedSettings; from semrec.encoders.text import TextEncoder\n"
        "settings = EmbedSettings(device='cpu'); encoder = TextEncoder.load(TextEncoder.plan(settings), settings)\n"
        "vectors_ND, rejected = encoder.embed(['Nosferatu']); assert not rejected and vectors_ND.any()\n"
        "print(sorted({'transformers', 'sentence_transformers', 'sklearn', 'torch._dynamo'} & sys.modules.keys()))"
    )
    environment = {"HOME": str(loaded[0]), "PATH": "/usr/bin", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


@pytest.mark.parametrize("name", ["program.pt", "program.json"])
def test_a_program_that_was_cut_off_is_made_again(name, loaded, monkeypatch):
    home, identity, source, model = loaded
    (file,) = (home / ".cache" / "semrec").glob(f"semrec-text-*/{name}")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    loads = []
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(text_program, "_load_model", lambda *_: loads.append(1))
    monkeypatch.setattr(text_program, "_program_of", lambda *_: model)
    monkeypatch.setattr(text_program, "_keep_program", lambda *_: file.write_bytes(content))
    assert load_program(identity, source, "cpu").token_ids(_TEXTS) == model.token_ids(_TEXTS)
    load_program(identity, source, "cpu")
    assert loads == [1]


def test_a_model_that_cannot_be_traced_is_loaded_each_time(loaded, tmp_path, monkeypatch):
    _, identity, source, model = loaded
    untraced = replace(model, traced=None)
    loads = []
    monkeypatch.setenv("HOME", str(tmp_path))
    fast = SimpleNamespace(tokenizer=SimpleNamespace(is_fast=True))
    monkeypatch.setattr(text_program, "_load_model", lambda *_: loads.append(1) or fast)
    monkeypatch.setattr(text_program, "_program_of", lambda *_: untraced)
    monkeypatch.setattr(text_program, "_trace", lambda *_: False)
    assert load_program(identity, source, "cpu") is untraced
    assert load_program(identity, source, "cpu") is untraced
    assert loads == [1, 1]
    with pytest.raises(EncoderError, match="no traced program"):
        load_program(replace(identity, backend="openvino"), source, "cpu")


def test_a_trace_that_keeps_a_branch_of_its_example_is_not_used(tmp_path):
    class Model(torch.nn.Module):
        tokenizer = SimpleNamespace(model_input_names=())

        def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            rows = features["input_ids"].float()
            return {"sentence_embedding": rows[:, :8] * (2 if rows.shape[1] == 32 else 1)}

    model = Model()
    forward = text_program._Forward(model)
    program = TextProgram(lambda texts: [[] for _ in texts], forward, pad_id=0, num_special=2)
    assert not text_program._trace(model, program, str(tmp_path / "program.pt"))
