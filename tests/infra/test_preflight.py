"""The preflight: AWS is asked by boto3 on moto, gcloud and az are stand-ins that know the questions which only read."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from infra.preflight.__main__ import findings, read_wanted
from infra.preflight.aws import aws_findings
from infra.preflight.findings import Finding, Wanted, asked
from semrec.errors import InputError

ROOT = Path(__file__).parents[2]
SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
ACCOUNTS = {"aws": "123456789012", "gcp": "films-test", "azure": SUBSCRIPTION}
REGIONS = {"aws": "us-east-1", "gcp": "us-central1", "azure": "westeurope"}
STAND_IN = """
import json, os, sys
line = " ".join(sys.argv[1:])
for question, answer in json.load(open(os.environ["ANSWERS"])).items():
    if line.startswith(question):
        print(json.dumps(answer))
        sys.exit()
sys.exit("ERROR: (gcloud) PERMISSION_DENIED: " + line)
"""


def wanted(cloud: str, accelerator: str = "L4", gpu_nodes: int = 8) -> Wanted:
    return read_wanted(
        cloud, ACCOUNTS[cloud], REGIONS[cloud],
        accelerator=accelerator, accelerator_count=1, gpu_nodes=gpu_nodes, cpu_vcpus=160,
    )  # fmt: skip


def usage(name: str, limit: int) -> dict[str, Any]:
    return {"name": {"value": name}, "limit": str(limit), "currentValue": "10"}


#: What the command lines of an account answer that lacks nothing.
COMPLETE: dict[str, dict[str, Any]] = {
    "gcp": {
        "services list --enabled --project=films-test": [
            {"config": {"name": f"{api}.googleapis.com"}} for api in ("cloudbilling", "cloudresourcemanager", "serviceusage")
        ],
        "billing projects describe films-test": {"billingEnabled": True, "billingAccountName": "billingAccounts/1"},
        "auth list": [{"account": "ops@example.com"}],
        "projects get-iam-policy films-test": {"bindings": [{"role": "roles/owner", "members": ["user:ops@example.com"]}]},
        "compute regions describe us-central1": {
            "quotas": [
                {"metric": name, "limit": 200.0, "usage": 0.0}
                for name in ("NVIDIA_L4_GPUS", "PREEMPTIBLE_NVIDIA_L4_GPUS", "N2_CPUS")
            ]
        },
        "compute project-info describe": {"quotas": [{"metric": "GPUS_ALL_REGIONS", "limit": 8.0, "usage": 0.0}]},
    },
    "azure": {
        "account show": {"id": SUBSCRIPTION, "name": "films", "user": {"name": "ops@example.com"}},
        "provider show": {"registrationState": "Registered"},
        "feature show --namespace Microsoft.Compute --name EncryptionAtHost": {"properties": {"state": "Registered"}},
        "role assignment list --assignee ops@example.com": [{"roleDefinitionName": "Owner"}],
        "vm list-usage --location westeurope": [
            usage("standardNVADSA10v5Family", 300), usage("lowPriorityCores", 300), usage("standardDSv5Family", 200),
            usage("cores", 600),
        ],
    },
}  # fmt: skip


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, Any]], dict[str, Finding]]:
    """The findings by name, of a cloud whose command line answers as given."""
    for name in ("gcloud", "az", "terraform", "kubectl"):
        program = tmp_path / name
        program.write_text(f"#!{sys.executable} -IS\n{STAND_IN}")
        program.chmod(0o755)
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("ANSWERS", str(tmp_path / "answers.json"))
    tools = {
        "version -json": {"terraform_version": "1.11.4"},
        "version --client": {"clientVersion": {"gitVersion": "v1.35.0"}},
    }

    def answer(cloud: str, answers: dict[str, Any]) -> dict[str, Finding]:
        (tmp_path / "answers.json").write_text(json.dumps({**tools, **answers}))
        return {finding.name: finding for finding in findings(wanted(cloud)) if not finding.name.startswith("tool ")}

    return answer


@pytest.mark.parametrize("cloud", ["gcp", "azure"])
def test_a_complete_account_lacks_nothing(ask: Any, cloud: str) -> None:
    found = ask(cloud, COMPLETE[cloud])
    assert len(found) >= 10
    assert [finding for finding in found.values() if not finding.is_met] == []


@pytest.mark.parametrize(
    ("cloud", "question", "answer", "name", "remedy"),
    [
        ("gcp", "services list", [], "APIs that the first plan reads", "gcloud services enable cloudbilling.googleapis.com"),
        ("gcp", "billing", {"billingEnabled": False, "billingAccountName": ""}, "billing account", "billing projects link"),
        ("gcp", "projects", {"bindings": []}, "role of whoever applies", "owner"),
        ("gcp", "compute project-info", {"quotas": []}, "quota of GPUs of all regions", "8 of GPUS_ALL_REGIONS"),
        ("azure", "account", {"id": "1", "name": "", "user": {"name": "ops@example.com"}}, "subscription", "az account set"),
        ("azure", "feature", {"properties": {"state": "NotRegistered"}}, "feature EncryptionAtHost", "az feature register"),
        ("azure", "role", [{"roleDefinitionName": "Contributor"}], "role of whoever applies", "Owner"),
        ("azure", "vm", [usage("standardNVADSA10v5Family", 297)], "quota of GPU vCPUs on demand", "288 of StandardNVADSA10"),
        ("azure", "version -json", {"terraform_version": "1.9.8"}, "version of terraform", "terraform 1.11"),
        ("azure", "version --client", {"clientVersion": {"gitVersion": "v1.32.4-d"}}, "version of kubectl", "kubectl 1.35"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_its_remedy(
    ask: Any, cloud: str, question: str, answer: Any, name: str, remedy: str
) -> None:
    others = {key: value for key, value in COMPLETE[cloud].items() if not key.startswith(question)}
    found = ask(cloud, {**others, question: answer})
    assert not found[name].is_met and remedy in found[name].remedy
    of_tools = {"version of terraform", "version of kubectl"}
    assert of_tools & {other for other, finding in found.items() if not finding.is_met} <= {name}


def test_what_may_not_be_asked_is_missing(ask: Any) -> None:
    without = {key: value for key, value in COMPLETE["gcp"].items() if not key.startswith("billing")}
    finding = ask("gcp", without)["billing account"]
    assert not finding.is_met and "PERMISSION_DENIED" in finding.got and finding.remedy.startswith("Sign in")


def test_an_account_of_aws_is_asked_by_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    moto = pytest.importorskip("moto", reason="NOT TESTED: no moto; install the extra `test`")
    import boto3
    from moto.servicequotas.models import ServiceQuotasBackend

    quotas = {"L-1216C47A": 160.0, "L-DB2E81BA": 64.0, "L-3819A6DF": 63.0, "L-F678F1CE": 5.0}
    monkeypatch.setattr(
        ServiceQuotasBackend,
        "get_service_quota",
        lambda self, service_code, quota_code: {"QuotaCode": quota_code, "Value": quotas[quota_code]},
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.chdir(ROOT)
    with moto.mock_aws():
        before = {finding.name: finding for finding in aws_findings(wanted("aws"))}
        boto3.client("iam", region_name="us-east-1").create_service_linked_role(AWSServiceName="spot.amazonaws.com")
        after = {finding.name: finding for finding in aws_findings(wanted("aws"))}
    assert before["account"].is_met and before["g6.2xlarge is rented"].is_met
    assert (
        before["quota of GPU vCPUs, on demand"].is_met
        and before["quota of GPU vCPUs, on demand"].got == "64, 64 needed"
    )
    assert not before["quota of GPU vCPUs, spot"].is_met and "L-3819A6DF" in before["quota of GPU vCPUs, spot"].remedy
    assert before["quota of CPU vCPUs, on demand"].is_met and before["quota of VPCs"].is_met
    assert (before["role for spot machines"].is_met, before["role for spot machines"].got) == (False, "none yet")
    assert "create-service-linked-role" in before["role for spot machines"].remedy
    assert after["role for spot machines"].is_met
    assert "could not be asked" in before["rights of whoever applies"].got  # moto simulates no policies


def test_only_reading_verbs_are_used() -> None:
    text = "".join(path.read_text() for path in (ROOT / "infra/preflight").glob("*.py"))
    commands = re.findall(r'\["(?:gcloud|az)", [^\]]*\]', text)
    reading = ("list", "show", "describe", "get-iam-policy", "list-usage")
    assert len(commands) >= 12
    assert [command for command in commands if not any(f'"{verb}"' in command for verb in reading)] == []


def test_a_wrong_call_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match="L4x1"):
        wanted("aws", accelerator="A100")  # which come in eights only
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="root of the checkout"):
        wanted("gcp")


def test_the_command_ends_with_1_where_something_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from infra.preflight import __main__ as command

    app = typer.Typer()
    app.command()(command.main)
    monkeypatch.chdir(ROOT)
    listed = [asked("one", lambda: (True, "there"), ""), asked("two", lambda: (False, "none"), "Ask for two.")]
    for met, code in ((listed[:1], 0), (listed, 1)):
        monkeypatch.setattr(command, "findings", lambda wanted, met=met: iter(met))
        done = CliRunner().invoke(app, ["gcp", "--account", "films-test", "--region", "us-central1"])
        assert done.exit_code == code
    assert "MISSING two: none" in done.output and "Ask for two." in done.output
