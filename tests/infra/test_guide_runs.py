"""infra/README.md from an empty account to the first recommendations and back, block by block, on every cloud.

The shell, jq, openssl, kustomize and semrec are real; Terraform, Kubernetes and the clouds are stand-ins that
refuse what lacks a variable, a file, a Secret or an earlier step.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = ROOT / "tests/helpers/guide_commands.py"
TEXT = (ROOT / "infra/README.md").read_text()
IMAGE = "registry.example/semrec@sha256:" + "a1" * 32
#: What the reader brings: the receivers' credentials and the data.
BROUGHT = ("recommendations-routing-key", "platform-routing-key", "slack-url", "incoming/items.parquet")
IDENTITIES = {
    "aws": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/semrec-test-workload"},
    "gcp": {"iam.gke.io/gcp-service-account": "semrec-test@films-test.iam.gserviceaccount.com"},
    "azure": {"azure.workload.identity/client-id": "00000000-0000-0000-0000-000000000001"},
}
DATA = {"aws": "s3://films-data", "gcp": "gs://films-data", "azure": "abfs://data@films.dfs.core.windows.net"}

COMMANDS = {
    "aws": (
        "aws ecr get-login-password | docker login --username AWS --password-stdin registry.example",
        "aws secretsmanager get-secret-value --query SecretString",
        "aws s3 cp --recursive incoming s3://films-data/incoming",
    ),
    "gcp": (
        "gcloud auth configure-docker --quiet registry.example",
        "gcloud secrets versions access latest",
        "gcloud storage cp --recursive incoming gs://films-data/",
    ),
    "azure": ("az acr login", "az keyvault secret show", "az storage blob upload-batch --source incoming"),
}


def blocks(title: str) -> list[str]:
    """The shell of a chapter."""
    chapter = TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", chapter, re.DOTALL)


def outputs(cloud: str) -> dict[str, Any]:
    """A value for each of Terraform's outputs."""
    names = re.findall(r'^output "(\w+)"', (ROOT / "terraform/live/outputs.tf").read_text(), re.M)
    return {
        **dict.fromkeys(names, "any"),
        "kubeconfig_command": "aws eks update-kubeconfig"
        if cloud == "aws"
        else "gcloud container clusters get-credentials",
        "tunnel_command": "",
        "registry": "registry.example/semrec",
        "data_uri": DATA[cloud],
        "redis_address": "rediss://redis.example:6379",
        "redis_ca": "PEM" if cloud == "gcp" else "",
        "service_account_annotations": IDENTITIES[cloud],
        "serving_account_annotations": IDENTITIES[cloud],
        "gpu_machine": {"type": "any", "accelerator": "L4", "count": 4, "max_nodes": 2},
        "addons": {"cloud": cloud, "kubernetes_minor": "1.36"},
        "commands": dict(zip(("docker_login", "redis_password", "upload"), COMMANDS[cloud], strict=True)),
    }


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of the repository as the guide touches, with what the reader brings, and the stand-ins in bin/."""
    for folder in ("infra", "terraform"):
        ignored = shutil.ignore_patterns(
            "modules", ".terraform*", "*.tfstate*", "*.tfvars", "backend.tf", "__pycache__"
        )
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    for name in BROUGHT:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("brought")
    (tmp_path / "bin").mkdir()
    for name in (
        "terraform",
        "kubectl",
        "docker",
        "aws",
        "gcloud",
        "az",
        "kubelogin",
        "curl",
        "cosign",
        "kind",
        "helm",
    ):
        program = tmp_path / "bin" / name
        program.write_text(f"#!{sys.executable} -IS\n{STAND_IN.read_text()}")
        program.chmod(0o755)
    return tmp_path


def run(checkout: Path, cloud: str, text: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    kubectl = shutil.which("kubectl")
    if kubectl is None or shutil.which("jq") is None:
        pytest.skip("NOT TESTED: no kubectl or no jq here, so the guide was not run")
    state = checkout / "state.json"
    state.write_text(json.dumps({"namespaces": [], "made": {}, "ray": [], "jobs": [], "asked": []}))
    (checkout / "outputs.json").write_text(json.dumps(outputs(cloud)))
    environment = {
        **os.environ,
        "PATH": f"{checkout / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "GUIDE_STATE": str(state),
        "GUIDE_OUTPUTS": str(checkout / "outputs.json"),
        "GUIDE_KUBECTL": kubectl,
        "GUIDE_IMAGE": IMAGE,
    }
    environment["SIGNING_KEY"] = "key"
    environment.pop("KUBE_CONFIG_PATH", None)
    script = "set -euo pipefail\n" + text.replace("export CLOUD=aws ", f"export CLOUD={cloud} ")
    done = subprocess.run(
        ["bash", "-c", script], cwd=checkout, env=environment, capture_output=True, text=True, timeout=300
    )
    return done, json.loads(state.read_text())


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_every_step_works_in_its_place_and_what_removes_it_all(checkout: Path, cloud: str) -> None:
    done, state = run(
        checkout, cloud, "\n".join(blocks("From nothing to recommendations") + blocks("Removing everything"))
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert state["uploaded"]
    assert state["jobs"] == ["import-items", "import-users", "import-interactions", "run"]
    assert state["asked"] == ["status", "query", "/v1/users/42/recommendations"]
    settings = (checkout / f"infra/kuberay/clouds/{cloud}/settings.yaml").read_text()
    assert f"image: {IMAGE}\n" in settings and 'gpuWorkers: "8"\n' in settings and "kubectl: v1.36.0\n" in settings
    assert state["ray"] == [] and "addons" not in state


def test_a_release_is_built_on_a_pinned_base_and_signed_with_its_bill_of_materials(checkout: Path) -> None:
    before = [f"out() {{ terraform -chdir=terraform/live/aws output -raw $1; }}\n{COMMANDS['aws'][0]}\n"]
    done, state = run(checkout, "aws", "\n".join(before + blocks("The image")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert state["signed"] == ["sign", "attest"]


def test_kind_gets_its_cluster_and_the_demo(checkout: Path) -> None:
    done, state = run(checkout, "aws", "\n".join(blocks("On your own machine: kind")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert state["jobs"] == ["demo"] and state["loaded"] == "localhost/semrec:0.1.0-cpu"


def test_every_chapter_with_commands_is_run() -> None:
    chapters = re.findall(r"^## (.+)$", TEXT, re.M)
    with_commands = {title for title in chapters if blocks(title)}
    assert with_commands == {
        *("From nothing to recommendations", "The image", "On your own machine: kind", "Removing everything")
    }


def test_the_three_commands_of_terraform_work_beside_what_has_to_exist(checkout: Path) -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", (ROOT / "terraform/README.md").read_text(), re.DOTALL)
    start = "\n".join(blocks("From nothing to recommendations"))
    steps = start[: start.index("terraform -chdir=terraform/live")]  # the state's place and the two files
    secrets = "\n".join(re.findall(r"^kubectl.* monitoring.*\n(?:  .*\n)*", start, re.M))
    done, state = run(
        checkout, "aws", f"{steps}\n{secrets}\ncp terraform/live/aws/backend.tf terraform/addons\ncd terraform\n{block}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "addons" in state


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ('aws s3 mb "s3://$STATE" --region "$REGION"', "no bucket for the state"),
        ("export KUBE_CONFIG_PATH=~/.kube/config", "no KUBE_CONFIG_PATH"),
        ("kubectl create namespace monitoring", "no namespace monitoring"),
        ("cloud docker_login", "denied"),
    ],
)
def test_a_step_that_is_left_out_is_missed(checkout: Path, missing: str, reason: str) -> None:
    text = "\n".join(blocks("From nothing to recommendations"))
    assert text.count(missing) == 1
    done, _ = run(checkout, "aws", text.replace(missing, ""))
    assert done.returncode != 0 and reason in done.stderr
