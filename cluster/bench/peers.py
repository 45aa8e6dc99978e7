"""Serves the peers of the serving bench: an empty FastAPI application, and faiss behind one, searched for every request.

python -m cluster.bench.peers ping --port 8001
python -m cluster.bench.peers faiss --port 8001 --workspace W
"""

from __future__ import annotations

import argparse

import uvicorn
from fastapi import FastAPI, HTTPException

from semrec.contracts import bucket_of
from semrec.release.attributes import attribute_dicts
from semrec.release.reader import Release
from semrec.runs.live import require_live
from semrec.workspace.folder import Workspace

__all__ = ["main"]

_MARGIN = 8  # how many times K is searched for, so that K are left when the filter has taken its share


def _ping() -> FastAPI:
    app = FastAPI()

    @app.get("/ping")
    async def ping() -> dict[str, bool]:
        return {"ok": True}

    return app


def _faiss(workspace_uri: str) -> FastAPI:
    """Returns an IndexFlatIP, one search for each request, what was seen or does not fit dropped afterwards."""
    import faiss

    workspace = Workspace.open(workspace_uri)
    release = Release(workspace.storage, require_live(workspace.storage).release)
    index = faiss.IndexFlatIP(release.dimension)
    index.add(release.shard().vectors())
    ids = release.item_ids.to_pylist()
    titles = release.items.column("title").to_pylist()
    attributes = attribute_dicts(release.items.column("attributes"))
    parts = [release.user_part(part) for part in range(len(release.manifest.users))]
    rows_by_bucket = [{user: row for row, user in enumerate(part.user_ids.to_pylist())} for part in parts]
    app = FastAPI()

    @app.get("/v1/users/{user_id}/recommendations")
    def recommendations(user_id: str, k: int = 10, platform: str | None = None) -> dict[str, object]:
        bucket = bucket_of(user_id, len(parts))
        user_row = rows_by_bucket[bucket].get(user_id)
        if user_row is None:
            raise HTTPException(404)
        queries = parts[bucket].queries.between(user_row, user_row + 1)
        seen = set(queries.seen_rows.tolist())
        scores, rows = index.search(queries.vectors_QD, len(seen) + _MARGIN * k)
        items = []
        for row, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True):
            if row not in seen and (platform is None or platform in attributes[row].get("platform", [])):
                items.append({"item_id": ids[row], "title": titles[row], "attributes": attributes[row], "score": score})
                if len(items) == k:
                    break
        return {"user_id": user_id, "items": items}

    return app


def main() -> None:
    """Serves one of the peers on a loopback port until it is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=("ping", "faiss"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workspace")
    given = parser.parse_args()
    app = _ping() if given.peer == "ping" else _faiss(given.workspace)
    uvicorn.run(app, host="127.0.0.1", port=given.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
