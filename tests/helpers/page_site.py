"""A site to look at: the real application on a small catalogue, in a thread, without Ray."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pyarrow as pa
import pyarrow.compute as pc
import uvicorn
from PIL import Image

from cluster.compute import InProcess
from cluster.serving.access.keys import KeyRing
from cluster.serving.encoders import online_encoder
from cluster.serving.http.application import make_application
from cluster.serving.service import Service
from cluster.serving.settings import ServeArgs
from cluster.serving.stats import Statistics
from cluster.serving.watcher import ReleaseWatcher
from cluster.stages.map import draw_release_map
from cluster.stages.pipeline import run_pipeline
from helpers.local_processes import free_port
from semrec.data import ItemRow, import_interactions, import_items, import_users
from semrec.demo import film_items, viewer_interactions, viewer_rows
from semrec.online.release import OnlineRelease
from semrec.progress import NoProgress
from semrec.release.reader import Release, newest_release
from semrec.reports.archetypes import ArchetypesManifest, find_archetypes
from semrec.settings import ReleaseSettings, ScoreSettings, Settings
from semrec.workspace.folder import Workspace
from semrec.workspace.storage import Storage

POSTER_ID = "wall-e-2008"  # has a picture
HOSTILE_ID = "<b>/../?&#"
HOSTILE_TITLE = '<img src=x onerror="document.title=1"> & Amélie 愛 🎬 \u202eabc (2001)'
#: A third of the demo's films, for speed, and those that a test names.
NAMED = {"wall-e-2008", "alien-1979", "shrek-2001", "the-godfather-1972"}
FILMS = [
    film
    for number, film in enumerate(film_items())
    if number % 3 == 0 or film.item_id in NAMED or film.item_id.startswith("toy-story")
]


@dataclass(frozen=True)
class Site:
    """Where the page is, and what the API behind it answers."""

    url: str
    key: str | None = None

    def get(self, path: str) -> Any:
        return json.loads(self.raw(path))

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return json.loads(self.raw(path, json.dumps(body).encode()))

    def raw(self, path: str, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json"} | ({"X-API-Key": self.key} if self.key else {})
        with urlopen(Request(f"{self.url}/{path}", body, headers), timeout=30) as answer:
            return bytes(answer.read())


def poster_of(folder: str) -> str:
    """The URI of a red picture of 400 x 600 pixels."""
    path = Path(folder) / "poster.png"
    Image.new("RGB", (400, 600), (200, 20, 30)).save(path)
    return str(path)


def make_workspace(uri: str) -> Workspace:
    """Films and 70 viewers of the demo, and one item whose id, title and attributes are hostile."""
    workspace = Workspace.create(uri, num_buckets=4)
    genre = ["Drama", '"><script>alert(1)</script>']
    hostile = ItemRow(HOSTILE_ID, HOSTILE_TITLE, "A film about angle brackets.", {"genre": genre, "year": ["2001"]})
    with_poster = [
        replace(film, content={"image": poster_of(uri)}) if film.item_id == POSTER_ID else film for film in FILMS
    ]
    import_items(workspace, [*with_poster, hostile])
    import_users(workspace, viewer_rows(70))
    known = pa.array([film.item_id for film in FILMS])
    events = [batch.filter(pc.is_in(batch["item_id"], value_set=known)) for batch in viewer_interactions(70, 7)]
    import_interactions(workspace, events, repeats="latest", neutral_value=2.5)
    settings = Settings(score=ScoreSettings(k=20), release=ReleaseSettings(relations_from=("director", "genre")))
    run_pipeline(workspace, settings, compute=InProcess(), progress=NoProgress())
    draw_release_map(workspace, None, compute=InProcess(), progress=NoProgress())
    release = Release(workspace.storage, newest_release(workspace.storage))
    ArchetypesManifest(archetypes=tuple(find_archetypes(release, 3))).write(workspace.storage, release.release_id)
    return workspace


def make_live(workspace: Workspace) -> ReleaseWatcher:
    """The live release, opened."""

    def opened(storage: Storage, release_id: str, run_id: str) -> Any:
        served = OnlineRelease(storage, release_id, run_id)
        return served, served.rank

    live = ReleaseWatcher(workspace.storage, opened, online_encoder)
    assert live.check_live(), live.refused
    assert live.now is not None
    return live


@contextmanager
def serving(live: ReleaseWatcher, keys_file: str | None = None, key: str | None = None) -> Iterator[Site]:
    """The application on a free port of the loopback. Nothing here writes, so there is no overlay to append to."""
    # A first request may have to wait for a model.
    args = ServeArgs(workspace="unused", keys_file=keys_file, timeout_s=60.0)
    service = Service(args, live, None, Statistics("test"), keys=KeyRing(keys_file) if keys_file else None)  # type: ignore[arg-type]
    application = make_application(service)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        site = Site(f"http://127.0.0.1:{port}", key)
        _wait_until_it_listens(site)
        yield site
    finally:
        server.should_exit = True
        thread.join(10)
        service.close()


def _wait_until_it_listens(site: Site) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            site.raw("v1/map/legend")
            return
        except HTTPError:
            raise
        except OSError:
            pass  # it does not listen yet
        time.sleep(0.1)
    raise TimeoutError("nothing listens within 30 s")
