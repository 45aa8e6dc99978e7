"""`/v1/process`: contents become vectors and lists, each for itself; what a caller may not have fetched is refused."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest

from helpers.replica_without_ray import LocalReplica, WordEncoder, refused
from helpers.serving_world import make_world
from semrec.changes.overlay import OverlayView
from semrec.errors import InputError
from semrec.online.anonymous import ContentVector, anonymous_profile, anonymous_query
from semrec.online.filters import NO_FILTERS, Filters
from semrec.online.process import ContentEncoders, Processed, ReceivedFile
from semrec.release.reader import Release

PNG = b64encode(b"\x89PNG\r\n").decode()  # as much of one as says that it is an image


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalReplica]:
    with LocalReplica(make_world(tmp_path_factory.mktemp("contents") / "w")) as made:
        yield made


def process(replica: LocalReplica, *contents: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    response = replica.client.post("/v1/process", json={"contents": contents, **options})
    assert response.status_code == 200, response.text
    answers: list[dict[str, Any]] = response.json()["contents"]
    return answers


def test_a_text_has_its_vector_and_what_a_search_by_meaning_finds(replica: LocalReplica) -> None:
    (found,) = process(replica, {"text": "blue stars"}, k=4)
    assert (found["modality"], found["metadata"]) == ("text", {"num_characters": 10})
    assert np.array(found["vector"], np.float32).tobytes() == WordEncoder().vector("blue stars").tobytes()
    search = replica.client.post("/v1/search", json={"text": "blue stars", "k": 4, "mode": "dense"}).json()
    assert found["answer"] == search


def test_files_go_through_the_encoders_and_each_fails_for_itself(
    replica: LocalReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[ReceivedFile] = []
    vector = WordEncoder().vector("a picture")

    def embed(self: ContentEncoders, release: Release, file: ReceivedFile, **_: object) -> Processed:
        files.append(file)
        if file.data == b"bad":
            raise InputError("the image gives no vector: damaged image", expected="an image", remedy="Send another.")
        return Processed("text", {"width": 3}, vector)

    monkeypatch.setattr(ContentEncoders, "process", embed)
    sent = [{"data": b64encode(data).decode(), "name": "a.png"} for data in (b"good", b"bad")]
    good, bad, private = process(
        replica, *sent, {"uri": "http://169.254.169.254/latest"}, k=2, filters={"genre": ["Noir"]}
    )
    assert files == [ReceivedFile(b"good", "a.png"), ReceivedFile(b"bad", "a.png")]
    assert (good["metadata"], len(good["answer"]["items"])) == ({"width": 3}, 2)
    assert all("Noir" in item["attributes"]["genre"] for item in good["answer"]["items"])
    assert (bad["error"]["status"], private["error"]["status"]) == (422, 422)
    assert "damaged image" in bad["error"]["detail"] and "public web" in private["error"]["detail"]


def test_a_modality_that_the_release_lacks_is_said_to_be_missing(replica: LocalReplica) -> None:
    (document,) = process(replica, {"data": b64encode(b"%PDF-1.7").decode()})
    assert document["error"]["status"] == 501
    assert "no encoder of the modality document" in document["error"]["detail"]


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The vector that any image has."""
    vector = WordEncoder().vector("a picture")
    monkeypatch.setattr(ContentEncoders, "image", lambda self, release, data: ContentVector("image", vector))
    return vector


def test_an_image_finds_what_looks_like_it(replica: LocalReplica, image: np.ndarray) -> None:
    looked = search(replica, image=PNG, k=4, filters={"genre": ["Noir"]})
    noir = Filters({"genre": frozenset({"Noir"})})
    assert looked == ("dense", nearest(replica, ContentVector("image", image), filters=noir))


def test_an_image_and_a_text_are_searched_together(replica: LocalReplica, image: np.ndarray) -> None:
    text = ContentVector("blue stars", WordEncoder().vector("blue stars"))
    both = nearest(replica, text, ContentVector("image", image))
    assert search(replica, image=PNG, text="blue stars", mode="dense", k=4) == ("dense", both)
    mode, found = search(replica, image=PNG, text="title of n05", k=4)
    assert mode == "hybrid" and "n05" in found


def search(replica: LocalReplica, **asked: Any) -> tuple[str, list[str]]:
    response = replica.client.post("/v1/search", json=asked)
    assert response.status_code == 200, response.text
    return response.json()["mode"], [item["item_id"] for item in response.json()["items"]]


def nearest(replica: LocalReplica, *contents: ContentVector, filters: Filters = NO_FILTERS) -> list[str]:
    served, nothing = replica.served, OverlayView.empty()
    profile = anonymous_profile(served, nothing, contents=contents)
    (ranked,) = served.rank([anonymous_query(served, profile, filters=filters, k=4)], nothing)
    return [hit.item_id for hit in ranked.hits]


def test_images_that_cannot_be_searched_by_are_refused(replica: LocalReplica) -> None:
    for status, asked in [
        (501, {"image": PNG}),
        (422, {"image": b64encode(b"%PDF-1.7").decode()}),
        (422, {"image": "###"}),
        (422, {"image": PNG, "mode": "hybrid"}),
        (422, {"image": PNG, "text": "blue", "mode": "words"}),
        (422, {}),
    ]:
        refused(replica.client.post("/v1/search", json=asked), status)


def test_nobody_waits_for_another_ones_document(
    replica: LocalReplica, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, others_done = Event(), Event()

    def read(self: ContentEncoders, release: Release, file: ReceivedFile, **_: object) -> Processed:
        begun.set()
        assert others_done.wait(30)
        return Processed("text", {}, WordEncoder().vector("a scan"))

    monkeypatch.setattr(ContentEncoders, "process", read)
    with ThreadPoolExecutor(1) as sender:
        scan = sender.submit(process, replica, {"data": b64encode(b"%PDF-1.7").decode()})
        assert begun.wait(30)
        assert search(replica, image=PNG, k=4)[0] == "dense"
        assert "answer" in process(replica, {"text": "blue stars"})[0]
        assert not scan.done()
        others_done.set()
        assert "answer" in scan.result()[0]


@pytest.mark.parametrize(
    "contents", [[], [{}], [{"text": "a", "uri": "http://b"}], [{"data": "###"}], [{"text": "a"}] * 17]
)
def test_wrong_requests_are_refused(replica: LocalReplica, contents: list[dict[str, Any]]) -> None:
    refused(replica.client.post("/v1/process", json={"contents": contents}), 422)
