"""The cluster files for `ray up`: Ray's own preparation and schema, and the same pools and limits as the manifests."""

from __future__ import annotations

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

from helpers.rendered import clusters, render

ROOT = Path(__file__).resolve().parents[2]
CLOUDS = ("aws", "gcp", "azure")


def _config(cloud: str) -> dict[str, Any]:
    config = yaml.safe_load((ROOT / f"cluster/launch/{cloud}.yaml").read_text())
    assert isinstance(config, dict)
    return config


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_takes_the_file(cloud: str) -> None:
    validate_config(prepare_config(_config(cloud)))


def test_ray_refuses_a_misspelt_field() -> None:
    config = {**_config("aws"), "max_worker": 3}
    with pytest.raises(Exception, match="max_worker"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_pools_are_those_of_the_manifests(cloud: str) -> None:
    groups = clusters(render("aws"))["RayCluster/semrec"]["workerGroupSpecs"]
    limits = {group["groupName"]: (group["minReplicas"], group["maxReplicas"]) for group in groups}
    types = _config(cloud)["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert {name: (one["min_workers"], one["max_workers"]) for name, one in types.items()} == {**limits, "head": (0, 0)}
    assert _config(cloud)["max_workers"] == sum(maximum for _, maximum in limits.values())
    assert types["gpu"]["resources"]["GPU"] == 1


@pytest.mark.parametrize("cloud", CLOUDS)
def test_only_gpus_are_spot(cloud: str) -> None:
    spot = re.compile("spot", re.IGNORECASE)
    types = _config(cloud)["available_node_types"]
    assert [name for name, one in types.items() if spot.search(str(one["node_config"]))] == ["gpu"]


def test_no_machine_is_open_to_the_world() -> None:
    for cloud in CLOUDS:
        assert _config(cloud)["provider"]["use_internal_ips"] is True
    for one in _config("aws")["available_node_types"].values():
        assert one["node_config"]["SecurityGroupIds"]  # Ray's own group takes SSH from 0.0.0.0/0
        assert one["node_config"]["SubnetIds"]
        assert one["node_config"]["ImageId"].startswith("ami-")  # Ray's own is of 2018
        assert one["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in one["node_config"]["BlockDeviceMappings"])
    for one in _config("gcp")["available_node_types"].values():
        assert all("accessConfigs" not in face for face in one["node_config"]["networkInterfaces"])


@pytest.mark.parametrize(("cloud", "field"), [("aws", "IamInstanceProfile"), ("gcp", "serviceAccounts")])
def test_what_runs_on_workers_has_not_the_heads_identity(cloud: str, field: str) -> None:
    types = _config(cloud)["available_node_types"]
    identities = {name: str(one["node_config"][field]) for name, one in types.items()}
    assert identities["cpu"] == identities["gpu"] != identities["head"]


def test_on_azure_ray_has_one_identity_for_all_machines() -> None:
    """When this fails, Ray can tell them apart, and azure.yaml should."""
    source = Path(ray.__file__).with_name("autoscaler") / "_private/_azure/node_provider.py"
    assert 'template_params["msi"] = self.provider_config["msi"]' in source.read_text()


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("role", ["head", "worker"])
def test_ray_starts_with_a_token_and_options_that_exist(cloud: str, role: str) -> None:
    command = _config(cloud)[f"{role}_start_ray_commands"][-1]
    assert "RAY_AUTH_MODE=token" in command
    assert 'RAY_AUTH_TOKEN="$(cat $HOME/.ray/auth_token)"' in command
    words = command.split("ray start ", 1)[1].split()
    options = start.make_context("start", copy.copy(words)).params
    assert options["head"] is (role == "head")
    assert options["metrics_export_port"] == 8080
    if role == "head":
        assert (options["num_cpus"], options["dashboard_host"]) == (0, "127.0.0.1")


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_command_is_shell(cloud: str) -> None:
    config = _config(cloud)
    for command in [line for name, lines in config.items() if name.endswith("_commands") for line in lines]:
        done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), command


def test_the_clouds_are_set_up_alike() -> None:
    """All but the machines, the store's extra and what rents machines."""
    shared = []
    for cloud, extra in zip(CLOUDS, ("s3", "gcs", "azure"), strict=True):
        config = _config(cloud)
        del config["provider"], config["head_setup_commands"]
        for one in config["available_node_types"].values():
            one["resources"], one["node_config"] = dict(one["resources"]), None
        shared.append(yaml.safe_dump(config).replace(f"[{extra},demo]", "[STORE,demo]"))
    assert shared[0] == shared[1] == shared[2]
    assert "[STORE,demo]" in shared[0]
