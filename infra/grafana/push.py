"""Making Grafana hold the dashboards of this folder: what differs, and saving only that."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Protocol

from infra.grafana.errors import GrafanaConflictError
from semrec import __version__
from semrec.errors import InputError

__all__ = ["FOLDER_TITLE", "FOLDER_UID", "Change", "Grafana", "diff", "load_dashboards", "push"]

FOLDER_UID: Final = "semrec"
FOLDER_TITLE: Final = "semrec"
_OWN: Final = ("id", "version")  # what Grafana itself numbers, and each server otherwise


class Grafana(Protocol):
    """All that is asked of a Grafana server."""

    def health(self) -> dict[str, Any]:
        """Raises a GrafanaError unless a healthy Grafana answers."""

    def ensure_folder(self, uid: str, title: str) -> None:
        """Makes the folder unless it is there."""

    def get_dashboard(self, uid: str) -> dict[str, Any] | None:
        """`{"dashboard": ..., "meta": {"folderUid": ...}}`, or None."""

    def put_dashboard(self, dashboard: dict[str, Any], folder_uid: str, message: str) -> None:
        """Saves a dashboard; `version` in it is the one that it replaces."""


@dataclass(frozen=True)
class Change:
    """How a dashboard in Grafana differs from its file: a unified diff, empty when it does not."""

    uid: str
    title: str
    lines: tuple[str, ...]
    is_new: bool

    @property
    def differs(self) -> bool:
        return bool(self.lines)

    def __str__(self) -> str:
        state = "new" if self.is_new else "changed" if self.differs else "unchanged"
        return f"{self.title}: {state}"


def load_dashboards() -> list[dict[str, Any]]:
    """The dashboards beside this file, by file name. Raises InputError for one that is not one."""
    folder = resources.files("infra.grafana") / "dashboards"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".json")), key=lambda file: file.name)
    return [_checked(file.name, file.read_text(encoding="utf-8")) for file in files]


def diff(grafana: Grafana, dashboards: list[dict[str, Any]]) -> list[Change]:
    """How Grafana differs from the files. Changes nothing."""
    grafana.health()
    return [_compare(grafana.get_dashboard(dashboard["uid"]), dashboard) for dashboard in dashboards]


def push(grafana: Grafana, dashboards: list[dict[str, Any]]) -> Iterator[Change]:
    """Saves each dashboard that differs, and reads it back; yields what was done. What is the same is not saved again.

    What people changed in Grafana is replaced, but stays in the dashboard's history there. Raises GrafanaConflictError when
    somebody saves it between the reading and the saving, or when Grafana kept something else.
    """
    grafana.health()
    grafana.ensure_folder(FOLDER_UID, FOLDER_TITLE)
    for dashboard in dashboards:
        held = grafana.get_dashboard(dashboard["uid"])
        change = _compare(held, dashboard)
        if change.differs:
            own = {name: held["dashboard"].get(name) for name in _OWN} if held else {"id": None}
            grafana.put_dashboard({**dashboard, **own}, FOLDER_UID, f"semrec {__version__}")
            _check_kept(grafana, dashboard)
        yield change


def _check_kept(grafana: Grafana, dashboard: dict[str, Any]) -> None:
    kept = _compare(grafana.get_dashboard(dashboard["uid"]), dashboard)
    if kept.differs:
        raise GrafanaConflictError(
            f"dashboard {dashboard['uid']} was saved, and Grafana holds another ({len(kept.lines)} lines of difference)",
            expected="what was sent",
            remedy="Look at it with `python -m infra.grafana diff`: a newer Grafana may have migrated it.",
        )


def _compare(held: dict[str, Any] | None, dashboard: dict[str, Any]) -> Change:
    before = _lines(held["dashboard"], held.get("meta", {}).get("folderUid")) if held else []
    after = _lines(dashboard, FOLDER_UID)
    uid = dashboard["uid"]
    found = difflib.unified_diff(before, after, f"grafana/{uid}", f"files/{uid}", n=2, lineterm="")
    return Change(uid, dashboard["title"], tuple(found), held is None)


def _lines(dashboard: dict[str, Any], folder_uid: str | None) -> list[str]:
    """Folder and dashboard in one canonical form, without what Grafana numbers itself."""
    own = {name: value for name, value in dashboard.items() if name not in _OWN}
    return json.dumps({"folder": folder_uid, **own}, indent=1, sort_keys=True, ensure_ascii=False).splitlines()


def _checked(name: str, text: str) -> dict[str, Any]:
    try:
        dashboard: dict[str, Any] = json.loads(text)
        uid, title = dashboard["uid"], dashboard["title"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{name} is no dashboard ({type(error).__name__})",
            expected="JSON with uid and title",
            remedy="Export it again.",
        ) from None
    if not uid or len(uid) > 40 or not title:  # Grafana's limit
        raise InputError(f"{name} has uid {uid!r}", expected="1 to 40 characters and a title", remedy="Shorten it.")
    return dashboard
