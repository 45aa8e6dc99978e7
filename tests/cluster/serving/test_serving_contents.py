"""`/v1/process`: contents become vectors and lists, each for itself; what a caller may not have fetched is refused."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from replica_without_ray import LocalReplica, WordEncoder, refused
from serving_world import make_world

from semrec.errors import InputError
from semrec.online.process import ContentEncoders, Processed, ReceivedFile
from semrec.release.reader import Release


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

    def embed(self: ContentEncoders, release: Release, file: ReceivedFile) -> Processed:
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


@pytest.mark.parametrize(
    "contents", [[], [{}], [{"text": "a", "uri": "http://b"}], [{"data": "###"}], [{"text": "a"}] * 17]
)
def test_wrong_requests_are_refused(replica: LocalReplica, contents: list[dict[str, Any]]) -> None:
    refused(replica.client.post("/v1/process", json={"contents": contents}), 422)
