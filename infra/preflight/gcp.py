"""The preflight of a Google Cloud project, by gcloud: APIs, billing, roles, quotas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from infra.preflight.findings import Finding, Wanted, answer_of, asked, once

__all__ = ["gcp_findings"]

#: The first plan reads the project and its billing account before it enables anything.
_APIS: Final = ("cloudbilling", "cloudresourcemanager", "serviceusage")
_QUOTAS: Final = {"L4": "NVIDIA_L4_GPUS", "A100": "NVIDIA_A100_GPUS", "H100": "NVIDIA_H100_GPUS"}


def gcp_findings(wanted: Wanted) -> Iterator[Finding]:
    """What the project lacks, as `gcloud` answers whoever is signed in."""
    project = wanted.account

    def apis() -> tuple[bool, str]:
        enabled = {
            service["config"]["name"].split(".")[0]
            for service in answer_of(
                ["gcloud", "services", "list", "--enabled", f"--project={project}", "--format=json"]
            )
        }
        missing = [api for api in _APIS if api not in enabled]
        return not missing, f"not enabled: {', '.join(missing)}" if missing else "enabled"

    services = " ".join(f"{api}.googleapis.com" for api in _APIS)
    yield asked("APIs that the first plan reads", apis, f"gcloud services enable {services} --project={project}")

    def billing() -> tuple[bool, str]:
        account = answer_of(["gcloud", "billing", "projects", "describe", project, "--format=json"])
        return account["billingEnabled"], account["billingAccountName"] or "no account"

    yield asked("billing account", billing, f"gcloud billing projects link {project} --billing-account=ACCOUNT")

    def roles() -> tuple[bool, str]:
        (who,) = (
            entry["account"]
            for entry in answer_of(["gcloud", "auth", "list", "--filter=status:ACTIVE", "--format=json"])
        )
        policy = answer_of(["gcloud", "projects", "get-iam-policy", project, "--format=json"])
        mine = {
            binding["role"]
            for binding in policy["bindings"]
            if any(member.partition(":")[2] == who for member in binding["members"])
        }
        return "roles/owner" in mine, f"{who}: {', '.join(sorted(mine)) or 'none of its own, perhaps by a group'}"

    yield asked(
        "role of whoever applies",
        roles,
        "Apply as an owner; roles that come by a group are not seen here.",
    )
    region = once(["gcloud", "compute", "regions", "describe", wanted.region, f"--project={project}", "--format=json"])
    whole = once(["gcloud", "compute", "project-info", "describe", f"--project={project}", "--format=json"])
    num_gpus, metric = wanted.gpu_nodes * wanted.accelerator_count, _QUOTAS[wanted.accelerator]
    for label, source, name, needed in (
        ("spot GPUs", region, f"PREEMPTIBLE_{metric}", num_gpus),
        ("GPUs on demand", region, metric, num_gpus),
        ("GPUs of all regions", whole, "GPUS_ALL_REGIONS", num_gpus),
        ("CPUs", region, "N2_CPUS", wanted.cpu_vcpus),
    ):

        def room(source: Callable[[], Any] = source, name: str = name, needed: int = needed) -> tuple[bool, str]:
            quota = next((quota for quota in source()["quotas"] if quota["metric"] == name), {"limit": 0, "usage": 0})
            return quota["limit"] - quota[
                "usage"
            ] >= needed, f"{quota['limit']:g}, {quota['usage']:g} in use, {needed} needed"

        yield asked(
            f"quota of {label}", room, f"Ask for {needed} of {name} at console.cloud.google.com/iam-admin/quotas."
        )
