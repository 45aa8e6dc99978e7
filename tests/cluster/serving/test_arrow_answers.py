"""A batch as Arrow columns says what its JSON says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cluster.serving.http.arrow_answers import ARROW_STREAM, accepts_arrow
from helpers.replica_without_ray import LocalReplica, refused
from helpers.serving_world import PLATFORMS, make_world

QUERIES = [
    *[{"user_id": f"user-{n}"} for n in range(40)] * 27,  # several parts
    {"item_id": "n10"},
    {"item_id": "nothing"},
    {"liked": ["n01", {"item_id": "n02", "weight": 2.0}]},
    {"user_id": "stranger"},
]


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[LocalReplica]:
    with LocalReplica(make_world(tmp_path / "w")) as started:
        yield started


def columns(replica: LocalReplica, body: dict[str, Any]) -> pa.Table:
    reply = replica.client.post("/v1/batch", json=body, headers={"Accept": ARROW_STREAM})
    assert (reply.status_code, reply.headers["content-type"]) == (200, ARROW_STREAM)
    table = pa.ipc.open_stream(reply.content).read_all()
    table.validate(full=True)
    return table


def as_json(row: dict[str, Any], release: str, overlay: int) -> dict[str, Any]:
    """A row as the API's JSON has it."""
    if row["error"] is not None:
        assert row["items"] is None and row["source"] is None
        return {"error": {name: value for name, value in row["error"].items() if value is not None}}
    about = {name: row[name] for name in ("user_id", "item_id") if row[name] is not None}
    items = [{**item, "attributes": dict(item["attributes"] or ())} for item in row["items"]]
    head = {"source": row["source"], "release": release, "overlay": overlay}
    return {**head, **about, "short_reason": row["short_reason"], "items": items}


def test_columns_say_what_the_json_says(replica: LocalReplica) -> None:
    for overlay in (0, 2):
        if overlay:
            item = {"title": 'Brand "new"', "text": "blue", "attributes": {"platform": list(PLATFORMS), "genre": []}}
            assert replica.client.put("/v1/items/new", json=item).status_code == 200
            assert replica.client.delete("/v1/items/n07").status_code == 200
        for k in (1, 70):
            body = {"queries": QUERIES, "k": k}
            table = columns(replica, body)
            metadata = {b"release": replica.world.release_id.encode(), b"overlay": str(overlay).encode()}
            assert table.schema.metadata == metadata
            answers = replica.client.post("/v1/batch", json=body).json()["answers"]
            for answer in answers:
                for item in answer.get("items", ()):
                    item["score"] = float(np.float32(item["score"]))
            assert [as_json(row, replica.world.release_id, overlay) for row in table.to_pylist()] == answers
        assert any(item["item_id"] == "new" for row in table["items"].to_pylist() for item in row or ()) == bool(
            overlay
        )


def test_errors_are_columns_or_problems(replica: LocalReplica) -> None:
    table = columns(replica, {"queries": [{"item_id": "nothing"}], "k": 3})
    assert table["items"].to_pylist() == [None]
    assert table["error"][0].as_py()["status"] == 404
    bad = {"queries": [{"user_id": "u"}], "filters": {"shoe": ["42"]}}
    refused(replica.client.post("/v1/batch", json=bad, headers={"Accept": ARROW_STREAM}), 422)


@pytest.mark.parametrize(
    ("accept", "is_arrow"),
    [
        (ARROW_STREAM, True),
        (f"text/html, {ARROW_STREAM.upper()} ; q=0.9", True),
        ("*/*", False),
        ("", False),
        ("application/json", False),
        (f"{ARROW_STREAM}s", False),
    ],
)
def test_the_header_names_the_media_type(accept: str, is_arrow: bool) -> None:
    assert accepts_arrow(accept) == is_arrow
