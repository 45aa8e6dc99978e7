"""Redis over TLS with a certificate of a private authority, as Memorystore has it: Ray's client wants to be told of it.

The client is that of the head's GCS and of KubeRay's clean-up job, asked here for what the job does.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.local_processes import accepts, free_port, wait_until
from helpers.rendered import clusters, render

PASSWORD = "sesame"
CLEAN_UP = """
import sys
from ray._private.gcs_utils import cleanup_redis_storage
sys.exit(not cleanup_redis_storage("localhost", int(sys.argv[1]), sys.argv[2], True, "nobody"))
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the authority's certificate ca.pem, and redis.pem and redis.key signed by it for localhost."""
    folder = tmp_path_factory.mktemp("authority")
    key = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
    for arguments in (
        ("req", "-x509", *key, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem"),
        ("req", *key[:3], "-subj", "/CN=localhost", "-keyout", "redis.key", "-out", "redis.csr"),
        ("x509", "-req", "-in", "redis.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", "2", "-out", "redis.pem"),
    ):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def port(authority: Path) -> Iterator[int]:
    """The TLS port of a Redis that holds nothing."""
    program = shutil.which("redis-server")
    if not program:
        pytest.skip("NOT TESTED: no redis-server on PATH (Debian: apt-get install redis-server)")
    tls_port = free_port()
    options = {
        "port": "0",
        "tls-port": str(tls_port),
        "bind": "127.0.0.1",
        "requirepass": PASSWORD,
        "save": "",
        "tls-cert-file": "redis.pem",
        "tls-key-file": "redis.key",
        "tls-ca-cert-file": "ca.pem",
        "tls-auth-clients": "no",
    }
    command = [program, *(word for name, value in options.items() for word in (f"--{name}", value))]
    process = subprocess.Popen(command, cwd=authority, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(f"127.0.0.1:{tls_port}"), 30)
        yield tls_port
    finally:
        process.terminate()
        process.wait(30)


def clean_up(port: int, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", CLEAN_UP, str(port), PASSWORD]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300)


def test_ray_reaches_a_redis_of_a_private_authority_by_the_heads_variable(authority: Path, port: int) -> None:
    head = clusters(render("gcp"))["RayCluster/semrec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
    (variable,) = [entry["name"] for entry in head["env"] if "REDIS" in entry["name"]]
    answer = clean_up(port, **{variable: str(authority / "ca.pem")})
    assert answer.returncode == 0, answer.stderr


def test_ray_refuses_it_otherwise(port: int) -> None:
    answer = clean_up(port)
    assert answer.returncode != 0
    assert "redis" in answer.stderr.lower() and "Check failed" in answer.stderr
