"""What can go wrong with a Grafana server. A wrong setting is an InputError."""

from __future__ import annotations

from semrec.errors import SemrecError

__all__ = [
    "GrafanaAuthError",
    "GrafanaConflictError",
    "GrafanaError",
    "GrafanaNotFoundError",
    "GrafanaUnreachableError",
]


class GrafanaError(SemrecError):
    """Grafana refused a request or could not do it."""


class GrafanaAuthError(GrafanaError):
    """The token is unknown, expired, or may not do this."""


class GrafanaNotFoundError(GrafanaError):
    """The URL is not that of a Grafana, or what was asked for is not there."""


class GrafanaConflictError(GrafanaError):
    """Somebody saved the dashboard meanwhile, or its title is taken."""


class GrafanaUnreachableError(GrafanaError):
    """Nobody answers at the URL, or not in time."""
