"""Distributes test modules over worker processes, so that a process that crashes fails one test and loses no other result.

pytest-xdist's own `--dist loadfile` hands the crashed test out again until its limit of restarts ends the whole run, and
hands work to a replacement that has not collected yet, which ends it at once, and lets a replacement that is alone wait for
ever with a single test (pytest-xdist 3.8).
"""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

__all__ = ["ModuleScheduling", "num_workers"]

# Two even on one core: modules that start clusters and browsers mostly wait. More would start more clusters at once than
# a small machine has memory for; `-n 4` asks for four.
_NUM_WORKERS = 2


class ModuleScheduling(LoadFileScheduling):
    """Gives each module to one worker. After a crash the module's other tests run in the worker that replaces it."""

    def remove_node(self, node: WorkerController) -> str | None:
        """Takes a worker out; returns the test that it crashed in, which is not handed out again."""
        modules = self.assigned_work.pop(node)
        crashed = next((test for tests in modules.values() for test, is_done in tests.items() if not is_done), None)
        for name, tests in modules.items():
            if crashed in tests:
                tests[crashed] = True
            if not all(tests.values()):
                self.workqueue[name] = tests
                self.workqueue.move_to_end(name, last=False)
        for other in self.assigned_work:
            self._reschedule(other)
        return crashed

    def _reschedule(self, node: WorkerController) -> None:
        if node not in self.registered_collections:  # a replacement gets work once it has collected
            return
        super()._reschedule(node)
        # A worker runs a test once it knows the next: alone, with one test of a crashed module, it would wait for ever.
        while self.workqueue and not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
            self._assign_work_unit(node)


def num_workers(config: pytest.Config) -> int:
    """Worker processes for `-n auto`: none for a single module, which has nobody to protect and starts faster alone."""
    paths = [argument.split("::")[0] for argument in config.args]
    is_one_module = len(set(paths)) == 1 and paths[0].endswith(".py")
    return 0 if is_one_module else _NUM_WORKERS
