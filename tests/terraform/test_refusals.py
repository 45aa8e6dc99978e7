"""What is refused before any provider is asked: every validation of variables.tf, by its message, on every cloud.

The variables and a cloud's vocabulary are a configuration of their own, so that a plan takes no provider and no second.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from helpers.offline_terraform import CLOUDS, REPO, values

MODULES = REPO / "terraform" / "modules"
Round = tuple[dict[str, Any], list[str]]
#: Each round gives several variables a wrong value, and all must complain: values, and what is said of them. These are judged
#: by the cloud's own vocabulary.
OF_EVERY_CLOUD: list[Round] = [
    (
        {
            "zones": ["somewhere-1a", "somewhere-1b"],
            "private_api": False,
            "allowed_cidrs": ["0.0.0.0/0"],
            "cpu_pool": {"min": 1},
            "network": {"cidr": "172.20.0.0/16"},
            "auto_shutdown": {"cron": "*/5 * * * *"},
            "budget": {"monthly": 0, "emails": ["ops@example.com"]},
            "admins": ["everybody"],
        },
        [
            "every zone must be one of",
            "allowed_cidrs must be /16 or narrower",
            "cpu_pool must keep 2 <= min <= max <= 20",
            "must lie outside network.cidr",
            "a cron must be like",
            "budget.monthly must be a whole amount",
            "admins must be written like",
        ],
    ),
    (  # three of an accelerator that comes in powers of two
        {
            "account": "Films!",
            "gpu_pool": {"accelerator_count": 3, "driver": "mine", "reservation": "r-1"},
            "allowed_cidrs": ["office"],
            "key_rotation_days": 1000,
            "kubernetes_version": "1.36.2",
            "labels": {"Team": "Platform"},
            "name": "recommendations-for-all",
            "environment": "Production",
            "service_account": {"name": "Semrec"},
        },
        [
            "account must be",
            "gpu_pool: this cloud has",
            "gpu_pool.driver must be managed or none",
            "a reservation is not spot",
            "allowed_cidrs must be IPv4 ranges",
            "key_rotation_days must be",
            "kubernetes_version must be a minor version",
            "labels must have",
            "name must be",
            "environment must be",
            "service_account must have",
        ],
    ),
    ({"region": "West Europe"}, ["region must be written like"]),
    ({"gpu_pool": {"spot": False, "min": 1, "flex_start": True}}, ["gpu_pool.flex_start is of GCP"]),
    (
        {"gpu_pool": {"min": 3, "max": 2, "zones": ["nowhere"]}},
        ["gpu_pool.min must be", "gpu_pool.zones must be among"],
    ),
]
#: What is the same on every cloud, and asked on one: the variables are one file.
OF_ANY_CLOUD: list[Round] = [
    (  # nine GPU nodes, and the internet in two halves
        {
            "gpu_pool": {"max": 9},
            "private_api": False,
            "allowed_cidrs": ["0.0.0.0/1", "128.0.0.0/1"],
            "cpu_pool": {"max": 21},
            "network": {"cidr": "8.8.0.0/16"},
            "auto_shutdown": {"timezone": "CET"},
            "budget": {"monthly": 500, "emails": []},
            "secret_names": ["redis-password"],
        },
        [
            "gpu_pool.max must be 1 to 8",
            "allowed_cidrs must be /16 or narrower",
            "cpu_pool must keep",
            "network.cidr must be a private /16",
            "auto_shutdown.timezone must be",
            "budget.emails must be",
            "secret_names must be",
        ],
    ),
    (  # a public API for nobody in particular
        {"private_api": False, "cpu_pool": {"vcpus": 4}, "network": {"service_cidr": "172.20.0.0/28"}},
        ["must name allowed_cidrs", "cpu_pool.vcpus must be", "network.service_cidr must be a private range"],
    ),
    (
        {
            "gpu_pool": {"max": 0},
            "allowed_cidrs": ["10.0.0.0/7"],
            "budget": {"monthly": 500, "thresholds": [50, 50], "emails": ["ops@example.com"]},
        },
        ["gpu_pool.max must be", "private ranges /8 or narrower", "budget.thresholds must be"],
    ),
    ({"gpu_pool": {"max": 1.5}}, ["gpu_pool.max must be 1 to 8 nodes"]),
    ({"environment": "prod"}, ["and stay down"]),
]
OF_ONE_CLOUD: dict[str, list[tuple[dict[str, Any], str]]] = {
    "aws": [
        ({"gpu_pool": {"accelerator": "A100", "accelerator_count": 1}}, "gpu_pool: this cloud has"),
        ({"gpu_pool": {"flex_start": True}}, "gpu_pool.flex_start is of GCP"),
    ],
    "gcp": [({"gpu_pool": {"accelerator": "H100", "accelerator_count": 1}}, "as spot only")],
    "azure": [({"auto_shutdown": {"timezone": "Antarctica/Troll"}}, "auto_shutdown.timezone must be")],
}


def plan(terraform_binary: str, folder: Path, variables: dict[str, Any]) -> str:
    """What a plan of the variables in a folder says, on one line."""
    (folder / "terraform.tfvars.json").write_text(json.dumps(variables))
    command = [terraform_binary, "plan", "-input=false", "-no-color"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    return " ".join((done.stdout + done.stderr).replace("│", " ").split())


@pytest.mark.parametrize("cloud", CLOUDS)
def test_wrong_values_are_refused_and_right_ones_not(terraform_binary: str, tmp_path: Path, cloud: str) -> None:
    for name in ("variables", "vocabulary"):
        (tmp_path / f"{name}.tf").write_bytes((MODULES / cloud / "cluster" / f"{name}.tf").read_bytes())
    right = values(cloud)
    prod = {"environment": "prod", "auto_shutdown": {"resume_cron": "0 7 * * MON-FRI"}}
    assert "No changes." in plan(terraform_binary, tmp_path, right)
    assert "No changes." in plan(terraform_binary, tmp_path, right | prod)
    rounds = [
        *OF_EVERY_CLOUD,
        *(OF_ANY_CLOUD if cloud == "aws" else ()),
        *(
            ({"zones": zones}, ["two to four different zones"])
            for zones in (right["zones"][:1], right["zones"][:1] * 2)
        ),
        *((changed, [message]) for changed, message in OF_ONE_CLOUD[cloud]),
    ]
    for changed, messages in rounds:
        answer = plan(terraform_binary, tmp_path, right | changed)
        assert [message for message in messages if message not in answer] == [], answer
        assert answer.count("Error:") == len(messages), answer


def test_the_addons_refuse_what_no_module_gives(terraform_binary: str, tmp_path: Path) -> None:
    (tmp_path / "variables.tf").write_bytes((REPO / "terraform/addons/variables.tf").read_bytes())
    given = dict.fromkeys(("region", "cluster_name", "disk_key_id", "kubernetes_minor"), "any")
    wrong = {
        "cloud": "kind",
        "gpu_driver": "mine",
        "gpu_node_selector": {},
        "gpu_tolerations": [],
        "gpu_pool_names": [],
    }
    answer = plan(terraform_binary, tmp_path, given | wrong)
    assert [name for name in wrong if f"{name} must" not in answer] == [], answer


def test_every_validation_is_among_them() -> None:
    expected = {message for _, messages in OF_EVERY_CLOUD + OF_ANY_CLOUD for message in messages}
    expected |= {message for cases in OF_ONE_CLOUD.values() for _, message in cases} | {"two to four different zones"}
    messages = re.findall(r'^    error_message = "(.*)"$', (MODULES / "variables.tf").read_text(), re.M)
    assert len(messages) > 30
    assert [message for message in messages if not any(part in message for part in expected)] == []
