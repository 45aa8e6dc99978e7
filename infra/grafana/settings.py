"""Where Grafana is and with which token: from the environment or a file, never from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from semrec.errors import InputError

__all__ = ["GrafanaSettings", "read_settings"]

_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True)
class GrafanaSettings:
    """A server and the token of a service account that may edit dashboards. The token shows in no repr."""

    url: str
    token: str = field(repr=False)
    timeout_s: float = _TIMEOUT_S

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.username or parts.password:  # not quoted: it holds a password
            raise InputError(
                "a Grafana URL with a user or password in it", expected="a URL alone", remedy="Use a token."
            )
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
            or _bad_port(parts)
        ):
            raise InputError(
                f"Grafana URL {self.url!r}",
                expected="http(s)://host[:port][/prefix]",
                remedy="Set GRAFANA_URL to what you open in the browser, without the dashboard.",
            )
        if not self.token or not self.token.isascii() or not self.token.isprintable() or " " in self.token:
            raise InputError(
                "a Grafana token that is empty or has blanks or control characters",
                expected="one token",
                remedy="Write the token alone into the file or variable.",
            )
        if not self.timeout_s > 0:
            raise InputError(f"timeout {self.timeout_s} s", expected="more than 0", remedy="20 s is the default.")


def read_settings(
    environment: Mapping[str, str], *, url: str | None = None, timeout_s: float | None = None
) -> GrafanaSettings:
    """GRAFANA_URL (or `url`), and GRAFANA_TOKEN_FILE or GRAFANA_TOKEN. Raises InputError when either is missing."""
    found = url or environment.get("GRAFANA_URL")
    if not found:
        raise InputError("no Grafana URL", expected="GRAFANA_URL or --url", remedy="Name the server.")
    return GrafanaSettings(found, _token(environment), _TIMEOUT_S if timeout_s is None else timeout_s)


def _bad_port(parts: SplitResult) -> bool:
    try:
        return parts.port == 0
    except ValueError:
        return True


def _token(environment: Mapping[str, str]) -> str:
    path, token = environment.get("GRAFANA_TOKEN_FILE"), environment.get("GRAFANA_TOKEN")
    if bool(path) == bool(token):
        raise InputError(
            "two Grafana tokens" if path else "no Grafana token",
            expected="one of GRAFANA_TOKEN_FILE and GRAFANA_TOKEN",
            remedy="Make a service account with the role Editor, and put its token into a file.",
        )
    if token:
        return token.strip()
    try:
        return Path(str(path)).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputError(
            f"token file {path}: {reason}", expected="a readable file", remedy="Check GRAFANA_TOKEN_FILE."
        ) from None
