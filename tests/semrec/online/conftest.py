"""The small world that the tests of answers share, one for each module, which may not change it; and stores to write to."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.serving_world import World, make_world
from semrec.online.release import OnlineRelease
from semrec.workspace.storage import Storage


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def served(world: World) -> OnlineRelease:
    return world.serve()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A server with one bucket, known to this process and its children from the environment alone."""
    pytest.importorskip("moto.server", reason="NO S3: install the extra `test`")
    s3fs = pytest.importorskip("s3fs", reason="NO S3: install the extra `s3`")
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().makedirs("segments", exist_ok=True)  # moto has one memory per process, whatever its servers
        yield "s3://segments"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(params=["local", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return Storage(str(tmp_path))
    if request.param == "memory":
        return Storage(f"memory://{uuid.uuid4().hex}")
    return Storage(f"{request.getfixturevalue('s3')}/{uuid.uuid4().hex}")
