"""The static encoder embeds as model2vec does, and as itself text by text; a model is distilled whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from typer.testing import CliRunner

from cluster.bench.static import bench_static, bench_static_memory
from cluster.compute import InProcess
from helpers.encoder_contract import EncoderContract
from jobs import bench_content
from semrec.encoders.distill import distill_model
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.static import StaticEncoder
from semrec.errors import EncoderError, InputError
from semrec.online.search import OnlineEncoder
from semrec.release.reader import Release
from semrec.settings import Settings
from semrec.settings_file import change_settings, write_settings
from semrec.workspace.folder import Workspace

model2vec = pytest.importorskip("model2vec", reason="NOT TESTED: pip install 'semrec[distill]'")

PIECES = ["[PAD]", "[UNK]", "a", "letter", "##s", "sea", "to", "the", "lost", "##t", "robot", "é", ",", ".", "海"]
TEXTS = [
    "A letter to the sea",
    "a  letter\tto the lost robots, letters.",
    "THE Séa\n海海 the [UNK] sea",
    "unknown robot",
    "lost lostt",
    "the " * 40 + "robot",
]


def write_static(
    folder: Path,
    *,
    pieces: Sequence[str] = PIECES,
    model: object | None = None,
    pre_tokenizer: object | None = None,
    **stored: np.ndarray,
) -> Path:
    """A static model of random vectors with a small vocabulary, of word pieces unless `model` says another."""
    tokenizer = Tokenizer(model or models.WordPiece({piece: n for n, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizer or pre_tokenizers.BertPreTokenizer()
    vectors = np.random.default_rng(1).standard_normal((len(pieces), 8)).astype(np.float32)
    made = model2vec.StaticModel(vectors, tokenizer, {}, normalize=True, max_length=256, **stored)
    made.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_static(tmp_path_factory.mktemp("static") / "m")


def encoder_of(folder: Path, **settings: object) -> StaticEncoder:
    chosen = EmbedSettings(kind="static", model=str(folder), **settings)
    return StaticEncoder.load(StaticEncoder.plan(chosen), chosen, num_threads=2)


class TestStaticEncoder(EncoderContract):
    bad_content = "qqq"  # unknown

    @pytest.fixture(scope="class", autouse=True)
    def chosen(self, folder: Path) -> None:
        type(self).settings = EmbedSettings(kind="static", model=str(folder), device="cpu")

    @pytest.fixture(scope="class")
    def contents(self, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
        return TEXTS

    def test_a_stored_identity_names_the_settings_that_plan_it(self, encoder: StaticEncoder) -> None:
        assert type(encoder).settings_of(encoder.identity.to_json()) == {"model": "m", "max_tokens": 256}


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"weights": np.arange(len(PIECES), dtype=np.float32)},
        {"model": models.Unigram([(piece, -1.0) for piece in PIECES], unk_id=1)},
        {"model": models.WordLevel({piece: n for n, piece in enumerate(PIECES)}, unk_token="[UNK]")},
    ],
    ids=["word pieces", "weights", "Unigram", "words"],
)
def test_vectors_are_model2vecs(tmp_path: Path, stored: dict[str, Any]) -> None:
    folder = write_static(tmp_path / "m", **stored)
    theirs = model2vec.StaticModel.from_pretrained(folder, force_download=False).encode(TEXTS)
    ours, rejected = encoder_of(folder).embed(TEXTS)
    assert rejected == []
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_text_is_cut_behind_max_tokens(folder: Path) -> None:
    cut, whole = encoder_of(folder, max_tokens=8).embed(["the " * 8 + "robot", "the " * 8])[0]
    assert cut.tobytes() == whole.tobytes()


def test_a_tokeniser_by_other_rules_is_given_whole_texts(tmp_path: Path, folder: Path) -> None:
    other = encoder_of(write_static(tmp_path / "m", pre_tokenizer=pre_tokenizers.Whitespace()))
    assert (other._words_stand_alone, encoder_of(folder)._words_stand_alone) == (False, True)
    np.testing.assert_array_equal(other.embed(TEXTS[:2])[0], encoder_of(folder).embed(TEXTS[:2])[0])


def test_reasons_say_what_a_text_lacks(folder: Path) -> None:
    assert encoder_of(folder).embed(["", " \n", "qqq"])[1] == [(0, "empty text"), (1, "empty text"), (2, "no tokens")]


def test_forgotten_words_are_tokenised_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of(folder)
    before, _ = encoder.embed(TEXTS)
    assert encoder._known_bytes > 200 * len(encoder._ids_of_word) > 0
    monkeypatch.setattr("semrec.encoders.static._MOST_KNOWN_BYTES", 100_000)
    encoder.embed(["q" * 25_000])
    assert (encoder._ids_of_word, encoder._known_bytes) == ({}, 0)
    assert encoder.embed(TEXTS)[0].tobytes() == before.tobytes()


def test_words_of_a_search_have_the_same_vectors(folder: Path) -> None:
    encoder = encoder_of(folder)
    online = OnlineEncoder(encoder.identity.to_json(), model=str(folder))
    online.warm()
    assert online.vectors(TEXTS[:2]).tobytes() == encoder.embed(TEXTS[:2])[0].tobytes()
    with pytest.raises(EncoderError, match="other weights"):
        OnlineEncoder({**encoder.identity.to_json(), "weights_sha256": "0" * 64}, model=str(folder)).vector("a letter")
    with pytest.raises(EncoderError, match="other tokenizer than the release's"):
        OnlineEncoder({**encoder.identity.to_json(), "tokenizer_sha256": "0" * 64}, model=str(folder)).vector("sea")


def test_a_search_finds_the_model_where_the_settings_say(folder: Path, tmp_path: Path) -> None:
    workspace, encoder = Workspace.create(str(tmp_path / "w")), encoder_of(folder)
    manifest = SimpleNamespace(encoder=encoder.identity.to_json())
    release = cast(Release, SimpleNamespace(manifest=manifest, storage=workspace.storage))
    for model, expected in (("all-MiniLM-L6-v2", None), (str(tmp_path), None), (str(folder), str(folder))):
        write_settings(workspace.storage, change_settings(Settings(), {"encoder.model": model}))
        assert OnlineEncoder.of_release(release)._model == expected
    online = OnlineEncoder.of_release(release)
    assert online.vectors(TEXTS[:1]).tobytes() == encoder.embed(TEXTS[:1])[0].tobytes()


def test_another_model_is_no_static_one(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(EncoderError, match="is no static model"):
        encoder_of(tmp_path)


def test_each_token_has_a_vector(tmp_path: Path) -> None:
    folder = write_static(tmp_path / "m")
    Tokenizer(models.WordPiece({"a": 0, "zz": 500_000}, unk_token="a")).save(str(folder / "tokenizer.json"))
    with pytest.raises(EncoderError, match="token 500000 of m, which has 15 vectors"):
        encoder_of(folder)


def test_a_worker_with_another_tokenizer_embeds_nothing(tmp_path: Path) -> None:
    chosen = EmbedSettings(kind="static", model=str(write_static(tmp_path / "m")))
    planned = StaticEncoder.plan(chosen)
    write_static(tmp_path / "m", pre_tokenizer=pre_tokenizers.Whitespace())
    with pytest.raises(EncoderError, match=r"tokenizer\.json holds a tokenizer"):
        StaticEncoder.load(planned, chosen)


@pytest.mark.parametrize(
    ("file", "damaged"),
    [
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b"\xff"),
        ("model.safetensors", b"\xff"),
        ("model.safetensors", save({"embeddings": np.zeros(4, np.float32)})),
        ("model.safetensors", save({"embeddings": np.zeros((4, 2), np.float32), "mapping": np.array([4])})),
        ("model.safetensors", save({"embeddings": np.zeros((4, 2), np.float32), "weights": np.zeros(3)})),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, file: str, damaged: bytes) -> None:
    (write_static(tmp_path / "m") / file).write_bytes(damaged)
    with pytest.raises(EncoderError, match=f"{file} is damaged: "):
        encoder_of(tmp_path / "m")


def test_a_model_is_distilled_into_a_new_folder(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    teacher = tmp_path / "teacher"
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(PIECES) + 2, **shape)).save_pretrained(teacher)
    (teacher / "vocab.txt").write_text("\n".join([*PIECES, "[CLS]", "[SEP]"]), encoding="utf-8")
    (teacher / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    distill_model(str(teacher), tmp_path / "new" / "static", dimension=4, device="cpu")
    vectors, rejected = encoder_of(tmp_path / "new" / "static").embed(["a letter", "the sea"])
    assert (vectors.shape, rejected) == ((2, 4), [])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["static"]
    with pytest.raises(InputError, match="is there"):
        distill_model(str(teacher), tmp_path / "new" / "static")


def test_the_bench_measures_a_whole_run_beside_model2vec(folder: Path) -> None:
    rows = bench_static(str(folder), TEXTS[:2], InProcess("cpu"), rounds=1)
    assert [row.name for row in rows] == ["model2vec, one process", "semrec, a whole run"]
    assert rows[0].ratio == 1.0 and all(row.texts_per_s > 0 for row in rows)
    with pytest.raises(InputError, match="nothing to measure"):
        bench_static(str(folder), [" "], InProcess("cpu"))


def test_the_bench_shows_the_memory_of_an_import_and_an_embedding(tmp_path: Path) -> None:
    letters = [f"{start}{letter}" for start in ("", "##") for letter in ascii_lowercase]
    folder = write_static(tmp_path / "m", pieces=["[UNK]", *letters])
    tenth, whole = bench_static_memory(str(folder), 50, InProcess("cpu"))
    assert (tenth.texts, whole.texts) == (5, 50)
    assert 0 < tenth.driver_peak_mib <= whole.driver_peak_mib and whole.worker_peak_mib > 0
    with pytest.raises(InputError, match="9 generated texts"):
        next(bench_static_memory(str(folder), 9, InProcess("cpu")))


def test_the_bench_takes_a_column_with_nulls(folder: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"title": [TEXTS[0], None, TEXTS[1]]}), tmp_path / "titles.parquet")
    arguments = ["static", str(folder), "--texts", f"{tmp_path}/titles.parquet", "--column", "title", "--rounds", "1"]
    result = CliRunner().invoke(bench_content.app, [*arguments, "--in-process"])
    assert result.exit_code == 0 and "2 texts of" in result.stdout
