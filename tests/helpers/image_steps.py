"""A Dockerfile as steps that can be read and, moved below another root, run without a container engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Stage", "Step", "copy_into", "exec_form", "read_stages", "run_below"]

_MOVED = ("/build", "/opt")  # the folders that steps write to


@dataclass(frozen=True)
class Step:
    """One instruction: its name in capitals, and what follows it on the (joined) line."""

    name: str
    value: str


@dataclass(frozen=True)
class Stage:
    """What stands between two FROM lines."""

    name: str
    base: str
    steps: tuple[Step, ...]

    def values(self, name: str) -> list[str]:
        """What follows each instruction of that name, in order."""
        return [step.value for step in self.steps if step.name == name]


def read_stages(dockerfile: Path) -> dict[str, Stage]:
    """The stages by name; arguments before the first FROM stand under ""."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    stages = {"": Stage("", "", ())}
    current = ""
    for line in filter(None, map(str.strip, lines)):
        name, _, value = line.partition(" ")
        if name == "FROM":
            base, _, current = value.partition(" AS ")
            stages[current] = Stage(current, base, ())
        else:
            stage = stages[current]
            stages[current] = Stage(stage.name, stage.base, (*stage.steps, Step(name, value)))
    return stages


def copy_into(step: Step, source: Path, root: Path) -> None:
    """Does a COPY of plain files and folders, from `source` to below `root`; the last word is the destination."""
    words = [word for word in step.value.split() if not word.startswith("--")]
    target = root / words[-1].lstrip("/")
    for word in words[:-1]:
        found = source / word.lstrip("/")
        if not found.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, target)
        else:
            shutil.copytree(found, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)


def run_below(command: str, root: Path, folder: Path, environment: Mapping[str, str]) -> str:
    """Runs a RUN step as Docker's shell does, with /build and /opt below `root`; raises with its output when it fails."""
    moved = re.sub(rf"(?<![\w./-])({'|'.join(_MOVED)})(?=/|\s|$)", rf"{root}\1", command)
    done = subprocess.run(
        ["/bin/sh", "-c", moved], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{moved}\nended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def exec_form(value: str) -> list[str]:
    """The words of a CMD, ENTRYPOINT or HEALTHCHECK in its JSON form."""
    words = json.loads(value[value.index("[") :])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError(f"not a list of words: {value}")
    return words
