"""Load for HTTP servers: as fast as they go through wrk, or at a fixed rate from a process of its own.

python -m semrec.bench.load < job.json      # the process that `steady` starts
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from semrec.errors import MissingArtefactError

__all__ = ["Load", "Request", "saturate", "steady"]

_CONNECTIONS: Final = 32
_LATE_S: Final = 30.0
_RETRY_S: Final = 15.0  # how long a request is tried again on new connections

# wrk runs `request` for every request and `done` once; latencies are in microseconds.
_LUA: Final = """
local requests, n = {}, 0
for line in io.lines("%(requests)s") do
  local method, path, accept, body = line:match("^(%%S+)\\t(%%S+)\\t(%%S+)\\t(.*)$")
  local headers = {["Content-Type"] = "application/json", ["Accept"] = accept}
  requests[#requests + 1] = wrk.format(method, path, headers, body ~= "" and body or nil)
end
request = function() n = n %% #requests + 1; return requests[n] end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('\\n{"requests": %%d, "seconds": %%f, "p50_ms": %%f, "p95_ms": %%f, "p99_ms": %%f, "errors": %%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
    latency:percentile(99) / 1e3, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True)
class Request:
    """One request; `body` is JSON without line breaks or empty. `accept` is the media type of the answer."""

    path: str
    method: str = "GET"
    body: str = ""
    accept: str = "*/*"


@dataclass(frozen=True)
class Load:
    """What a server did under load. At a fixed rate latencies count from when a request was due, so queues show."""

    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int  # answers other than 2xx, and requests that nobody took
    retried: int = 0  # at a steady rate: requests sent again because the connection broke or the answer was 503


def saturate(url: str, requests: Sequence[Request], *, concurrency: int = _CONNECTIONS, seconds: float = 10.0) -> Load:
    """Sends `requests` over and over with wrk, `concurrency` at a time. Raises MissingArtefactError without wrk."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise MissingArtefactError("no wrk on PATH", expected="the load generator wrk", remedy="apt-get install wrk")
    with tempfile.TemporaryDirectory() as folder:
        listed, script = Path(folder, "requests.tsv"), Path(folder, "load.lua")
        listed.write_text("".join(f"{r.method}\t{r.path}\t{r.accept}\t{r.body}\n" for r in requests))
        script.write_text(_LUA % {"requests": listed})
        command = [wrk, "-t1", f"-c{concurrency}", f"-d{seconds:.0f}s", "--timeout", "10s", "-s", str(script), url]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(printed.strip().splitlines()[-1])
    rate = found["requests"] / found["seconds"]
    return Load(rate, found["p50_ms"], found["p95_ms"], found["p99_ms"], found["errors"])


def steady(
    host: str,
    port: int,
    requests: Sequence[Request],
    *,
    rate: float,
    concurrency: int = _CONNECTIONS,
    seconds: float = 10.0,
) -> Load:
    """Sends `rate` requests a second from another process, whatever the server answers."""
    job = {
        "host": host, "port": port, "requests": [asdict(r) for r in requests], "rate": rate, "concurrency": concurrency,
        "seconds": seconds,
    }  # fmt: skip
    command = [sys.executable, "-m", "semrec.bench.load"]
    done = subprocess.run(command, input=json.dumps(job), check=True, capture_output=True, text=True)
    return Load(**json.loads(done.stdout))


async def _run(host: str, port: int, requests: list[bytes], rate: float, concurrency: int, seconds: float) -> Load:
    """Connection c sends requests c, c + concurrency, ... each when it is due or when the one before is answered."""
    total, took_s, errors, retried = round(rate * seconds), [], 0, 0
    began_s = time.perf_counter() + 0.2

    async def connection(first: int) -> None:
        nonlocal errors, retried
        line = _Line(host, port)
        for number in range(first, total, concurrency):
            due_s = began_s + number / rate
            await asyncio.sleep(due_s - time.perf_counter())
            status, tries = await line.ask(requests[number % len(requests)])
            errors += not 200 <= status < 300
            retried += tries - 1
            took_s.append(time.perf_counter() - due_s)
        line.close()

    tasks = [asyncio.create_task(connection(first)) for first in range(min(concurrency, total))]
    done, late = await asyncio.wait(tasks, timeout=seconds + _LATE_S)
    for task in late:
        task.cancel()
    errors += len(late) + sum(task.exception() is not None for task in done)
    ended_s = time.perf_counter() - began_s
    p50, p95, p99 = np.percentile(np.array(took_s or [np.inf]) * 1e3, [50, 95, 99])
    return Load(len(took_s) / ended_s, float(p50), float(p95), float(p99), errors, retried)


class _Line:
    """A connection that is made again when it breaks."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, int]:
        """The status of the answer, 0 when none came in time, and how often the request was sent.

        As clients do, it tries again where the connection breaks or the server says that it cannot for now (503).
        """
        until_s, tries = time.perf_counter() + _RETRY_S, 0
        while True:
            tries += 1
            try:
                if self._ends is None:
                    self._ends = await asyncio.open_connection(self._host, self._port)
                reader, writer = self._ends
                writer.write(request)
                status = await _status(reader)
            except (OSError, EOFError):
                self.close()
                status = 0
            if status not in (0, 503) or time.perf_counter() > until_s:
                return status, tries
            await asyncio.sleep(0.05)

    def close(self) -> None:
        if self._ends is not None:
            self._ends[1].close()
            self._ends = None


async def _status(reader: asyncio.StreamReader) -> int:
    """Reads one answer to its end; its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), None)
    if length is not None:
        await reader.readexactly(length)
    else:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    return int(head.split(b" ", 2)[1])


def _bytes_of(request: dict[str, str], host: str, port: int) -> bytes:
    body = request["body"].encode()
    head = f"{request['method']} {request['path']} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: {request['accept']}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def _main() -> None:
    job = json.load(sys.stdin)
    requests = [_bytes_of(request, job["host"], job["port"]) for request in job["requests"]]
    load = asyncio.run(_run(job["host"], job["port"], requests, job["rate"], job["concurrency"], job["seconds"]))
    json.dump(asdict(load), sys.stdout)


if __name__ == "__main__":
    _main()
