"""Checkov's rules hold, except those of terraform/.checkov.yaml, each with its reason; no exception outlives its cause."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.offline_terraform import REPO, cache_folder

VERSION = "3.3.30"
SETTINGS = REPO / "terraform" / ".checkov.yaml"


@pytest.fixture(scope="module")
def checkov() -> Path:
    """Checkov in an environment of its own: it pins dozens of packages that would fight with ours."""
    folder = cache_folder() / f"checkov-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"
    binary = folder / "bin" / "checkov"
    if not (folder / "complete").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, timeout=120)
        install = [folder / "bin" / "pip", "install", "-q", "--disable-pip-version-check", f"checkov=={VERSION}"]
        done = subprocess.run(install, capture_output=True, text=True, timeout=400)
        if done.returncode:
            pytest.skip(f"NOT TESTED: checkov {VERSION} cannot be installed: {done.stderr[-500:]}")
        (folder / "complete").touch()
    return binary


def exceptions() -> dict[str, str]:
    """Rule to reason, as the committed file states them."""
    return dict(re.findall(r"^  - (CKV\w+)(?: # (.*))?$", SETTINGS.read_text(), re.M))


def test_every_exception_has_a_reason() -> None:
    assert {rule for rule, reason in exceptions().items() if len(reason) < 30} == set()


def test_nothing_else_is_found(checkov: Path, tmp_path: Path) -> None:
    # On a copy without the exceptions, which checkov would find by itself: so the ones that have become idle show.
    ignored = shutil.ignore_patterns(SETTINGS.name, ".terraform*")
    shutil.copytree(SETTINGS.parent, tmp_path / "terraform", ignore=ignored)
    done = subprocess.run(
        [
            checkov,
            "-d",
            "terraform",
            "--framework",
            "terraform",
            "--compact",
            "--quiet",
            "--skip-download",
            "-o",
            "json",
        ],
        cwd=tmp_path,
        env={**os.environ, "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 300
    found: dict[str, set[str]] = {}
    for check in report["results"]["failed_checks"]:
        found.setdefault(check["check_id"], set()).add(check["resource"])
    assert {rule: resources for rule, resources in found.items() if rule not in exceptions()} == {}
    assert exceptions().keys() - found.keys() == set(), "these exceptions are no longer needed"
