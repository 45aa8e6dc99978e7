"""Exports the public Python API: exact recommendations for every user. This package computes, and never imports ray.

    import semrec

    lists = semrec.top_k(queries_QD, items_ID, k=10, exclude=seen_rows)      # plain numpy arrays
    semrec.open_workspace("workspace").release().recommend("user-1", k=10)   # what `semrec run` made

Importing it is cheap: a name is loaded, with numpy, torch or pyarrow where it needs them, when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semrec.api import OpenRelease, OpenWorkspace, RecommendedItem, open_workspace
    from semrec.errors import SemrecError
    from semrec.scoring.index import Eligibility, Index, top_k
    from semrec.scoring.types import TopK

__all__ = [
    "Eligibility",
    "Index",
    "OpenRelease",
    "OpenWorkspace",
    "RecommendedItem",
    "SemrecError",
    "TopK",
    "__version__",
    "open_workspace",
    "top_k",
]

__version__ = "0.1.0"

_MODULE_OF = {
    "Eligibility": "semrec.scoring.index",
    "Index": "semrec.scoring.index",
    "OpenRelease": "semrec.api",
    "OpenWorkspace": "semrec.api",
    "RecommendedItem": "semrec.api",
    "SemrecError": "semrec.errors",
    "TopK": "semrec.scoring.types",
    "open_workspace": "semrec.api",
    "top_k": "semrec.scoring.index",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'semrec' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULE_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
