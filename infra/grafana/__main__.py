"""Push the dashboards to Grafana, or show how it differs from them.

export GRAFANA_URL=https://grafana.example.org GRAFANA_TOKEN_FILE=/run/secrets/grafana-token
python -m infra.grafana diff
python -m infra.grafana push

Exit codes: 0 done (diff: the same), 1 failed (diff: it differs), 2 wrong usage.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from infra.grafana.push import Grafana, load_dashboards
from infra.grafana.push import diff as find_changes
from infra.grafana.push import push as save_changes
from infra.grafana.settings import read_settings
from semrec.errors import InputError, SemrecError

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Url = Annotated[str | None, typer.Option(help="Grafana's address, path prefix included (default: GRAFANA_URL).")]
Timeout = Annotated[float | None, typer.Option(help="Seconds to wait for an answer (default: 20).")]


@app.command()
def push(url: Url = None, timeout_s: Timeout = None) -> None:
    """Make Grafana hold these dashboards, in the folder `semrec`. A second push changes nothing."""
    with _reported():
        for change in save_changes(_connect(url, timeout_s), load_dashboards()):
            print(change, flush=True)


@app.command()
def diff(url: Url = None, timeout_s: Timeout = None) -> None:
    """Show how Grafana differs from the files, line by line. Changes nothing; exit code 1 when it differs."""
    with _reported():
        changes = find_changes(_connect(url, timeout_s), load_dashboards())
    for change in changes:
        print("\n".join(change.lines) if change.differs else change)
    raise typer.Exit(int(any(change.differs for change in changes)))


def _connect(url: str | None, timeout_s: float | None) -> Grafana:
    from infra.grafana.client import GrafanaClient  # late: --help needs no HTTP library

    return GrafanaClient(read_settings(os.environ, url=url, timeout_s=timeout_s))


@contextmanager
def _reported() -> Iterator[None]:
    """Typed errors become one message and an exit code."""
    try:
        yield
    except SemrecError as error:
        print(f"error: {error.got}\n  expected: {error.expected}\n  to do:    {error.remedy}", file=sys.stderr)
        raise typer.Exit(2 if isinstance(error, InputError) else 1) from None


if __name__ == "__main__":
    app()
