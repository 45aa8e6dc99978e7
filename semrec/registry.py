"""Looks up a class by the name that settings and manifests have for it, and imports it then: some load torch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from semrec.errors import InputError

__all__ = ["Registry", "import_class"]

Registry = Mapping[str, tuple[str, str]]
"""Name -> module and class."""


def import_class(registry: Registry, name: str, what: str) -> Any:
    """Imports the class that `registry` has under a name. Raises InputError, which calls it `what`, when there is none."""
    if name not in registry:
        raise InputError(f"{what} {name!r}", expected=" or ".join(sorted(registry)), remedy="Choose one of these.")
    module, class_name = registry[name]
    return getattr(import_module(module), class_name)
