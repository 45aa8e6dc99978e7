"""Starts a Ray for one command, which nobody else can use: on loopback, under a token that only its own processes know."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from typing import Any, Final

import ray

from cluster.ray_internals import WORKER_NICENESS, has_token, only_loopback, read_authentication_again

__all__ = ["local_ray"]

_MODE: Final = "RAY_AUTH_MODE"
_TOKEN: Final = "RAY_AUTH_TOKEN"


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
        ray.init(address="local", **options)
        try:
            yield
        finally:
            ray.shutdown()


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
