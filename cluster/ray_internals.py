"""Holds every use of what Ray's core does not promise to keep: a new Ray is tried against this file first (pinned: 2.60).

`serving/ray_serve.py` is the same for Ray Serve.

| what | why there is no public way | who needs it |
|---|---|---|
| `ray_constants.ENABLE_RAY_CLUSTER` | Ray replaces a loopback address by the machine's and listens on all | `local_ray` |
| `Config.initialize`, `AuthenticationTokenLoader` | Ray reads its mode and token once, at import | `local_ray` |
| `RAY_worker_niceness` | an environment variable that is in no document | `local_ray` |
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

__all__ = ["WORKER_NICENESS", "has_token", "only_loopback", "read_authentication_again"]

#: Environment variable: the niceness of the workers of a Ray that is started with it.
WORKER_NICENESS: Final = "RAY_worker_niceness"


def has_token() -> bool:
    """Returns whether Ray finds an authentication token where it looks for one."""
    return bool(AuthenticationTokenLoader.instance().has_token())


def read_authentication_again() -> None:
    """Has Ray read its mode and token once more; it keeps what it read when it was imported and first used."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def only_loopback() -> Iterator[dict[str, str]]:
    """Has the Ray that is started in the block listen on 127.0.0.1, as it does by itself on systems where it has one node.

    Yields the environment variables that its processes need for it; none, and nothing changes, where the user chose.
    """
    name, before = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    if name in os.environ:
        yield {}
        return
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield {name: "0"}
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before
