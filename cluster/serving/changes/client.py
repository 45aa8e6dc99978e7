"""How replicas talk to the overlay actor: appends that survive its restarts, and a thread that follows what it says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from cluster.serving.changes.actor import overlay_actor
from semrec.changes.state import OverlayState
from semrec.errors import NoWorkersError, SemrecError
from semrec.workspace.log import Batch, BatchToken

__all__ = ["OverlayClient", "OverlayFollower"]

_log = logging.getLogger(__name__)
_APPEND_S: Final = 30.0
_POLL_S: Final = 10.0
_GRACE_S: Final = 5.0
_AGAIN_S: Final = 0.1
_UNREADABLE_S: Final = 1.0


class OverlayClient:
    """Appends to a workspace's logs, from a coroutine. Made on a process that is connected to Ray; any number may exist."""

    def __init__(self, workspace_uri: str) -> None:
        self._uri, self._actor = workspace_uri, overlay_actor(workspace_uri)

    async def append(self, log: str, rows: Sequence[Any], token: BatchToken | None = None) -> Batch:
        """Makes rows durable and known to every replica; on return they are in the answers.

        `log` is its name in `LogPositions`; the rows are as `checked_item`, `check_events` or `checked_relations` made sure.
        The batch is done once, however often the actor dies meanwhile; `token` makes that hold for a caller that asks
        again. Raises what the workspace raises, InputError for an empty batch and for a token of another change, and
        NoWorkersError when no actor answers for 30 seconds: the batch may then be durable or not, and asking again with the
        same token settles it.
        """
        batch: Batch = await self._ask("append", log, list(rows), token or BatchToken(uuid.uuid4().hex))
        return batch

    async def known(self, log: str, token: BatchToken) -> Batch | None:
        """The batch that is stored under a token in a log, if it is remembered. Raises as `append`."""
        return await self._ask("known", log, token)

    async def describe(self) -> dict[str, Any]:
        """Where the actor lives (pid, node), the last sequence of each log, and how many replicas follow it."""
        description: dict[str, Any] = await self._actor.describe.remote()
        return description

    async def _ask(self, method: str, *arguments: Any) -> Any:
        deadline = time.monotonic() + _APPEND_S
        while True:
            left_s = deadline - time.monotonic()
            try:
                call = getattr(self._actor, method).remote(*arguments)
                return await asyncio.wait_for(asyncio.shield(_result(call)), max(left_s, _AGAIN_S))
            except RayTaskError as error:
                if isinstance(error.cause, SemrecError):
                    raise error.cause from None
                raise
            except (RayActorError, TimeoutError) as error:
                if left_s <= _AGAIN_S:
                    raise NoWorkersError(
                        f"no answer from the overlay actor in {_APPEND_S:.0f} s ({type(error).__name__})",
                        expected="an actor on a living node",
                        remedy="Look at `ray status`; send the batch again with the same token.",
                    ) from error
            await asyncio.sleep(_AGAIN_S)
            # The handle of an actor that ended for good stays dead; this one finds the next.
            self._actor = await asyncio.to_thread(overlay_actor, self._uri)


class OverlayFollower:
    """Keeps an OverlayState up to date, from a thread of its own.

    `on_change` is called in that thread after each change was applied, and the actor's acknowledgement waits for it (0.5 s
    at most): when it returns, answers must be made over the new state. While no actor answers, the segments are read.
    """

    def __init__(self, workspace_uri: str, state: OverlayState, on_change: Callable[[], None]) -> None:
        self._uri, self._state, self._on_change = workspace_uri, state, on_change
        self._name = uuid.uuid4().hex
        self._actor = overlay_actor(workspace_uri)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="overlay-follower", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, and tells the actor not to wait for it."""
        self._stop.set()
        with contextlib.suppress(RayError):
            ray.get(self._actor.leave.remote(self._name), timeout=_GRACE_S)
        self._thread.join(_GRACE_S)

    def _follow(self) -> None:
        is_told = False
        while not self._stop.is_set():
            before = self._state.last_applied
            try:
                self._poll()
                is_told = False
            except Exception as error:  # of Ray, of the store: the answers go on over what is known
                if not is_told:
                    _log.warning("the overlay actor does not answer, its segments are read instead: %s", error)
                is_told = True
                self._catch_up()
            if self._state.last_applied != before:
                self._changed()

    def _poll(self) -> None:
        call = self._actor.poll.remote(self._name, self._state.last_applied, _POLL_S)
        try:
            update = ray.get(call, timeout=_POLL_S + _GRACE_S)
        except (RayActorError, GetTimeoutError):
            self._actor = overlay_actor(self._uri)
            raise
        if update.reread:
            self._state.catch_up()
        else:
            self._state.apply(update)

    def _catch_up(self) -> None:
        self._stop.wait(_AGAIN_S)
        try:
            self._state.catch_up()
        except Exception as error:
            _log.warning("the overlay's segments cannot be read: %s", error)
            self._stop.wait(_UNREADABLE_S)

    def _changed(self) -> None:
        try:
            self._on_change()
        except Exception:
            _log.exception("a change of the overlay could not be taken over")


async def _result(call: Any) -> Any:
    return await call
