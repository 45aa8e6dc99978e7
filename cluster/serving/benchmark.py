"""Runs the benchmark of contents in a process beside the service, one in a workspace at a time, and keeps its report there."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from typing import Any, Final

from semrec.errors import EncoderError, MissingArtefactError
from semrec.workspace.folder import Workspace
from semrec.workspace.lease import Lease
from semrec.workspace.storage import Storage

__all__ = ["Benchmark"]

_log = logging.getLogger(__name__)
_FOLDER: Final = "benchmarks"
_REPORT: Final = f"{_FOLDER}/content.json"
_LIMIT_S: Final = 600
_LIBRARIES: Final = ("PIL", "efficientnet_lite_pytorch", "pypdfium2")
#: The least of what runs on this machine: whoever is waited for comes first. Its limit holds also where its replica stops
#: waiting for it.
_START: Final = (
    "import os, signal, sys; os.nice(19); signal.alarm({limit_s}); sys.path[:] = {path!r}; "
    "from semrec.bench.configurations import main; main({num_texts}, {num_files}, {parent})"
)


class Benchmark:
    """The benchmark of a workspace's service. Its state is in the workspace, so that every replica knows it."""

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, num_texts: int, num_files: int) -> dict[str, Any]:
        """Starts it, and returns its state. Raises RunBusyError while it runs, EncoderError without what reads files."""
        missing = [library for library in _LIBRARIES if not importlib.util.find_spec(library)]
        if missing:
            raise EncoderError(
                f"no {' and no '.join(missing)} here, which the benchmark of images and documents needs",
                expected="the extras images and documents",
                remedy="pip install 'semrec[images,documents]' where the service runs.",
            )
        storage = Workspace.open(self._workspace).storage
        with ExitStack() as held:
            held.enter_context(Lease(storage, _FOLDER))
            state = {"status": "running", "started_at_s": time.time(), "report": None, "error": None}
            storage.write_json(_REPORT, state)
            self._process = _started(num_texts, num_files)
            run = threading.Thread(
                target=_keep_report, args=(self._process, storage, state, held.pop_all()), name="benchmark", daemon=True
            )
            run.start()
        return state

    def state(self) -> dict[str, Any]:
        """Its last run: status (running, done or failed), when it began, its report, or what went wrong.

        Raises MissingArtefactError where there was none.
        """
        storage = Workspace.open(self._workspace).storage
        try:
            state = storage.read_json(_REPORT)
        except MissingArtefactError:
            raise MissingArtefactError(
                "no benchmark was run", expected="one", remedy="Start it: POST /v1/benchmark."
            ) from None
        if state["status"] != "running" or Lease(storage, _FOLDER).is_held():
            return state
        if storage.read_json(_REPORT) != state:  # it ended, and gave the lease back, after the first look
            return self.state()
        return {**state, "status": "failed", "error": "the replica that ran it has ended"}

    def close(self) -> None:
        """Ends the one that runs, if this replica has started it."""
        if self._process is not None:
            self._process.kill()


def _started(num_texts: int, num_files: int) -> subprocess.Popen[bytes]:
    program = _START.format(
        path=sys.path, limit_s=_LIMIT_S, num_texts=num_texts, num_files=num_files, parent=os.getpid()
    )
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def _keep_report(process: subprocess.Popen[bytes], storage: Storage, state: dict[str, Any], held: ExitStack) -> None:
    """Waits until the process ends, and writes what came of it to the workspace."""
    with held:
        output, errors = process.communicate()
        outcome = {"status": "failed", "error": "the operator's log says why"}
        if process.returncode == -signal.SIGALRM:
            outcome["error"] = f"it took longer than {_LIMIT_S} s"
        elif process.returncode == 0 and output:
            outcome = {"status": "done", "report": json.loads(output.splitlines()[-1])}
        else:
            _log.error("the benchmark failed: %s", errors.decode(errors="replace")[-2_000:] or process.returncode)
        storage.write_json(_REPORT, {**state, **outcome})
