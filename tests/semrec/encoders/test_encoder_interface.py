"""One more encoder is one class and one line: an encoder of this file is planned, run and reused like that of texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from cluster.compute import InProcess
from cluster.stages.embed import EmbedResult, embed_catalogue
from cluster.stages.release import build_release
from semrec.data import ItemRow, import_items
from semrec.encoders.base import ENCODERS, Encoder, encoder_class
from semrec.encoders.devices import DeviceKind
from semrec.encoders.settings import EmbedSettings
from semrec.errors import EncoderError, InputError
from semrec.online.search import OnlineEncoder
from semrec.progress import NoProgress
from semrec.release.reader import Release
from semrec.settings import ReleaseSettings
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.tables import read_table

LETTERS = "abcd"
ITEMS = {"one": "abba", "two": "dad", "three": "abba", "none": "xyz"}


@dataclass(frozen=True)
class LetterIdentity:
    """An identity without tokens, weights or shapes."""

    device_kind: DeviceKind
    dimension: int = len(LETTERS)
    kind: ClassVar[str] = "letters"

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.to_json())

    @property
    def name(self) -> str:
        return f"letters-{self.fingerprint[:8]}"

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}


class LetterEncoder(Encoder):
    """Counts letters."""

    kind: ClassVar[str] = "letters"
    modality: ClassVar[str] = "text"
    embedded: ClassVar[list[str]] = []

    @classmethod
    def plan(cls, settings: EmbedSettings, *, device_kind: DeviceKind | None = None) -> LetterIdentity:
        return LetterIdentity(device_kind or "cpu")

    @classmethod
    def load(cls, identity: Any, settings: EmbedSettings, *, num_threads: int | None = None) -> LetterEncoder:
        return cls()

    @property
    def device_name(self) -> str:
        return "fingers"

    def embed(self, contents: Sequence[str]) -> tuple[np.ndarray, list[tuple[int, str]]]:
        self.embedded.extend(contents)
        counts_ND = np.array([[content.count(letter) for letter in LETTERS] for content in contents], np.float32)
        lengths_N = np.linalg.norm(counts_ND, axis=1)
        rejected = [(int(index), "no letter") for index in np.flatnonzero(lengths_N == 0)]
        return counts_ND / np.maximum(lengths_N, 1)[:, None], rejected


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "letters", (__name__, "LetterEncoder"))
    monkeypatch.setattr(LetterEncoder, "embedded", [])


def embed(workspace: Workspace) -> EmbedResult:
    return embed_catalogue(
        workspace, EmbedSettings(kind="letters"), compute=InProcess("cpu"), progress=NoProgress(), max_rejected=0.5
    )


def test_another_encoder_goes_the_whole_way(workspace: Workspace, write_catalogue: Any) -> None:
    write_catalogue(ITEMS)
    result = embed(workspace)
    tables = [read_table(workspace.storage, part) for part in result.manifest.parts]
    vectors = {row["item_id"]: row["vector"] for table in tables for row in table.to_pylist()}
    half = np.float32(1) / np.sqrt(np.float32(2))
    assert vectors.keys() == {"one", "two", "three"}
    np.testing.assert_allclose(vectors["one"], [half, half, 0, 0], rtol=1e-6)
    assert vectors["three"] == vectors["one"]
    assert sorted(LetterEncoder.embedded) == ["abba", "dad", "xyz"]
    assert result.manifest.encoder == {"kind": "letters", "device_kind": "cpu", "dimension": 4}
    assert result.manifest.num_rejected == 1


def test_only_what_changed_is_embedded_again(workspace: Workspace, write_catalogue: Any) -> None:
    write_catalogue(ITEMS)
    embed(workspace)
    LetterEncoder.embedded.clear()
    write_catalogue({**ITEMS, "one": "cab"})
    assert embed(workspace).parts.computed_counts["embedded"] == 1
    assert LetterEncoder.embedded.count("cab") == 1
    assert not {"abba", "dad"} & set(LetterEncoder.embedded)


def test_an_encoder_of_another_modality_embeds_the_content_of_that_modality(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LetterEncoder, "modality", "poster")
    posters = {"one": "s3://a/b", "two": "s3://d", "three": "s3://a/b"}
    rows = [
        ItemRow(item_id, "a title", text, content={"poster": posters.get(item_id, "")})
        for item_id, text in ITEMS.items()
    ]
    import_items(workspace, rows)
    first = embed(workspace)
    assert sorted(LetterEncoder.embedded) == ["s3://a/b", "s3://d"]  # equal content once, no content not at all
    assert (first.manifest.num_items, first.manifest.num_rejected) == (3, 0)
    import_items(workspace, [ItemRow("two", "a title", "another text", content={"poster": "s3://d"})], mode="append")
    assert embed(workspace).parts.computed_counts["embedded"] == 0  # another text is no other poster
    assert len(LetterEncoder.embedded) == 2
    released = build_release(
        workspace, ReleaseSettings(), embedding=first.name, compute=InProcess("cpu"), progress=NoProgress()
    )
    release = Release(workspace.storage, released.release_id)
    assert release.item_ids.to_pylist() == ["one", "three", "two"]  # and not "none", which has no poster
    with pytest.raises(EncoderError, match="which reads no texts"):
        OnlineEncoder(released.manifest.encoder)


def test_a_modality_that_no_item_has_is_refused(
    workspace: Workspace, write_catalogue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LetterEncoder, "modality", "poster")
    write_catalogue(ITEMS)
    with pytest.raises(InputError, match="none of 4 items has content 'poster'"):
        embed(workspace)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"encoder 'smell'; expected .*letters or .*text"):
        encoder_class("smell")
