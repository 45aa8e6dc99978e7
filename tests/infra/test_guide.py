"""infra/README.md: what it tells people to type exists, and fits the manifests."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from helpers.rendered import CLOUDS, by_kind, one, render

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "infra/README.md").read_text()
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL))


def test_every_block_is_shell() -> None:
    done = subprocess.run(["bash", "-n"], input=SHELL, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_settings_that_it_writes_are_the_settings() -> None:
    document = re.search(r"settings\.yaml <<EOF\n(.*?)\nEOF", SHELL, re.DOTALL)
    assert document
    written = {line.split(":")[0].strip() for line in document[1].split("data:\n")[1].splitlines()}
    assert written == set(one(render("aws"), "ConfigMap", "semrec-settings")["data"])


def test_its_secrets_are_those_that_the_pods_ask_for() -> None:
    made = dict(re.findall(r"-n semrec create secret generic (\S+) --from-\w+=([\w.]+)", SHELL))
    text = json.dumps(render("aws"))
    asked = set(re.findall(r'"secretName": "([^"]+)"', text))
    asked |= {re.sub(r'.*"name": "', "", found) for found in re.findall(r'"secretKeyRef": \{[^}]*"name": "[^"]+', text)}
    assert set(made) == asked
    assert made["semrec-ray-token"] == "auth_token"  # the key that KubeRay reads
    local = {secret["metadata"]["name"]: secret["stringData"] for secret in by_kind(render("kind"), "Secret")}
    assert all(made[name] in values for name, values in local.items())


def test_the_addons_get_what_they_expect_to_find() -> None:
    """The Secrets that charts are told to read, and the variables without which Terraform's providers find no cluster."""
    addons = ROOT / "terraform/addons"
    if not addons.exists():
        pytest.skip("NOT TESTED: no Terraform here to compare the guide with")
    text = "\n".join(path.read_text() for path in addons.glob("*.tf"))
    before = SHELL[: SHELL.index("terraform -chdir=terraform/addons apply")]
    secrets = set(re.findall(r'existingSecret\s*= "([^"]+)"', text))
    secrets |= set(re.findall(r'secrets\s*= \["([^"]+)"\]', text))
    assert len(secrets) == 2 and all(f"monitoring create secret generic {name} " in before for name in secrets)
    variables = set(re.findall(r"read (KUBE_\w+)", text))
    assert variables and all(f"export {name}=" in before for name in variables)


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_the_states_of_cluster_and_addons_are_two(cloud: str) -> None:
    example = ROOT / f"terraform/live/{cloud}/backend.tf.example"
    if not example.exists():
        pytest.skip("NOT TESTED: no Terraform here to compare the guide with")
    (expression,) = re.findall(r"^sed '(.*?)' terraform/live/\$CLOUD/backend.tf", SHELL, re.MULTILINE)
    changed = subprocess.run(["sed", expression, example], capture_output=True, text=True, check=True).stdout
    differing = [
        (ours, theirs)
        for ours, theirs in zip(example.read_text().splitlines(), changed.splitlines(), strict=True)
        if ours != theirs
    ]
    ((ours, theirs),) = differing
    assert "semrec/prod/cluster" in ours and "semrec/prod/addons" in theirs


def test_the_jobs_that_it_starts_exist() -> None:
    started = set(re.findall(r"(?:^|&& )job ([a-z-]+)|semrec\.io/job=([a-z-]+)", SHELL, re.MULTILINE))
    started = {name for pair in started for name in pair if name}
    assert {"run", "demo", "import-items"} <= started
    for cloud in CLOUDS:
        assert started <= {job["metadata"]["labels"]["semrec.io/job"] for job in render(f"{cloud}/jobs")}


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\b(?:infra|cluster|terraform)/[\w./$-]+", TEXT))))
def test_a_file_that_it_names_is_there(path: str) -> None:
    if path.startswith("terraform/") and not (ROOT / "terraform").exists():
        pytest.skip("NOT TESTED: no Terraform here to compare the guide with")
    made_by_the_reader = path.endswith(("backend.tf", "terraform.tfvars", "terraform.tfvars.json"))
    for cloud in ("aws", "gcp", "azure"):
        named = ROOT / path.rstrip(".").replace("$CLOUD", cloud)
        assert (named.parent if made_by_the_reader else named).exists()


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_the_outputs_that_it_reads_exist(cloud: str) -> None:
    outputs = ROOT / f"terraform/live/{cloud}/outputs.tf"
    if not outputs.exists():
        pytest.skip("NOT TESTED: no Terraform here to compare the guide with")
    asked = set(re.findall(r"\b(?:out|outputs) (\w+)(?:\)| \||`| >)", TEXT))
    assert len(asked) >= 8
    text = outputs.read_text()
    assert [name for name in asked if f'output "{name}"' not in text] == []


def test_the_sums_of_the_prices_are_right() -> None:
    rows = {
        cells[1].strip("* "): cells[2:5]
        for cells in (line.split("|") for line in TEXT.splitlines() if line[:1] == "|")
        if len(cells) > 4
    }
    parts = [name for name in rows if name.startswith(("Kubernetes", "two CPU", "NAT", "way to", "Redis"))]
    assert len(parts) == 5
    for column in range(3):
        total = sum(_dollars(rows[name][column]) for name in parts)
        assert _dollars(rows["idle, all workers at zero"][column]) == pytest.approx(total, abs=0.011)
        gpu, run = (_dollars(rows[name][column]) for name in ("each GPU at work", "a run on 8 GPUs, beside idle"))
        assert run == pytest.approx(8 * gpu, rel=0.01)


def _dollars(cell: str) -> float:
    """The price in a cell: `2 x m7i.2xlarge 0.403`, `+ 0.98 (g6.2xlarge, L4)`, `**1.10**`."""
    times = re.search(r"(\d) x ", cell)
    price = re.search(r"(?<![\w.])\d+\.\d+(?![\w.])", cell.replace("*", " "))
    assert price, cell
    return float(price[0]) * (int(times[1]) if times else 1)
