"""Storage on Azure's blobs: the real client (adlfs) asks Azurite on the loopback. No real account was ever used."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.local_processes import free_port, wait_until
from semrec.errors import MissingArtefactError
from semrec.workspace.storage import Storage

adlfs = pytest.importorskip("adlfs", reason="NOT TESTED: no adlfs; install the extra `azure`")

ACCOUNT, KEY = "films", base64.b64encode(b"of this test alone").decode()


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    """A container of an Azurite that keeps its blobs in memory, known from the environment alone."""
    azurite = shutil.which("azurite-blob")
    if azurite is None:
        pytest.skip("NOT TESTED: no azurite-blob on PATH, so no Azure blobs; npm install azurite")
    port = free_port()
    options = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    command = [azurite, *options, "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    server = subprocess.Popen(command, env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"})
    endpoint = f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT}"
    connection = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};{endpoint};"
    try:
        wait_until(lambda: _listens(port), 60, every_s=0.1, report=lambda: f"azurite ended with {server.poll()}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
            adlfs.AzureBlobFileSystem.clear_instance_cache()
            adlfs.AzureBlobFileSystem(connection_string=connection).mkdir("data")
            yield "abfs://data"
        adlfs.AzureBlobFileSystem.clear_instance_cache()
    finally:
        server.terminate()
        server.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def storage(container: str) -> Storage:
    return Storage(f"{container}/{uuid.uuid4().hex}")


def test_of_eight_who_create_a_blob_one_wins(storage: Storage) -> None:
    storage.check_exclusive()
    with ThreadPoolExecutor(8) as writers:
        won = list(writers.map(lambda writer: storage.create_exclusive("parts/a", b"%d" % writer), range(8)))
    assert won.count(True) == 1
    assert storage.read_bytes("parts/a") == b"%d" % won.index(True)


def test_what_was_written_is_there_until_it_is_deleted(storage: Storage) -> None:
    storage.write_bytes("parts/a", b"first")
    storage.write_bytes("parts/a", b"second, longer")  # replaced as a whole
    storage.write_json("parts/b.json", {"rows": 3})
    assert storage.read_bytes("parts/a") == b"second, longer"
    assert storage.read_json("parts/b.json") == {"rows": 3}
    sizes = storage.list_sizes("parts")
    assert sizes.keys() == {"a", "b.json"} and sizes["a"] == len(b"second, longer")
    storage.delete("parts/a")
    assert not storage.exists("parts/a")
    with pytest.raises(MissingArtefactError):
        storage.read_bytes("parts/a")
