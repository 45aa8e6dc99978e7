"""Parity: replaying users finds every kind of difference, through the functions and through `semrec parity`."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
import typer

from helpers.serving_world import K, World
from jobs.check_parity import main
from semrec.changes.overlay import OverlayView
from semrec.online.lists_json import items_json
from semrec.online.parity import check_parity
from semrec.online.published import PublishedLists
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of

Change = Callable[[str, dict[str, Any]], Any]


@pytest.fixture(scope="module")
def lists(world: World) -> PublishedLists:
    return PublishedLists(world.workspace.storage, world.run_id)


def live_answer(served: OnlineRelease, user_id: str) -> dict[str, Any]:
    """A user's live answer as the API shapes it, through JSON."""
    state, nothing = served.user(user_id), OverlayView.empty()
    (ranked,) = served.rank([rank_query_of(state, k=K)], nothing)
    items = json.loads(items_json(served, ranked.hits, nothing))
    return {"release": served.release_id, "source": state.source, "items": items}


def test_all_users_are_equal_and_each_is_asked_for_once(lists: PublishedLists, served: OnlineRelease) -> None:
    asked = []
    report = check_parity(lists, lambda user: asked.append(user) or live_answer(served, user), 40)
    assert (report.ok, report.share, report.num_equal) == (True, 1.0, 40)
    assert sorted(asked) == sorted(f"user-{n}" for n in range(40))
    assert len(set(lists.sample(7))) == 7
    assert lists.sample(10_000) == asked


def _nudge(answer: dict[str, Any]) -> None:
    item = answer["items"][-1]
    item["score"] = float(np.nextafter(np.float32(item["score"]), np.float32(9)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.update(release="another"), "it is of release another"),
        (lambda a: a.update(source="batch"), "its source is batch"),
        (lambda a: a["items"].pop(), "4 items, published 5"),
        (lambda a: a["items"].reverse(), "place 1 is"),
        (_nudge, "the score of place 5"),
        (lambda a: a["items"][0].pop("score"), "no answer: KeyError"),
        (lambda a: a.clear(), "no answer: KeyError"),
    ],
)
def test_one_changed_answer_is_found(
    lists: PublishedLists, served: OnlineRelease, change: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    victim = next(user for user in lists.sample(40) if len(live_answer(served, user)["items"]) == K)

    def fetch(user: str) -> dict[str, Any]:
        answer = live_answer(served, user)
        if user == victim:
            change(answer)
        return answer

    report = check_parity(lists, fetch, 40)
    assert (report.ok, report.num_equal, report.share) == (False, 39, 39 / 40)
    (one,) = report.differences
    assert one.user_id == victim
    assert reason in one.reason


def test_a_replay_of_nobody_proves_nothing(lists: PublishedLists, served: OnlineRelease) -> None:
    report = check_parity(lists, lambda user: live_answer(served, user), 0)
    assert (report.ok, report.share) == (False, 0.0)


class Api:
    """The endpoint that the job asks, over HTTP; `broken` users get an error."""

    def __init__(self, served: OnlineRelease) -> None:
        api = self
        self.broken: set[str] = set()
        self.queries: set[str] = set()
        self.keys: set[str | None] = set()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path, _, query = self.path.partition("?")
                api.queries.add(query)
                api.keys.add(self.headers.get("Authorization"))
                user = urllib.parse.unquote(path.split("/")[3])
                status = 503 if user in api.broken else 200
                body = b"not ready" if status == 503 else json.dumps(live_answer(served, user)).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def api(served: OnlineRelease) -> Iterator[Api]:
    made = Api(served)
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def test_the_job_says_yes_and_asks_as_the_run_was_scored(world: World, api: Api, tmp_path: Any, capsys: Any) -> None:
    key = tmp_path / "key"
    key.write_text("secret\n")
    main(workspace=world.workspace.uri, url=api.url, sample=25, key_file=key)
    assert api.queries == {f"source=live&overlay=off&k={K}"}
    assert api.keys == {"Bearer secret"}
    assert "25 of 25 answers equal, 100.00%" in capsys.readouterr().out


def test_the_job_exits_1_and_names_the_user(world: World, api: Api, lists: PublishedLists, capsys: Any) -> None:
    api.broken = {lists.sample(20)[3]}
    with pytest.raises(typer.Exit) as left:
        main(workspace=world.workspace.uri, url=api.url, sample=20)
    assert left.value.exit_code == 1
    said = capsys.readouterr().out
    assert "19 of 20 answers equal, 95.00%" in said
    assert f"differs {lists.sample(20)[3]}: no answer: OSError: HTTP 503: not ready" in said


def test_the_job_without_a_service_exits_1(world: World, capsys: Any) -> None:
    with pytest.raises(typer.Exit):
        main(workspace=world.workspace.uri, url="http://127.0.0.1:9", sample=3)
    assert "0 of 3 answers equal" in capsys.readouterr().out
