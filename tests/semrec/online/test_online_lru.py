"""The bounded cache under threads: what one makes all others wait for, and no key waits for another."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from semrec.online.lru import Lru

NUM_THREADS = 6


def test_threads_that_miss_together_make_the_value_once() -> None:
    cache: Lru[str, object] = Lru(10, lambda _: 1)
    calls: list[str] = []
    release, started = threading.Event(), threading.Event()

    def make() -> object:
        calls.append("made")
        started.set()
        assert release.wait(30)
        return object()

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        answers = [pool.submit(cache.get, "part", make) for _ in range(NUM_THREADS)]
        assert started.wait(30)
        assert cache.get("other", lambda: "other") == "other"  # another key does not wait
        release.set()
        values = {id(answer.result(30)) for answer in answers}
    assert (len(calls), len(values), cache.num_bytes) == (1, 1, 2)


def test_an_error_reaches_all_that_wait_and_the_next_call_tries_again() -> None:
    cache: Lru[str, int] = Lru(10, lambda _: 1)
    release, started = threading.Event(), threading.Event()

    def fail() -> int:
        started.set()
        assert release.wait(30)
        raise OSError("unreadable")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get, "part", fail)
        assert started.wait(30)
        second = pool.submit(cache.get, "part", fail)
        release.set()
        for answer in (first, second):
            with pytest.raises(OSError, match="unreadable"):
                answer.result(30)
    assert cache.get("part", lambda: 7) == 7
