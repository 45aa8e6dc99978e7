"""Ask a running service for users' recommendations, and compare with what the live run has published.

semrec parity --workspace W --url http://127.0.0.1:8000
python -m jobs.check_parity --workspace W --url http://127.0.0.1:8000 --sample 2000 --key-file key.txt
"""

from __future__ import annotations

import json
import urllib.parse
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cluster.compute_options import ComputeOptions
from jobs.cli_common import Address, ConsoleProgress, exit_on_error, run_as_program, with_workspace
from jobs.printing import one_line, say

if TYPE_CHECKING:
    from semrec.workspace.folder import Workspace

__all__ = ["main"]

_TIMEOUT_S = 30.0
_SHOWN = 10


@exit_on_error
@with_workspace()
def main(
    workspace: Workspace,
    url: Annotated[str, typer.Option(help="Where the service answers.")] = "http://127.0.0.1:8000",
    sample: Annotated[int, typer.Option(min=1, help="Users to ask for, spread over all.")] = 500,
    key_file: Annotated[Path | None, typer.Option(help="File that holds an API key.", exists=True)] = None,
    address: Address = None,
) -> None:
    """Compare live answers with the published lists; exit code 1 unless all are equal."""
    from cluster.compute import open_compute
    from semrec.online.parity import check_parity
    from semrec.online.published import PublishedLists
    from semrec.runs.live import require_live

    storage = workspace.storage
    lists = PublishedLists(storage, require_live(storage).run)
    client = _Client(url, lists.k, key_file.read_text(encoding="utf-8").strip() if key_file else None)
    with open_compute(ComputeOptions(in_process=address is None, address=address)) as compute:
        report = check_parity(lists, client.answer, sample, progress=ConsoleProgress())
        compute.metrics.add("semrec_parity_users_total", report.num_equal, result="equal")
        compute.metrics.add("semrec_parity_users_total", len(report.differences), result="different")
    for difference in report.differences[:_SHOWN]:
        say(("differs", "red"), f" {one_line(difference.user_id)}: {one_line(difference.reason)}")
    if not report.ok:
        say("the service does not answer what the run has published: `semrec status` says what is live")
        raise typer.Exit(1)


class _Client:
    """One kept connection to a service."""

    def __init__(self, url: str, k: int, key: str | None) -> None:
        parts = urllib.parse.urlsplit(url)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = kind(parts.netloc, timeout=_TIMEOUT_S)
        self._prefix, self._query = parts.path.rstrip("/"), f"source=live&overlay=off&k={k}"
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def answer(self, user_id: str) -> dict[str, Any]:
        """Returns a user's live answer. Raises OSError when there is none, with the service's own reason."""
        name = urllib.parse.quote(user_id, safe="")
        path = f"{self._prefix}/v1/users/{name}/recommendations?{self._query}"
        try:
            self._connection.request("GET", path, headers=self._headers)
            response = self._connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as error:
            self._connection.close()  # half a request may stand in it; the next one opens another
            raise OSError(f"{type(error).__name__}: {error}") from error
        if response.status != 200:
            raise OSError(f"HTTP {response.status}: {body[:200].decode(errors='replace')}")
        answer: dict[str, Any] = json.loads(body)
        return answer


if __name__ == "__main__":
    run_as_program(main)
