"""Reads documents in processes of their own, each file within a limit of time and memory: none takes a worker with it."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import sys
from dataclasses import asdict
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Final

from semrec.encoders.contents import ContentError
from semrec.encoders.document_parts import with_parts, with_thumbnails
from semrec.encoders.document_text import Document, read_document
from semrec.errors import EncoderError

__all__ = ["MAX_DOCUMENT_BYTES", "DocumentReaders", "max_cpu_s_of"]

MAX_DOCUMENT_BYTES: Final = 256 << 20
_MAX_CPU_S: Final = 60.0
_CPU_S_OF_SCAN: Final = 15.0  # of a page that is read as an image; a dense one of A4 takes about 10
_MAX_MEMORY_BYTES: Final = 2 << 30
_START: Final = (
    "import sys; sys.path[:] = {path!r}; from semrec.encoders.document_readers import serve; "
    "serve({limits!r}, {max_scanned_pages!r})"
)


def max_cpu_s_of(max_scanned_pages: int) -> float:
    """The processor seconds that reading one document may take where so many of its pages are read as images."""
    return max(_MAX_CPU_S, _CPU_S_OF_SCAN * max_scanned_pages)


class DocumentReaders:
    """A pool of processes that read documents, started as they are needed. Threads may share it.

    `max_cpu_s` are the processor seconds of one file, which a loaded machine does not use up (`max_cpu_s_of` by default),
    `max_memory_bytes` the address space of a process. The first `max_scanned_pages` pages without text are read as images.
    """

    def __init__(
        self,
        *,
        max_cpu_s: float | None = None,
        max_memory_bytes: int = _MAX_MEMORY_BYTES,
        max_scanned_pages: int = 0,
    ) -> None:
        self._limits = max_cpu_s or max_cpu_s_of(max_scanned_pages), max_memory_bytes
        self._max_scanned_pages = max_scanned_pages
        self._idle: queue.LifoQueue[subprocess.Popen[bytes]] = queue.LifoQueue()

    def read(self, data: bytes, uri: str, *, num_thumbnails: int | None = None) -> Document:
        """Reads one document; the name in `uri` says the kind where its bytes do not.

        With a number of thumbnails, 0 or more, the links and images are listed, too.

        Raises ContentError as `read_document` does, and for a file that takes too long or too much or ends its process;
        EncoderError without the libraries.
        """
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            process = self._started()
        name = uri.partition("#sha256=")[0].partition("?")[0]
        reply = self._asked(process, data, PurePosixPath(name).suffix, num_thumbnails)
        if reply is None:  # the process is gone
            raise ContentError(self._reason(process))
        self._idle.put(process)
        if "missing" in reply:
            raise EncoderError(
                f"documents cannot be read: {reply['missing']}",
                expected="the libraries that read them",
                remedy="pip install 'semrec[documents]'",
            )
        if "reason" in reply:
            raise ContentError(reply["reason"])
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in reply.items()}
        return Document(**fields)

    def close(self) -> None:
        """Ends the processes that are idle. They also end by themselves when this process does."""
        with contextlib.suppress(queue.Empty):
            while True:
                process = self._idle.get_nowait()
                process.kill()
                process.communicate()

    def _started(self) -> subprocess.Popen[bytes]:
        # Without this process's environment: it may hold keys, and a file may take the process over.
        start = _START.format(path=sys.path, limits=self._limits, max_scanned_pages=self._max_scanned_pages)
        command = [sys.executable, "-c", start]
        return subprocess.Popen(
            command, env={}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=-1
        )

    def _asked(
        self, process: subprocess.Popen[bytes], data: bytes, suffix: str, num_thumbnails: int | None
    ) -> dict[str, Any] | None:
        """The answer of a process, None when it ended without one."""
        assert process.stdin is not None and process.stdout is not None  # both are pipes
        try:
            process.stdin.write(json.dumps([len(data), suffix, num_thumbnails]).encode() + b"\n" + data)
            process.stdin.flush()
            line = process.stdout.readline()
            reply: dict[str, Any] = json.loads(line)
        except (OSError, ValueError):  # a broken pipe, or half a line
            return None
        return reply

    def _reason(self, process: subprocess.Popen[bytes]) -> str:
        process.kill()
        process.communicate()
        max_cpu_s, max_memory_bytes = self._limits
        if process.returncode == -signal.SIGPROF:
            return f"takes longer than {max_cpu_s:g} s to read"
        return f"its reader ended: damaged, or more than {max_memory_bytes >> 20} MiB of memory"


def serve(limits: tuple[float, int], max_scanned_pages: int) -> None:
    """Answers requests from standard input until it ends: a line of JSON, [bytes, suffix, thumbnails], and the bytes.

    An answer is a line of JSON: the fields of a Document, or {"reason": ...}. Runs in the process that is limited.
    """
    import resource

    max_cpu_s, max_memory_bytes = limits
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints is no answer
    resource.setrlimit(resource.RLIMIT_AS, (max_memory_bytes, max_memory_bytes))
    while line := requests.readline():
        num_bytes, suffix, num_thumbnails = json.loads(line)
        data = requests.read(num_bytes)
        # Counts the processor's seconds and then ends the process, also within native code.
        signal.setitimer(signal.ITIMER_PROF, max_cpu_s)
        answer = json.dumps(_answer(data, suffix, num_thumbnails, max_scanned_pages)).encode()
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(answer + b"\n")
        answers.flush()


def _answer(data: bytes, suffix: str, num_thumbnails: int | None, max_scanned_pages: int) -> dict[str, Any]:
    try:
        document = read_document(data, suffix, max_scanned_pages=max_scanned_pages)
        if num_thumbnails is not None:
            document = _with_additions(document, data, num_thumbnails)
        return asdict(document)
    except ContentError as error:
        return {"reason": error.reason}
    except ImportError as error:
        return {"missing": str(error)}
    except MemoryError:
        return {"reason": "needs more memory than allowed"}
    except Exception as error:  # of the libraries that read
        return {"reason": f"damaged document: {type(error).__name__}"}


def _with_additions(document: Document, data: bytes, num_thumbnails: int) -> Document:
    """`document` with its links and images, and its thumbnails: what fails takes nothing from the others."""
    for add in (with_parts, partial(with_thumbnails, num_thumbnails=num_thumbnails)):
        try:
            document = add(document, data)
        except ImportError:
            raise
        except Exception:  # of the libraries that read
            continue
    return document
