"""What the preflight asks for, and what it found."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Finding", "Wanted", "answer_of", "asked", "once"]


@dataclass(frozen=True)
class Wanted:
    """What is to be rented. `machine` is the cloud's name for a node with `accelerator_count` of the accelerator."""

    cloud: str
    account: str
    region: str
    accelerator: str
    accelerator_count: int
    machine: str
    gpu_nodes: int
    cpu_vcpus: int


@dataclass(frozen=True)
class Finding:
    """One thing that an apply needs: whether it is met, what was seen, and what to do where it is not."""

    name: str
    is_met: bool
    got: str
    remedy: str


def asked(name: str, look: Callable[[], tuple[bool, str]], remedy: str) -> Finding:
    """What `look` found: whether it is met, and what it saw. Whatever keeps it from looking is a finding that is not met."""
    try:
        return Finding(name, *look(), remedy)
    except Exception as error:  # a cloud refuses in many ways, and none may pass for a yes
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        reason = " ".join(str(said).split())[-300:] or type(error).__name__
        return Finding(
            name, False, f"could not be asked: {reason}", f"Sign in, or ask for the right to read this. {remedy}"
        )


def answer_of(command: list[str]) -> Any:
    """What a program prints, as JSON. Raises CalledProcessError with its complaint, OSError where it is absent."""
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)


def once(command: list[str]) -> Callable[[], Any]:
    """A function that runs the command when it is first called, and gives the same answer or error again."""
    answers: list[Any] = []

    def answer() -> Any:
        if not answers:
            answers.append(answer_of(command))
        return answers[0]

    return answer
