"""Which errors of object stores are tried again, and for how long."""

from __future__ import annotations

import errno
import pickle

import pytest

from semrec.errors import MissingArtefactError, StoreUnavailableError, WorkspaceWriteError
from semrec.workspace import retries
from semrec.workspace.retries import backoff_s, is_store_fault, retried
from semrec.workspace.storage import Storage

botocore = pytest.importorskip("botocore.exceptions", reason="NOT TESTED: no botocore; install the extra `s3`")
aiohttp = pytest.importorskip("aiohttp", reason="NOT TESTED: no aiohttp; install the extra `s3`")


def client_error(code: str, status: int) -> Exception:
    answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.ClientError(answer, "PutObject")


def raised_from(cause: Exception) -> OSError:
    error = OSError(errno.EIO, "as s3fs wraps it")
    error.__cause__ = cause
    return error


class HttpError(Exception):
    code = 503


FAULTS = [
    botocore.EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
    botocore.ReadTimeoutError(endpoint_url="http://127.0.0.1:1"),
    botocore.ConnectionClosedError(endpoint_url="http://127.0.0.1:1"),
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientPayloadError(),
    client_error("SlowDown", 503),
    client_error("InternalError", 500),
    raised_from(client_error("ServiceUnavailable", 503)),
    HttpError(),
    TimeoutError(),
    ConnectionResetError(),
    OSError(errno.EREMOTEIO, "as s3fs says InternalError"),
]
OTHERS = [
    FileNotFoundError("file"),
    FileExistsError("file"),
    PermissionError("denied"),
    botocore.NoCredentialsError(),
    client_error("AccessDenied", 403),
    raised_from(client_error("PreconditionFailed", 412)),
    OSError(errno.ENOSPC, "full"),
    KeyError("a mistake of ours"),
]


@pytest.mark.parametrize("error", FAULTS, ids=repr)
def test_what_a_store_may_recover_from_is_a_fault(error: Exception) -> None:
    assert is_store_fault(error)


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_what_stays_as_it_is_is_none(error: Exception) -> None:
    assert not is_store_fault(error)


def test_pauses_double_up_to_half_a_minute_and_are_half_random() -> None:
    for attempt, longest in enumerate([1, 2, 4, 8, 16, 30, 30]):
        pauses = {backoff_s(attempt) for _ in range(50)}
        assert longest / 2 <= min(pauses) < max(pauses) <= longest


class Flaky:
    """A call that fails a number of times."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error, self.times, self.calls = error, times, 0

    def __call__(self, *arguments: object, **keywords: object) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return "done"


def test_a_fault_is_tried_again_and_anything_else_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "backoff_s", lambda attempt: 0.001)
    assert retried(Flaky(TimeoutError(), 5), is_store_fault, within_s=60) == "done"
    call = Flaky(PermissionError(), 1)
    with pytest.raises(PermissionError):
        retried(call, is_store_fault, within_s=60)
    assert call.calls == 1


def test_the_last_error_is_raised_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "backoff_s", lambda attempt: 0.01)
    call = Flaky(TimeoutError("still not"), 10**9)
    with pytest.raises(TimeoutError, match="still not"):
        retried(call, is_store_fault, within_s=0.1)
    assert call.calls > 1


@pytest.mark.parametrize(
    ("method", "arguments", "call"),
    [
        (Storage.exists, ("f",), "info"),
        (Storage.list_sizes, ("f",), "ls"),
        (Storage.list_folders, ("f",), "ls"),
        (Storage.read_bytes, ("f",), "cat_file"),
        (Storage.write_bytes, ("f", b""), "pipe_file"),
        (Storage.create_exclusive, ("f", b""), "pipe_file"),
        (Storage.copy, ("f", "g"), "cp_file"),
        (Storage.delete, ("f",), "rm_file"),
    ],
)
def test_every_method_of_a_storage_says_that_its_store_is_unavailable(  # type: ignore[no-untyped-def]
    monkeypatch: pytest.MonkeyPatch, method, arguments, call
) -> None:
    monkeypatch.setattr("semrec.workspace.storage._RETRY_WITHIN_S", 0.05)
    monkeypatch.setattr(retries, "backoff_s", lambda attempt: 0.01)
    storage = Storage("memory://unavailable")
    down = Flaky(client_error("ServiceUnavailable", 503), 10**9)
    monkeypatch.setattr(storage, "_fs", type("Store", (), {call: staticmethod(down)}))
    with pytest.raises(StoreUnavailableError, match="ServiceUnavailable") as caught:
        method(storage, *arguments)
    assert down.calls > 1
    assert caught.value.transient


def test_whether_an_error_is_transient_survives_pickling() -> None:
    kinds = {StoreUnavailableError: True, WorkspaceWriteError: True, MissingArtefactError: False}
    for kind, transient in kinds.items():
        copied = pickle.loads(pickle.dumps(kind("got", expected="expected", remedy="remedy")))
        assert (type(copied), copied.transient) == (kind, transient)
