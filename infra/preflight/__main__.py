"""Ask an account, before anything is made, for what the first apply needs: tools, quotas, APIs, features, roles. Reads only.

python -m infra.preflight aws --account 111122223333 --region us-east-1
python -m infra.preflight gcp --account films-prod --region us-central1 --accelerator L4 --gpu-nodes 2
python -m infra.preflight azure --account 00000000-0000-0000-0000-000000000000 --region westeurope

Run it in the root of the checkout, signed in as whoever will apply. What could not be asked is a fault too. Exit codes: 0
nothing is missing, 1 something is, 2 wrong usage.
"""

from __future__ import annotations

import datetime
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from infra.preflight.aws import aws_findings
from infra.preflight.azure import azure_findings
from infra.preflight.findings import Finding, Wanted, answer_of, asked
from infra.preflight.gcp import gcp_findings
from semrec.errors import InputError, SemrecError

__all__ = ["findings", "main", "read_wanted"]

_TERRAFORM: Final = Path("terraform")
_TOOLS: Final = {
    "aws": ("aws", "session-manager-plugin"), "gcp": ("gcloud", "gke-gcloud-auth-plugin"), "azure": ("az", "kubelogin"),
}  # fmt: skip
#: Tool -> the oldest version that will do, how it tells its own, and where in the answer that stands.
_VERSIONS: Final = {
    "terraform": ((1, 11), ["terraform", "version", "-json"], ("terraform_version",)),
    "kubectl": ((1, 35), ["kubectl", "version", "--client", "-o", "json"], ("clientVersion", "gitVersion")),
}


def read_wanted(
    cloud: str, account: str, region: str, *, accelerator: str, accelerator_count: int, gpu_nodes: int, cpu_vcpus: int
) -> Wanted:
    """What is to be rented, with the machine that `terraform/modules/<cloud>` takes for the accelerator.

    Raises InputError outside the checkout, and for an accelerator that the cloud does not have.
    """
    vocabulary = _TERRAFORM / "modules" / cloud / "cluster" / "vocabulary.tf"
    if not vocabulary.is_file():
        raise InputError(
            f"no {vocabulary}", expected="the root of the checkout, and aws, gcp or azure", remedy="Go there."
        )
    machines = dict(re.findall(r'^    (\w+)\s*= "([\w.-]+)"', vocabulary.read_text("utf-8"), re.M))
    machine = machines.get(f"{accelerator}x{accelerator_count}")
    if machine is None:
        known = ", ".join(name for name in machines if re.match(r"[A-Z]\d+x\d$", name))
        raise InputError(
            f"{accelerator}x{accelerator_count}", expected=f"one of {known}", remedy="Choose one of these."
        )
    return Wanted(cloud, account, region, accelerator, accelerator_count, machine, gpu_nodes, cpu_vcpus)


def findings(wanted: Wanted) -> Iterator[Finding]:
    """Everything that was looked at, in the order in which an apply would stumble over it."""
    yield from _tools(wanted.cloud)
    yield _kubernetes()
    yield from {"aws": aws_findings, "gcp": gcp_findings, "azure": azure_findings}[wanted.cloud](wanted)


def _tools(cloud: str) -> Iterator[Finding]:
    for tool in ("terraform", "kubectl", "docker", "jq", "openssl", *_TOOLS[cloud]):
        is_there = shutil.which(tool) is not None
        yield Finding(f"tool {tool}", is_there, "on PATH" if is_there else "absent", f"Install {tool}.")
    for tool, (oldest, command, keys) in _VERSIONS.items():

        def look(
            oldest: tuple[int, int] = oldest, command: list[str] = command, keys: tuple[str, ...] = keys
        ) -> tuple[bool, str]:
            answer: Any = answer_of(command)
            for key in keys:
                answer = answer[key]
            major, minor = answer.removeprefix("v").split(".")[:2]
            return (int(major), int(minor)) >= oldest, answer

        if shutil.which(tool) is not None:
            yield asked(f"version of {tool}", look, f"Install {tool} {oldest[0]}.{oldest[1]} or newer.")


def _kubernetes() -> Finding:
    """Whether the clouds still support the version that would be made."""
    variables = (_TERRAFORM / "modules/variables.tf").read_text("utf-8")
    (minor,) = re.findall(r'variable "kubernetes_version" \{.*?default     = "([^"]+)"', variables, re.S)
    table = (_TERRAFORM / "kubernetes_versions.yaml").read_text("utf-8")
    (ends,) = re.findall(rf'^"{re.escape(minor)}": {{ends: ([\d-]+)', table, re.M)
    is_supported = datetime.date.fromisoformat(ends) > datetime.datetime.now(datetime.UTC).date()
    return Finding("Kubernetes", is_supported, f"{minor}, supported until {ends}", "Set a newer kubernetes_version.")


def main(
    cloud: Annotated[str, typer.Argument(help="aws, gcp or azure.")],
    account: Annotated[str, typer.Option(help="As in terraform.tfvars: account, project or subscription.")],
    region: Annotated[str, typer.Option(help="As in terraform.tfvars.")],
    accelerator: Annotated[str, typer.Option(help="L4, A100 or H100.")] = "L4",
    accelerator_count: Annotated[int, typer.Option(min=1, help="In each node.")] = 1,
    gpu_nodes: Annotated[int, typer.Option(min=1, help="gpu_pool.max")] = 8,
    cpu_vcpus: Annotated[int, typer.Option(min=1, help="Of all CPU nodes at once: cpu_pool.max x vcpus.")] = 160,
) -> None:
    """Say what is missing for the first apply, with what to do about each; change nothing."""
    try:
        wanted = read_wanted(
            cloud, account, region,
            accelerator=accelerator, accelerator_count=accelerator_count, gpu_nodes=gpu_nodes, cpu_vcpus=cpu_vcpus,
        )  # fmt: skip
    except SemrecError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    num_missing = 0
    for finding in findings(wanted):
        typer.echo(f"{'ok     ' if finding.is_met else 'MISSING'} {finding.name}: {finding.got}")
        if not finding.is_met:
            num_missing += 1
            typer.echo(f"        {finding.remedy}")
    raise typer.Exit(int(num_missing > 0))


if __name__ == "__main__":
    typer.run(main)
