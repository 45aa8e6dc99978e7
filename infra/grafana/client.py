"""The four calls of `infra.grafana.push.Grafana` through the package `grafana-api`.

Of that package (1.0.3) know: its `url_path_prefix` must end in a slash, its timeout is 5 s unless told, it never retries, it
has no call for /api/health, and an answer that is not JSON escapes as requests' own error.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from grafana_api.grafana_api import GrafanaException
from grafana_api.grafana_face import GrafanaFace

from infra.grafana.errors import (
    GrafanaAuthError,
    GrafanaConflictError,
    GrafanaError,
    GrafanaNotFoundError,
    GrafanaUnreachableError,
)
from infra.grafana.settings import GrafanaSettings

__all__ = ["GrafanaClient"]

_TRIES: Final = 3
_PAUSE_S: Final = 0.5  # doubled after every try
_PASSING: Final = (429, 502, 503, 504)  # of a proxy, or of a Grafana that starts
_TOKEN_REMEDY: Final = "Use the token of a service account with the role Editor."


class GrafanaClient:
    """A Grafana server. Reading is tried three times; writing once, because a lost answer may have been a success."""

    def __init__(self, settings: GrafanaSettings) -> None:
        self._url = settings.url.rstrip("/")
        parts = urlsplit(self._url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        prefix = parts.path.strip("/")
        self._face = GrafanaFace(
            auth=settings.token,
            host=host,
            port=parts.port,
            url_path_prefix=f"{prefix}/" if prefix else "",
            protocol=parts.scheme,
            timeout=settings.timeout_s,
        )

    def health(self) -> dict[str, Any]:
        """Grafana's own account of itself. Raises GrafanaNotFoundError when the URL is that of something else."""
        found = self._read(lambda: self._face.api.GET("/health"), "health")
        if not isinstance(found, dict) or "database" not in found:
            raise self._not_grafana("an answer without `database`")
        if found["database"] != "ok":
            raise GrafanaError(
                f"Grafana at {self._url} says that its database is {found['database']!r}",
                expected="'ok'",
                remedy="Mend Grafana first.",
            )
        return found

    def ensure_folder(self, uid: str, title: str) -> None:
        """Makes the folder unless it is there."""
        try:
            self._read(lambda: self._face.folder.get_folder(uid), f"folder {uid}")
        except GrafanaNotFoundError:
            try:
                self._once(lambda: self._face.folder.create_folder(title, uid), f"folder {title!r}")
            except GrafanaConflictError:  # somebody was quicker, or the title is another folder's
                self._read(lambda: self._face.folder.get_folder(uid), f"folder {uid}")

    def get_dashboard(self, uid: str) -> dict[str, Any] | None:
        """What Grafana holds under `uid`: `dashboard` and `meta`. None when there is nothing."""
        try:
            found = self._read(lambda: self._face.dashboard.get_dashboard(uid), f"dashboard {uid}")
        except GrafanaNotFoundError:
            return None
        if not isinstance(found, dict) or not isinstance(found.get("dashboard"), dict):
            raise self._not_grafana("a dashboard without `dashboard`")
        return found

    def put_dashboard(self, dashboard: dict[str, Any], folder_uid: str, message: str) -> None:
        """Saves a dashboard as the successor of `version` in it. Raises GrafanaConflictError when that is not the newest."""
        body = {"dashboard": dashboard, "folderUid": folder_uid, "message": message, "overwrite": False}
        self._once(lambda: self._face.dashboard.update_dashboard(body), f"dashboard {dashboard['uid']}")

    def _read(self, call: Callable[[], Any], what: str) -> Any:
        for attempt in range(_TRIES - 1):
            try:
                return self._once(call, what)
            except GrafanaUnreachableError:
                time.sleep(_PAUSE_S * 2**attempt)
        return self._once(call, what)

    def _once(self, call: Callable[[], Any], what: str) -> Any:
        try:
            return call()
        except GrafanaException as error:
            raise self._refusal(error, what) from None
        except requests.Timeout:
            raise GrafanaUnreachableError(
                f"{self._url} did not answer in time ({what})", expected="an answer", remedy="Try again; see its load."
            ) from None
        except ValueError:  # requests' JSONDecodeError is one; so is its InvalidURL, which settings exclude
            raise self._not_grafana("an answer that is not JSON") from None
        except requests.RequestException as error:
            raise GrafanaUnreachableError(
                f"no connection to {self._url} ({type(error).__name__})",
                expected="a Grafana server",
                remedy="Check GRAFANA_URL, the network policy and the certificate (REQUESTS_CA_BUNDLE).",
            ) from None

    def _refusal(self, error: GrafanaException, what: str) -> GrafanaError:
        status, said = error.status_code, _message(error)
        if status in (401, 403):
            verb = "does not know the token" if status == 401 else "does not let the token do this"
            return GrafanaAuthError(
                f"{self._url} {verb} ({what}: {said})", expected="a valid token", remedy=_TOKEN_REMEDY
            )
        if status == 404:
            return GrafanaNotFoundError(
                f"{self._url} has no {what}",
                expected="a Grafana server",
                remedy="Check GRAFANA_URL and its path prefix.",
            )
        if status in (409, 412):
            return GrafanaConflictError(
                f"{what} conflicts with what Grafana holds ({said})",
                expected="the version that was read just before, and a title that is free in its folder",
                remedy="Look at it with `python -m infra.grafana diff`, then push again.",
            )
        if status in _PASSING:
            return GrafanaUnreachableError(
                f"{self._url} answers {status} ({what})", expected="a Grafana that is up", remedy="Try again later."
            )
        return GrafanaError(
            f"{self._url} answers {status} ({what}: {said})", expected="200", remedy="See Grafana's log."
        )

    def _not_grafana(self, got: str) -> GrafanaNotFoundError:
        return GrafanaNotFoundError(
            f"{got} from {self._url}", expected="Grafana's HTTP API", remedy="Check GRAFANA_URL and its path prefix."
        )


def _message(error: GrafanaException) -> str:
    """What Grafana said, on one short line."""
    response = error.response
    said = response.get("message", "") if isinstance(response, dict) else str(response)
    return " ".join(str(said).split())[:200] or "no reason given"
