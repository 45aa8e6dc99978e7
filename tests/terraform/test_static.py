"""What can be seen without a provider: format, size, what is not committed, and the workflow that suspends GKE."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers.offline_terraform import CLOUDS, REPO

TERRAFORM = REPO / "terraform"
WORKFLOW = TERRAFORM / "modules" / "gcp" / "cluster" / "power.workflow.yaml"


def test_format(terraform_binary: str) -> None:
    for folder in (TERRAFORM, Path(__file__).parent):
        done = subprocess.run(
            [terraform_binary, "fmt", "-check", "-recursive", "-diff", folder], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_files_are_small() -> None:
    lines = {
        path: len(path.read_text().splitlines()) for path in TERRAFORM.rglob("*.tf") if ".terraform" not in path.parts
    }
    assert lines and max(lines.values()) <= 400, max(lines, key=lambda path: lines[path])


def test_no_lock_state_or_values_are_committed() -> None:
    tracked = subprocess.run(["git", "ls-files", "terraform"], cwd=REPO, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("NOT TESTED: not a git checkout")
    unwanted = (".terraform.lock.hcl", ".tfstate", ".tfvars", ".tfvars.json", "backend.tf")
    assert [name for name in tracked.stdout.split() if name.endswith(unwanted)] == []


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_example_backend_is_encrypted(cloud: str) -> None:
    text = (TERRAFORM / "live" / cloud / "backend.tf.example").read_text()
    wanted = {
        "aws": ("kms_key_id", "encrypt      = true"),
        "gcp": ("kms_encryption_key",),
        "azure": ("use_azuread_auth",),
    }
    assert all(word in text for word in wanted[cloud])


def test_the_kubernetes_version_is_supported_for_two_months_more() -> None:
    variables = (TERRAFORM / "modules" / "variables.tf").read_text()
    default = re.findall(r'variable "kubernetes_version" \{.*?default     = "([^"]+)"', variables, re.S)[0]
    ends = yaml.safe_load((TERRAFORM / "kubernetes_versions.yaml").read_text())[default]["ends"]
    left_days = (ends - datetime.now(UTC).date()).days
    assert left_days > 60, f"{default} leaves standard support in {left_days} days: choose a newer kubernetes_version"


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure", "kind"])
def test_kubectl_in_the_cluster_is_of_the_same_minor(cloud: str) -> None:
    variables = (TERRAFORM / "modules" / "variables.tf").read_text()
    settings = (REPO / f"infra/kuberay/clouds/{cloud}/settings.yaml").read_text()
    (minor,) = re.findall(r"kubectl: v(\d+\.\d+)\.\d+", settings)
    assert f'default     = "{minor}"' in variables


@pytest.mark.parametrize(
    ("cloud", "resource", "ignored"),
    [
        # What the power machine changes by night, and the autoscaler by day: an apply would set it back.
        ("aws", "aws_eks_node_group", "[scaling_config[0].desired_size, scaling_config[0].min_size]"),
        ("gcp", "google_container_node_pool", "[initial_node_count, autoscaling]"),
        ("azure", "azurerm_kubernetes_cluster_node_pool", "[node_count]"),
    ],
)
def test_an_apply_leaves_alone_how_many_nodes_there_are(cloud: str, resource: str, ignored: str) -> None:
    text = (TERRAFORM / "modules" / cloud / "cluster/pools.tf").read_text()
    bodies = re.findall(rf'^resource "{resource}" "\w+" \{{\n(.*?)^\}}', text, re.M | re.S)
    assert bodies
    assert all(f"ignore_changes = {ignored}" in body for body in bodies)


def _steps(steps: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, body) for step in steps for name, body in step.items()]


def test_every_jump_of_the_workflow_lands() -> None:
    # Google's compiler would find a missing step at apply time, and nobody sees a stop that never starts.
    for name, part in yaml.safe_load(WORKFLOW.read_text()).items():
        steps = _steps(part["steps"])
        known = {step for step, _ in steps} | {"end"}
        jumps = [body["next"] for _, body in steps if "next" in body]
        jumps += [choice["next"] for _, body in steps for choice in body.get("switch", []) if "next" in choice]
        assert set(jumps) <= known, name


def test_the_workflow_stops_scaling_before_it_scales_to_zero() -> None:
    main = dict(_steps(yaml.safe_load(WORKFLOW.read_text())["main"]["steps"]))

    def urls(step: str) -> list[str]:
        return [body["args"]["url"].rsplit(":", 1)[1].strip('"}') for _, body in _steps(main[step]["for"]["steps"])]

    assert urls("suspend") == ["setAutoscaling", "setSize"]
    assert urls("resume") == ["setSize", "setAutoscaling"]
