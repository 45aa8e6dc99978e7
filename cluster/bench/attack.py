"""Attacks a running service, one attack after the other, while others ask it ordinary queries and time its answers."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import psutil

from cluster.bench.attack_target import PATIENCE_S, Target
from cluster.bench.serving import free_port, serve_command, started_server
from cluster.serving.access.keys import append_key, make_key
from semrec.bench.attacks import Attack
from semrec.errors import NoWorkersError
from semrec.workspace.scratch import ScratchFolder

__all__ = ["MAX_HEALTH_S", "MAX_MEMORY_MB", "AttackRow", "attack_service", "own_service"]

#: What a service under attack has to keep to: the slowest answer to /healthz, and what its replica may grow by.
MAX_HEALTH_S: Final = 0.5
MAX_MEMORY_MB: Final = 512.0
_BODY_BYTES: Final = 8 * 1024**2  # as much as a service takes unless told otherwise
_LONGEST_S: Final = 15.0  # a request's time of 10 s, and some to send it
_QUIET_S: Final = 3.0
_PAUSE_S: Final = 0.02
_HEALTH: Final = "/healthz"
_QUESTION: Final = "/v1/users/nobody-in-particular/recommendations?k=5"


@dataclass(frozen=True)
class AttackRow:
    """The results of one attack. `worst_health_s` and `worst_question_s` are the slowest answers to others meanwhile;
    `memory_mb` is what the replica has grown by since the start, None where its process cannot be seen; `broken`: bounds.
    """

    attack: str
    statuses: tuple[int, ...]
    seconds: float
    worst_health_s: float
    worst_question_s: float
    memory_mb: float | None
    broken: tuple[str, ...] = ()


@contextlib.contextmanager
def own_service(workspace_uri: str) -> Iterator[Target]:
    """Serves a release of the workspace with one replica, keys and gRPC, for the time of the block."""
    with ScratchFolder("benchmark") as folder:
        key, stored = make_key("attacker", ["admin"])
        append_key(str(Path(folder, "keys.jsonl")), stored)
        grpc_port = free_port()
        options = ["--keys-file", str(Path(folder, "keys.jsonl")), "--grpc-port", str(grpc_port)]
        with started_server([*serve_command(workspace_uri), *options], "/readyz") as (url, _):
            yield Target(url, key, grpc=f"127.0.0.1:{grpc_port}")


def attack_service(target: Target, attacks: Sequence[Attack]) -> list[AttackRow]:
    """Returns a row for the quiet before, and one for each attack; those over gRPC where the target has it.

    Raises NoWorkersError for a service that is not ready.
    """
    status, said = target.ask("/readyz")
    if status != 200:
        said_text = said[:200].decode(errors="replace")
        raise NoWorkersError(
            f"{target.url} answers {status} {said_text}", expected="a ready service", remedy="Start it, or wait."
        )
    with _watching(target) as watch:
        time.sleep(_QUIET_S)
        rows = [watch.row("before", (200,), frozenset({200}), _QUIET_S)]
        for attack in attacks:
            if not attack.is_grpc or target.grpc:
                rows.append(_attacked(target, attack, watch))
    return rows


def _attacked(target: Target, attack: Attack, watch: _Watch) -> AttackRow:
    body = attack.body(_BODY_BYTES) if attack.body else None
    began_s = time.perf_counter()
    with ThreadPoolExecutor(attack.at_once) as pool:
        answers = [pool.submit(target.attack, attack, body) for _ in range(attack.at_once)]
        statuses = tuple(sorted({answer.result() for answer in answers}))
    return watch.row(attack.name, statuses, attack.statuses, time.perf_counter() - began_s)


@contextlib.contextmanager
def _watching(target: Target) -> Iterator[_Watch]:
    watch, ended = _Watch(target), threading.Event()
    threads = [threading.Thread(target=watch.keep_asking, args=(path, ended)) for path in (_HEALTH, _QUESTION)]
    for thread in threads:
        thread.start()
    try:
        yield watch
    finally:
        ended.set()
        for thread in threads:
            thread.join()


class _Watch:
    """Measures the answers to ordinary requests during an attack, each path from its own thread, and the replica's memory."""

    def __init__(self, target: Target) -> None:
        self._target, self._replica = target, _replica_process(target)
        self._resident_mb = self._replica.memory_info().rss / 1e6 if self._replica else 0.0
        self._worst_s = {_HEALTH: 0.0, _QUESTION: 0.0}
        self._began_s: dict[str, float] = {}  # when the question was asked that is waited for
        self._wrong: set[str] = set()

    def keep_asking(self, path: str, ended: threading.Event) -> None:
        """Asks until `ended`."""
        while not ended.is_set():
            began_s = self._began_s[path] = time.perf_counter()
            status, _ = self._target.ask(path)
            self._worst_s[path] = max(self._worst_s[path], time.perf_counter() - began_s)
            del self._began_s[path]
            if status != 200:
                self._wrong.add(f"{path.partition('?')[0]} answered {status or 'nothing'}")
            ended.wait(_PAUSE_S)

    def row(self, name: str, statuses: tuple[int, ...], allowed: frozenset[int], seconds: float) -> AttackRow:
        """Returns the measurements since the last row, and resets them."""
        health_s, question_s = self._take_worst(_HEALTH), self._take_worst(_QUESTION)
        grown_mb = self._replica.memory_info().rss / 1e6 - self._resident_mb if self._replica else None
        broken, self._wrong = sorted(self._wrong), set()
        for is_broken, bound in (
            (not allowed.issuperset(statuses), f"answered {', '.join(map(str, statuses))}"),
            (health_s > MAX_HEALTH_S, f"/healthz took more than {MAX_HEALTH_S} s"),
            (seconds > _LONGEST_S, f"took more than {_LONGEST_S:g} s"),
            ((grown_mb or 0.0) > MAX_MEMORY_MB, f"memory grew by more than {MAX_MEMORY_MB:g} MB"),
        ):
            broken += [bound] if is_broken else []
        return AttackRow(name, statuses, seconds, health_s, question_s, grown_mb, tuple(broken))

    def _take_worst(self, path: str) -> float:
        """Returns the slowest answer; one that is waited for counts with its time so far."""
        now_s = time.perf_counter()
        waited_s = now_s - self._began_s.get(path, now_s)
        worst_s, self._worst_s[path] = self._worst_s[path], 0.0
        return min(max(worst_s, waited_s), PATIENCE_S)


def _replica_process(target: Target) -> psutil.Process | None:
    """Returns the process that answers, where the key may see statistics and it is on this machine."""
    status, said = target.ask("/v1/stats")
    if status != 200 or not target.is_here:
        return None
    with contextlib.suppress(psutil.Error, ValueError, KeyError):  # another server may say anything
        return psutil.Process(int(orjson.loads(said)["pid"]))
    return None
