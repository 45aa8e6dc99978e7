"""Runs the `semrec` command: `python -m semrec`.

semrec score --workspace W            the installed wheel; works in any folder, and under any `--working-dir`
python -m semrec score --workspace W  the same, by module
python -m jobs.score_users -w W       the checkout, in its root or uploaded with `--working-dir .`
python -P -m jobs.score_users -w W    the installed wheel, in a folder that has a `jobs` package of its own. Under
                                      `ray job submit --working-dir` it takes -I, for Ray puts that folder on PYTHONPATH
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

__all__ = ["import_packages", "main"]


def main() -> None:
    """Runs `jobs.cli` of the installation (or checkout) that this file belongs to."""
    import_packages()
    importlib.import_module("jobs.cli").main()


def import_packages() -> None:
    """Imports `cluster` and `jobs` from beside this package, whatever else is on the path. Ray's workers call it too."""
    # They are common names: a folder of the user's that has one, current or on PYTHONPATH, would win over ours. What is
    # imported stays. By name, because semrec itself depends on neither.
    home = str(Path(__file__).resolve().parents[1])
    sys.path.insert(0, home)
    try:
        for package in ("cluster", "jobs"):
            importlib.import_module(package)
    finally:
        sys.path.remove(home)  # its other packages must not shadow the standard library


if __name__ == "__main__":
    main()
