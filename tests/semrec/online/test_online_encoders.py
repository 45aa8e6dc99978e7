"""What a release says of its encoders: one of each kind, as manifests record it, and none that is not ours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from semrec.encoders.document_text import MAX_PAGES
from semrec.encoders.pixels import MAX_PIXELS
from semrec.online.encoders import describe_encoders
from semrec.release.reader import Release

TEXT = {"model": "words", "dimension": 4, "device_kind": "cpu", "max_tokens": 256}
IMAGE = {"kind": "image", "model": "pictures", "dimension": 9, "device_kind": "cuda"}
DOCUMENT = {"kind": "document", "model": "words", "text": TEXT, "max_windows": 8}


def release(encoder: dict[str, Any], **beside: dict[str, Any]) -> Release:
    return cast(Release, SimpleNamespace(manifest=SimpleNamespace(encoder=encoder, beside_encoders=beside)))


def test_each_says_what_it_reads_and_how_much() -> None:
    text, image, document = describe_encoders(release(TEXT, image=IMAGE, document=DOCUMENT))
    assert text == {
        "kind": "text", "model": "words", "dimension": 4, "modality": "text", "device": "cpu",
        "limits": {"max_tokens": 256},
    }  # fmt: skip
    assert (image["modality"], image["dimension"], image["device"]) == ("image", 9, "cuda")
    assert image["limits"] == {"max_bytes": 64 << 20, "max_pixels": MAX_PIXELS}
    assert (document["kind"], document["dimension"], document["device"]) == ("document", 4, "cpu")
    assert (document["limits"]["max_pages"], document["limits"]["max_windows"]) == (MAX_PAGES, 8)


def test_vectors_from_elsewhere_have_no_encoder() -> None:
    assert describe_encoders(release({"model": "generated"})) == []
