"""An HTTP server in this process that answers as Grafana's documented HTTP API would, and refuses what that would refuse.

After https://grafana.com/docs/grafana/latest/developers/http_api/ (dashboard, folder, other): status codes, required
fields, checks of version and title, and messages. It is no Grafana: it renders nothing and migrates nothing.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "glsa_stub-token-that-must-show-nowhere"
Answer = tuple[int, Any]


@dataclass
class Stub:
    """The state of the server, and how it is to misbehave."""

    url: str = ""
    prefix: str = ""
    folders: dict[str, str] = field(default_factory=dict)  # uid -> title
    dashboards: dict[str, dict[str, Any]] = field(default_factory=dict)  # uid -> {"dashboard", "folderUid"}
    requests: list[tuple[str, str]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    broken: dict[str, list[Answer]] = field(default_factory=dict)  # "METHOD /path" -> answers given before the true one
    delay_s: float = 0.0
    migrates: bool = False
    edits_before_saving: bool = False

    def writes(self) -> list[tuple[str, str]]:
        return [request for request in self.requests if request[0] != "GET"]

    def answer(self, method: str, path: str, body: Any) -> Answer:
        """Status and JSON of one authorised request."""
        if waiting := self.broken.get(f"{method} {path}"):
            return waiting.pop(0)
        if (method, path) == ("GET", "/health"):
            return 200, {"commit": "stub", "database": "ok", "version": "11.0.0"}
        if method == "GET" and (found := re.fullmatch(r"/folders/([\w-]+)", path)):
            uid = found[1]
            if uid not in self.folders:
                return 404, {"message": "folder not found", "status": "not-found"}
            return 200, {"id": 1, "uid": uid, "title": self.folders[uid], "version": 1}
        if (method, path) == ("POST", "/folders"):
            return self._make_folder(body)
        if method == "GET" and (found := re.fullmatch(r"/dashboards/uid/([\w-]+)", path)):
            return self._get(found[1])
        if (method, path) == ("POST", "/dashboards/db"):
            return self._save(body)
        return 404, {"message": "Not found"}

    def _make_folder(self, body: Any) -> Answer:
        if not isinstance(body, dict) or not body.get("title"):
            return 400, {"message": "bad request data"}
        if body.get("uid") in self.folders:
            return 409, {"message": "a folder with the same uid already exists in the current location"}
        self.folders[body["uid"]] = body["title"]
        return 200, {"id": 1, "uid": body["uid"], "title": body["title"], "version": 1}

    def _get(self, uid: str) -> Answer:
        if uid not in self.dashboards:
            return 404, {"message": "Dashboard not found"}
        held = self.dashboards[uid]
        return 200, {"dashboard": held["dashboard"], "meta": {"folderUid": held["folderUid"], "slug": uid}}

    def _save(self, body: Any) -> Answer:
        if not isinstance(body, dict) or not isinstance(body.get("dashboard"), dict):
            return 400, {"message": "bad request data"}
        dashboard, folder = dict(body["dashboard"]), body.get("folderUid", "")
        if not dashboard.get("title"):
            return 400, {"message": "Dashboard title cannot be empty", "status": "empty-name"}
        if len(dashboard.get("uid", "")) > 40:
            return 400, {"message": "uid too long, max 40 characters"}
        if folder and folder not in self.folders:
            return 400, {"message": "folder not found", "status": "not-found"}
        uid, overwrite = dashboard["uid"], body.get("overwrite", False)
        if self.edits_before_saving and uid in self.dashboards:
            self.dashboards[uid]["dashboard"]["version"] += 1
        held = self.dashboards.get(uid)
        if dashboard.get("id") is not None and not held:
            return 404, {"message": "Dashboard not found", "status": "not-found"}
        if held and not overwrite and dashboard.get("version") != held["dashboard"]["version"]:
            said = "The dashboard has been changed by someone else"
            return 412, {"message": said, "status": "version-mismatch"}
        for other, entry in self.dashboards.items():
            same = (entry["dashboard"]["title"], entry["folderUid"]) == (dashboard["title"], folder)
            if same and other != uid and not overwrite:
                said = "A dashboard with the same name in the folder already exists"
                return 412, {"message": said, "status": "name-exists"}
        version = held["dashboard"]["version"] + 1 if held else 1
        own = {"id": held["dashboard"]["id"] if held else 100 + len(self.dashboards), "version": version}
        migrated = {"schemaVersion": 99} if self.migrates else {}
        self.dashboards[uid] = {"dashboard": {**dashboard, **own, **migrated}, "folderUid": folder}
        self.messages.append(body.get("message", ""))
        return 200, {**own, "uid": uid, "url": f"/d/{uid}", "status": "success", "slug": uid}


@contextmanager
def serving(prefix: str = "") -> Iterator[Stub]:
    """A running stub on the loopback."""
    stub = Stub(prefix=prefix)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(stub))
    stub.url = f"http://127.0.0.1:{server.server_port}{prefix}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            time.sleep(stub.delay_s)
            status, answer = self._decide(raw)
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            kind = "text/html" if isinstance(answer, bytes) else "application/json"
            try:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # a client that did not wait

        def _decide(self, raw: bytes) -> Answer:
            api = f"{stub.prefix}/api"
            if not self.path.startswith(f"{api}/"):
                return 200, b"<!doctype html><title>another site</title>"
            path = self.path.removeprefix(api)
            stub.requests.append((self.command, path))
            if path != "/health" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return 401, {"message": "Invalid API key"}
            if raw and self.headers.get("Content-Type") != "application/json":
                return 400, {"message": "bad request data"}
            return stub.answer(self.command, path, json.loads(raw) if raw else None)

        do_GET = do_POST = do_PUT = do_DELETE = _handle

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
