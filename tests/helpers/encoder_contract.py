"""What every encoder promises, as a test class: a test of an encoder derives from it and says what is embedded."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cluster.compute import InProcess
from cluster.stages.embed import EmbedResult, embed_catalogue
from semrec.data import ItemRow, catalogue, import_items
from semrec.encoders.base import Encoder, encoder_class
from semrec.encoders.settings import EmbedSettings
from semrec.errors import EncoderError
from semrec.progress import NoProgress
from semrec.workspace.folder import Workspace
from semrec.workspace.tables import read_parts

__all__ = ["EncoderContract", "embed_into"]

_NUM_PARTS, _KILLED_AFTER = 2, 1  # commits
# A driver that dies, at once and without a word, when it has committed some parts.
_DRIVER = """
import os, signal, sys
from cluster.compute import InProcess
from cluster.stages.embed import embed_catalogue
from semrec.encoders.settings import EmbedSettings
from semrec.progress import NoProgress
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger

commit, num_committed = Ledger.commit, 0

def commit_and_die(ledger, record):
    global num_committed
    commit(ledger, record)
    num_committed += 1
    if num_committed == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)

Ledger.commit = commit_and_die
settings = EmbedSettings.model_validate_json(sys.argv[2])
embed_catalogue(Workspace.open(sys.argv[1]), settings, compute=InProcess("cpu"), progress=NoProgress())
"""


def embed_into(workspace: Workspace, settings: EmbedSettings, max_rejected: float = 0.01) -> EmbedResult:
    return embed_catalogue(
        workspace, settings, compute=InProcess("cpu"), progress=NoProgress(), max_rejected=max_rejected
    )


class EncoderContract:
    """Derive from it with a class fixture `contents`, six contents with a vector each, and one without any: `bad_content`."""

    settings: EmbedSettings
    bad_content: str

    @pytest.fixture(scope="class")
    def contents(self, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def encoder(self) -> Encoder:
        kind = encoder_class(self.settings.kind)
        return kind.load(kind.plan(self.settings), self.settings)

    @pytest.fixture(scope="class")
    def reference(self, encoder: Encoder, contents: list[str]) -> np.ndarray:
        vectors_ND, rejected = encoder.embed(contents)
        assert rejected == []
        return vectors_ND

    def test_vectors_are_distinct_float32_of_length_1(self, encoder: Encoder, reference: np.ndarray) -> None:
        identity = type(encoder).plan(self.settings)
        assert (reference.shape, reference.dtype) == ((6, identity.dimension), np.float32)
        np.testing.assert_allclose(np.linalg.norm(reference, axis=1), 1, rtol=1e-6)
        assert len(np.unique(reference, axis=0)) == 6

    @pytest.mark.parametrize("order", [(5, 4, 3, 2, 2, 1, 0), (3,)])
    def test_a_vector_depends_on_its_content_alone(
        self, encoder: Encoder, contents: list[str], reference: np.ndarray, order: tuple[int, ...]
    ) -> None:
        again_ND, _ = encoder.embed([contents[index] for index in order])
        assert again_ND.tobytes() == reference[list(order)].tobytes()

    def test_content_without_a_vector_is_rejected_alone(
        self, encoder: Encoder, contents: list[str], reference: np.ndarray
    ) -> None:
        again_ND, rejected = encoder.embed([self.bad_content, contents[0], self.bad_content, contents[1]])
        assert [index for index, _ in rejected] == [0, 2]
        assert all(reason for _, reason in rejected)
        assert not again_ND[[0, 2]].any()
        assert again_ND[[1, 3]].tobytes() == reference[:2].tobytes()

    def test_nothing_gives_nothing(self, encoder: Encoder) -> None:
        vectors_ND, rejected = encoder.embed([])
        assert (len(vectors_ND), rejected) == (0, [])

    def test_the_identity_is_stable_and_can_be_stored_and_sent(self, encoder: Encoder) -> None:
        identity = type(encoder).plan(self.settings)
        assert identity.fingerprint == pickle.loads(pickle.dumps(identity)).fingerprint
        assert json.loads(json.dumps(identity.to_json())) == identity.to_json()
        assert identity.kind == self.settings.kind

    def test_a_stored_identity_names_the_settings_that_plan_it(self, encoder: Encoder) -> None:
        identity = type(encoder).plan(self.settings)
        same = {"kind": identity.kind, "device": self.settings.device, "dtype": self.settings.dtype}
        again = EmbedSettings(**same, **type(encoder).settings_of(identity.to_json()))
        assert type(encoder).plan(again) == identity

    def test_what_callers_bring_has_a_vector_like_the_catalogues(
        self, encoder: Encoder, contents: list[str], reference: np.ndarray
    ) -> None:
        kind = type(encoder)
        for_callers = kind.load(kind.for_callers(kind.plan(self.settings)), self.settings)
        vectors_ND = np.concatenate([for_callers.embed([content])[0] for content in contents])
        assert (vectors_ND * reference).sum(axis=1).min() > 0.999

    def test_other_weights_are_refused(self, encoder: Encoder) -> None:
        identity = type(encoder).plan(self.settings)
        with pytest.raises(EncoderError, match="weights 000000000000"):
            type(encoder).load(self.of_other_weights(identity), self.settings)

    def of_other_weights(self, identity: object) -> object:
        return replace(identity, weights_sha256="0" * 64)  # type: ignore[type-var]

    def test_a_killed_run_goes_on_to_the_same_bytes(
        self, contents: list[str], reference: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(catalogue, "_ITEMS_PER_PART", 6 // _NUM_PARTS)
        modality = encoder_class(self.settings.kind).modality
        workspace = Workspace.create(str(tmp_path / "w"))
        rows = [
            ItemRow(f"item-{n}", f"number {n}", content)
            if modality == "text"
            else ItemRow(f"item-{n}", f"number {n}", content={modality: content})
            for n, content in enumerate(contents)
        ]
        import_items(workspace, rows)
        command = [sys.executable, "-c", _DRIVER, workspace.uri, self.settings.model_dump_json(), str(_KILLED_AFTER)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        resumed = embed_into(workspace, self.settings)
        assert (resumed.parts.committed, resumed.parts.computed) == (_KILLED_AFTER, _NUM_PARTS - _KILLED_AFTER)
        table = read_parts(workspace.storage, resumed.manifest.parts, ["item_id", "vector"]).sort_by("item_id")
        assert np.array(table["vector"].to_pylist(), np.float32).tobytes() == reference.tobytes()
