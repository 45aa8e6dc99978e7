"""Pictures that cannot be read are not asked for again at once, and a host that does not answer is not waited for twice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from semrec.encoders.contents import ContentError
from semrec.errors import MissingArtefactError
from semrec.online import posters
from semrec.online.posters import Posters

URIS = ["https://a.test/1.jpg", "https://a.test/2.jpg", "https://b.test/3.jpg"]
SERVED: Any = SimpleNamespace(
    release_id="r",
    items=SimpleNamespace(row_of={uri: row for row, uri in enumerate(URIS)}),
    release=SimpleNamespace(images=SimpleNamespace(of=URIS.__getitem__)),
)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was read, each in vain."""
    uris: list[str] = []

    def fail(uri: str, *, max_bytes: int) -> bytes:
        uris.append(uri)
        raise ContentError("file cannot be read", is_unread=True)

    monkeypatch.setattr(posters, "read_content", fail)
    return uris


def view_all(made: Posters) -> None:
    for uri in URIS:
        with pytest.raises(MissingArtefactError):
            made.poster(SERVED, uri)


def test_what_cannot_be_read_is_tried_again_later(read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(posters, "time", SimpleNamespace(monotonic=lambda: clock[-1]))
    made = Posters()
    view_all(made)
    view_all(made)
    assert read == URIS
    clock.append(161.0)
    view_all(made)
    assert read == URIS * 2


def test_a_host_that_fails_slowly_is_asked_once(read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posters, "_SLOW_S", -1.0)
    view_all(Posters())
    assert read == [URIS[0], URIS[2]]
