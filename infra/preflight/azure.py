"""The preflight of an Azure subscription, by az: providers, features, roles, quotas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from infra.preflight.findings import Finding, Wanted, answer_of, asked, once

__all__ = ["azure_findings"]

_FAMILIES: Final = {
    "NV": "StandardNVADSA10v5Family", "NC_A100": "StandardNCADSA100v4Family", "NC_H100": "StandardNCadsH100v5Family",
    "ND_A100": "standardNDAMSv4_A100Family", "ND_H100": "standardNDSH100v5Family",
}  # fmt: skip
_PROVIDERS: Final = (
    "Microsoft.ContainerService",
    "Microsoft.KeyVault",
    "Microsoft.Cache",
    "Microsoft.ContainerRegistry",
)
_FEATURES: Final = (("Microsoft.Compute", "EncryptionAtHost"),)
_MAY_ASSIGN_ROLES: Final = {"Owner", "User Access Administrator", "Role Based Access Control Administrator"}


def azure_findings(wanted: Wanted) -> Iterator[Finding]:
    """What the subscription lacks, as `az` answers whoever is signed in."""

    def subscription() -> tuple[bool, str]:
        account = answer_of(["az", "account", "show", "--output", "json"])
        return account["id"] == wanted.account, f"{account['name']} ({account['id']})"

    yield asked("subscription", subscription, f"az account set --subscription {wanted.account}")
    for provider in _PROVIDERS:

        def registered(provider: str = provider) -> tuple[bool, str]:
            state = answer_of(["az", "provider", "show", "--namespace", provider, "--output", "json"])[
                "registrationState"
            ]
            return state == "Registered", state

        yield asked(f"provider {provider}", registered, f"az provider register --namespace {provider}")
    for namespace, feature in _FEATURES:

        def switched_on(namespace: str = namespace, feature: str = feature) -> tuple[bool, str]:
            command = ["az", "feature", "show", "--namespace", namespace, "--name", feature, "--output", "json"]
            state = answer_of(command)["properties"]["state"]
            return state == "Registered", state

        remedy = (
            f"az feature register --namespace {namespace} --name {feature}, then az provider register -n {namespace}"
        )
        yield asked(f"feature {feature}", switched_on, remedy)

    def roles() -> tuple[bool, str]:
        scope = f"/subscriptions/{wanted.account}"
        who = answer_of(["az", "account", "show", "--output", "json"])["user"]["name"]
        command = ["az", "role", "assignment", "list", "--assignee", who, "--include-inherited", "--include-groups"]
        mine = {entry["roleDefinitionName"] for entry in answer_of([*command, "--scope", scope, "--output", "json"])}
        return bool(mine & _MAY_ASSIGN_ROLES), f"{who}: {', '.join(sorted(mine)) or 'none'}"

    yield asked("role of whoever applies", roles, "Apply as Owner: the cluster's identities are given roles.")
    usage = once(["az", "vm", "list-usage", "--location", wanted.region, "--output", "json"])
    vcpus = int(re.findall(r"_N[CDV](\d+)", wanted.machine)[0]) * wanted.gpu_nodes
    kind = wanted.machine.split("_")[1][:2]
    family = _FAMILIES[kind if kind == "NV" else f"{kind}_{wanted.accelerator}"]
    for label, name, needed in (
        ("GPU vCPUs on demand", family, vcpus),
        ("spot vCPUs", "lowPriorityCores", vcpus),
        ("CPU vCPUs", "standardDSv5Family", wanted.cpu_vcpus),
        ("vCPUs of the region", "cores", wanted.cpu_vcpus + vcpus),
    ):

        def room(name: str = name, needed: int = needed) -> tuple[bool, str]:
            rows = [row for row in usage() if row["name"]["value"].lower() == name.lower()]
            limit, used = (int(rows[0]["limit"]), int(rows[0]["currentValue"])) if rows else (0, 0)
            return limit - used >= needed, f"{limit}, {used} in use, {needed} needed"

        yield asked(
            f"quota of {label}", room, f"Ask for {needed} of {name} in {wanted.region}, under Quotas in the portal."
        )
