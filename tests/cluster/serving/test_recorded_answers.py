"""The API as its users know it: the OpenAPI document and the answer to each recorded request are what they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.recorded_requests import read_recorded, record_answers, record_document, replica_for_recording
from helpers.replica_without_ray import LocalReplica


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalReplica]:
    with replica_for_recording(tmp_path_factory.mktemp("recorded")) as started:
        yield started


def test_the_openapi_document_is_what_it_was(replica: LocalReplica) -> None:
    document, recorded = record_document(replica), read_recorded("openapi")
    assert document.keys() == recorded.keys()
    for name, entry in document.items():
        assert entry == recorded[name], name


def test_every_recorded_request_is_answered_as_it_was(replica: LocalReplica) -> None:
    answers, recorded = record_answers(replica), read_recorded("answers")
    assert list(answers) == list(recorded)
    for request, answer in answers.items():
        assert answer == recorded[request], request
