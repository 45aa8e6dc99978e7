"""Starts the service from one process and stays with it: what `semrec serve` does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from cluster.compute import ComputeOptions, open_compute
from cluster.serving.access.security import check_binding, is_loopback
from cluster.serving.grpc import SERVICER
from cluster.serving.ray_serve import local_haproxy, own_ports, serving_environment
from cluster.serving.settings import ServeArgs
from semrec.errors import InputError, NoWorkersError
from semrec.runs.live import require_live
from semrec.workspace.folder import Workspace

__all__ = ["Listen", "serve_release"]

_APPLICATION: Final = "semrec"
_READY_S: Final = 300.0
_POLL_S: Final = 0.2


@dataclass(frozen=True)
class Listen:
    """Where HTTP is answered, and gRPC if it has a port. With a certificate, HTTPS: Serve's HAProxy has no TLS, so its own
    proxy answers, slower; gRPC has none at all."""

    host: str = "127.0.0.1"
    port: int = 8000
    tls_cert: str | None = None
    tls_key: str | None = None
    grpc_port: int | None = None

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise InputError(
                "one of certificate and key", expected="both or none", remedy="Give --tls-cert and --tls-key."
            )
        if self.tls_cert and self.grpc_port:
            raise InputError(
                "a certificate and a port for gRPC",
                expected="one of them: Serve's gRPC has no TLS",
                remedy="Leave out --grpc-port, or put what ends TLS in front of a service without --tls-cert.",
            )

    @property
    def url(self) -> str:
        """The address for a client on this machine."""
        host = self.host if is_loopback(self.host) else "127.0.0.1"
        return f"{'https' if self.tls_cert else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"


def serve_release(
    args: ServeArgs, listen: Listen, *, address: str | None = None, on_ready: Callable[[dict[str, Any], float], None]
) -> None:
    """Starts the service on a local Ray or the one at `address`, and stays until it is interrupted; then ends what it began.

    `on_ready` hears what /readyz says, and the seconds since the start. Raises InputError for an address or a port that
    needs keys, NoWorkersError when the service is not ready within five minutes.
    """
    started_s = time.monotonic()
    check_binding(args, listen.host, has_grpc=bool(listen.grpc_port))
    require_live(Workspace.open(args.workspace).storage)
    environment = serving_environment(haproxy=listen.tls_cert is None, cores=os.cpu_count() or 1)
    ray = open_compute(ComputeOptions(address=address))
    with contextlib.ExitStack() as stack:
        if not address:
            environment |= own_ports() | stack.enter_context(local_haproxy())
        for name, value in environment.items():
            os.environ.setdefault(name, value)
        # After Ray, which takes SIGTERM for itself when it starts.
        with ray, _interrupted() as stop, _running(args, listen, is_local=not address):
            readiness = _wait_until_ready(listen, stop)
            if readiness is not None:
                on_ready(readiness, time.monotonic() - started_s)
                stop.wait()


@contextlib.contextmanager
def _running(args: ServeArgs, listen: Listen, *, is_local: bool) -> Iterator[None]:
    from ray import serve  # reads the environment that was set above when it is imported

    from cluster.serving.replica import bind_application

    options: dict[str, Any] = {"host": listen.host, "port": listen.port, "request_timeout_s": None}
    if listen.tls_cert:
        options |= {"ssl_certfile": listen.tls_cert, "ssl_keyfile": listen.tls_key}
    grpc = {"port": listen.grpc_port, "grpc_servicer_functions": [SERVICER]} if listen.grpc_port else None
    serve.start(http_options=options, grpc_options=grpc)
    try:
        serve.run(bind_application(args), name=_APPLICATION, route_prefix="/")
        yield
    finally:
        # Not serve.shutdown(): it waits for a task of the controller, which that kills with itself, and Ray prints a failure. A
        # local Ray ends right after this, with all that Serve has in it.
        try:
            serve.delete(_APPLICATION)
        except TimeoutError:
            if not is_local:
                raise


def _wait_until_ready(listen: Listen, stop: threading.Event) -> dict[str, Any] | None:
    """What /readyz says at last; None when interrupted before."""
    deadline = time.monotonic() + _READY_S
    reason = "no answer"
    while time.monotonic() < deadline and not stop.is_set():
        try:
            if listen.tls_cert:
                return {}  # its certificate need not name this machine; the application runs
            with urllib.request.urlopen(f"{listen.url}/readyz", timeout=5) as response:
                body: dict[str, Any] = json.load(response)
                return body
        except (OSError, ValueError) as error:
            reason = _answered(error)
        stop.wait(_POLL_S)
    if stop.is_set():
        return None
    raise NoWorkersError(
        f"the service is not ready ({reason})",
        expected="a loaded release within five minutes",
        remedy="Look at the log of the replicas: /tmp/ray/session_latest/logs/serve.",
    )


def _answered(error: Exception) -> str:
    """What the service answered instead, as far as it did."""
    if isinstance(error, urllib.error.HTTPError):
        with contextlib.suppress(Exception):
            return error.read(500).decode(errors="replace")
    return str(error)


@contextlib.contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set while the block runs."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
