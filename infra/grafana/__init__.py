"""Grafana dashboards kept as JSON beside this file, and the client that pushes them."""

from infra.grafana.errors import (
    GrafanaAuthError,
    GrafanaConflictError,
    GrafanaError,
    GrafanaNotFoundError,
    GrafanaUnreachableError,
)
from infra.grafana.push import Change, Grafana, diff, push
from infra.grafana.settings import GrafanaSettings, read_settings

__all__ = [
    "Change",
    "Grafana",
    "GrafanaAuthError",
    "GrafanaConflictError",
    "GrafanaError",
    "GrafanaNotFoundError",
    "GrafanaSettings",
    "GrafanaUnreachableError",
    "diff",
    "push",
    "read_settings",
]
