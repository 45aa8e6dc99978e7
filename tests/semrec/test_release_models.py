"""What models store with a release is read back as it was, and a changed byte of it is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.whole_path import make_world, release
from semrec.errors import CorruptArtefactError
from semrec.models.base import MODELS
from semrec.models.components import Components
from semrec.models.content import ContentModel
from semrec.release.arrays import check_matrix
from semrec.release.training import read_components, write_models
from semrec.workspace.manifests import ModelSpec, ReleaseManifest
from semrec.workspace.storage import Storage


class CountingModel(ContentModel):
    """The content model with arrays of its own: a matrix and a single number."""

    kind = "counting"

    def __init__(self, settings: Any, dimension: int, stored: Any = None) -> None:
        super().__init__(settings, dimension)
        self.stored = stored or {"gram_DD": np.eye(dimension), "num_items": np.array(8)}

    @classmethod
    def load(cls, settings: Any, dimension: int, arrays: Any) -> CountingModel:
        return cls(settings, dimension, arrays)

    def arrays(self) -> dict[str, np.ndarray]:
        return self.stored


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semrec.models.base.MODELS", {**MODELS, "counting": (__name__, "CountingModel")})


@pytest.mark.usefixtures("counting")
def test_arrays_of_a_model_come_back_and_damage_is_found(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    manifest = ReleaseManifest.read(world.storage, release(world).release_id)
    rule = {"half_life_days": 3.5, "neutral_value": 0.25}
    spec = ModelSpec(kind="counting", exponent=3, weights=((0, 0.5), (4, 2.0)))
    written = Components.side_by_side([CountingModel(rule, 2)], [spec], "sum")
    (record,) = write_models(world.storage, "releases/other", written)
    assert set(record.arrays) == {"gram_DD", "num_items"}
    matrix = manifest.matrix.model_copy(update={"models": (record,)})
    (component,) = read_components(world.storage, matrix, manifest.settings).components
    assert isinstance(component.model, CountingModel)
    assert (component.model.settings, component.exponent, component.weights) == (rule, 3, ((0, 0.5), (4, 2.0)))
    assert component.model.stored["gram_DD"].tolist() == [[1, 0], [0, 1]]
    assert (component.model.stored["num_items"].shape, int(component.model.stored["num_items"])) == ((), 8)
    check_matrix(world.storage, matrix)
    _flip_last_byte(world.storage, record.arrays["gram_DD"].file)
    with pytest.raises(CorruptArtefactError, match=r"models/counting/gram_DD\.npy"):
        check_matrix(world.storage, matrix)


def test_a_release_without_a_word_of_models_has_the_content_model(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    manifest = ReleaseManifest.read(world.storage, release(world, half_life_days=9.0).release_id)
    (record,) = manifest.matrix.models
    assert (record.kind, record.settings["half_life_days"], record.dimension) == ("content", 9.0, 2)
    older = manifest.matrix.model_copy(update={"models": (), "embedding_dimension": None})
    (now,), (then,) = (
        read_components(world.storage, m, manifest.settings).components for m in (manifest.matrix, older)
    )
    assert (then.model.settings, then.columns, then.exponent) == (now.model.settings, now.columns, now.exponent)
    assert older.dimension == then.model.dimension


def _flip_last_byte(storage: Storage, path: str) -> None:
    data = bytearray(storage.read_bytes(path))
    data[-1] ^= 1
    storage.write_bytes(path, bytes(data))
