"""Starts a Ray for one command, which nobody else can use: on loopback, under a token that only its own processes know."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import psutil
import ray

from cluster.ray_internals import WORKER_NICENESS, has_token, only_loopback, read_authentication_again
from semrec.errors import NoWorkersError

__all__ = ["local_ray", "start_ray"]

T = TypeVar("T")

_MODE: Final = "RAY_AUTH_MODE"
_TOKEN: Final = "RAY_AUTH_TOKEN"
_TRIES: Final = 4
_END_S: Final = 10.0


@contextlib.contextmanager
def local_ray(**options: Any) -> Iterator[None]:
    """Starts a Ray on this machine with `options` of ray.init, and ends it after the block.

    Ray runs whatever code it is sent, so without a token whoever reaches a port of it can do what this user can. The token
    is random and stands in the environment of Ray's processes alone; Ray itself would write one to ~/.ray, readable to
    all, where it turns tokens on for every later `ray start`. A RAY_AUTH_MODE of the user's stays as it is.

    Its workers have the priority of this process. Ray gives them niceness 15, with which they all but stand still beside
    anything else that wants the processors.
    """
    niceness = {WORKER_NICENESS: os.environ.get(WORKER_NICENESS, "0")}
    with only_loopback() as variables, _own_token(), _environment({**variables, **niceness}):
        start_ray(lambda: ray.init(address="local", **options))
        try:
            yield
        finally:
            ray.shutdown()


def start_ray(start: Callable[[], T]) -> T:
    """Returns what `start` returns, which starts Ray's processes on this machine; tries up to 4 times.

    Ray gives its node 30 s and the node's agents 15 s, and neither can be set: on a machine with more to do than processors
    they are often too short, and the next try finds the files in memory. What a failed try left running is ended first.
    Raises NoWorkersError after the last try, and at once what Ray says of its arguments (TypeError, ValueError).
    """
    for num_left in reversed(range(_TRIES)):
        others = set(psutil.Process().children(recursive=True))
        try:
            return start()
        except (TypeError, ValueError):
            raise
        except Exception as error:
            ray.shutdown()
            started = set(psutil.Process().children(recursive=True)) - others
            _end(list(filter(_is_rays, started)))
            if not num_left:
                raise NoWorkersError(
                    f"Ray did not start on this machine in {_TRIES} tries: {error}",
                    expected="a Ray node that registers within 30 s",
                    remedy="Look at the machine's load and free memory, and at the logs in /tmp/ray/session_latest/logs; "
                    "then run again. --in-process needs no Ray.",
                ) from error
    raise AssertionError("the last try returns or raises")


def _is_rays(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(ray.__path__[0] in word for word in process.cmdline())
    return False


def _end(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in psutil.wait_procs(processes, timeout=_END_S)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@contextlib.contextmanager
def _own_token() -> Iterator[None]:
    """Has the Ray that is started in the block take a new token, unless the user chose."""
    mode = os.environ.get(_MODE)
    if mode is not None and (mode.lower() != "token" or has_token()):
        yield
        return
    with _environment({_MODE: "token", _TOKEN: secrets.token_hex(32)}):
        read_authentication_again()
        yield
    read_authentication_again()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Sets variables for the time of the block, and for the processes that are started in it."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
