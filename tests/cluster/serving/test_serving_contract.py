"""The OpenAPI document: complete, with examples that work, and held to by every generated request (schemathesis)."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from cluster.serving import benchmark
from helpers.recorded_requests import read_recorded
from helpers.replica_without_ray import LocalReplica
from helpers.serving_world import make_world

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    allow_header_conformance,
]
OPERATIONS = [
    operation.split()
    for operation in read_recorded("openapi")
    if operation.startswith(("GET", "POST", "PUT", "DELETE")) and operation not in ("GET /v1/map", "GET /v1/map/legend")
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A replica's application behind a real HTTP server on a free port."""
    with (
        LocalReplica(make_world(tmp_path_factory.mktemp("contract") / "w"), max_body_bytes=200_000) as replica,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setattr(benchmark, "_START", "print([])")  # a benchmark of nothing
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(replica.application, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def contract(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_generated_requests_are_answered_as_the_document_says(
    contract: Any, method: str, path: str, mode: GenerationMode
) -> None:
    operation = contract[path][method]
    if (
        mode.is_negative
        and not operation.definition.raw.get("parameters")
        and "requestBody" not in operation.definition.raw
    ):
        return  # nothing of it could be wrong

    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case) -> None:
        response = case.call(timeout=60)
        # Request lines above 64 KiB and bodies above the limit are refused before anybody looks at what they say.
        if response.status_code != 413 and response.content != b"Invalid HTTP request received.":
            case.validate_response(response, checks=CHECKS)

    check()


def test_every_endpoint_is_documented_with_its_errors_and_examples(contract: Any) -> None:
    paths = contract.raw_schema["paths"]
    assert len(OPERATIONS) == 26
    for method, path in OPERATIONS:
        operation = paths[path][method.lower()]
        assert operation["summary"] and "security" in operation
        assert operation["responses"].keys() & {"200", "202"}
        assert {"401", "403", "422", "429", "500", "503"} <= operation["responses"].keys()
        if "requestBody" in operation:
            name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            assert contract.raw_schema["components"]["schemas"][name]["example"]
            assert {"408", "413", "415"} <= operation["responses"].keys()
        if path.endswith(("/recommendations", "/similar")) and "{" in path:
            assert {"k", "platform", "genre", "maturity", "year_min", "exclude", "diversity"} <= {
                parameter["name"] for parameter in operation["parameters"]
            }
