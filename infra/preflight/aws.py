"""The preflight of an AWS account, by boto3: account, quotas, machine types, roles that AWS makes once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from infra.preflight.findings import Finding, Wanted, asked

__all__ = ["aws_findings"]

#: Codes of Service Quotas, in vCPUs of running machines.
_CPUS: Final = "L-1216C47A"
_GPUS: Final = {
    "g": {"on demand": "L-DB2E81BA", "spot": "L-3819A6DF"},
    "p4d": {"on demand": "L-417A185B", "spot": "L-7212CCBC"},
    "p5": {"on demand": "L-417A185B", "spot": "L-C4BD4855"},
}
_VPCS: Final = "L-F678F1CE"
_SPOT_ROLE: Final = "/aws-service-role/spot.amazonaws.com/"
#: One action of each service that the module uses; who may do these is taken to be an administrator.
_ACTIONS: Final = (
    "budgets:ModifyBudget", "ec2:CreateVpc", "ecr:CreateRepository", "eks:CreateCluster", "elasticache:CreateReplicationGroup",
    "iam:CreateRole", "iam:PassRole", "kms:CreateKey", "s3:CreateBucket", "scheduler:CreateSchedule",
    "secretsmanager:CreateSecret", "states:CreateStateMachine",
)  # fmt: skip


def aws_findings(wanted: Wanted) -> Iterator[Finding]:
    """What the account lacks; boto3 takes the credentials as the AWS command line does."""

    def client(service: str) -> Any:
        import boto3

        return boto3.client(service, region_name=wanted.region)

    def account() -> tuple[bool, str]:
        caller = client("sts").get_caller_identity()
        return caller["Account"] == wanted.account, caller["Arn"]

    yield asked("account", account, f"Sign in to {wanted.account}: export AWS_PROFILE, or aws sso login.")

    def rights() -> tuple[bool, str]:
        arn = client("sts").get_caller_identity()["Arn"]
        results = client("iam").simulate_principal_policy(PolicySourceArn=_role_of(arn), ActionNames=list(_ACTIONS))
        denied = [
            result["EvalActionName"] for result in results["EvaluationResults"] if result["EvalDecision"] != "allowed"
        ]
        return not denied, f"denied: {', '.join(denied)}" if denied else f"{len(_ACTIONS)} actions are allowed"

    yield asked("rights of whoever applies", rights, "Apply as an administrator of the account.")

    def offered() -> tuple[bool, str]:
        wanted_type = [{"Name": "instance-type", "Values": [wanted.machine]}]
        offers = client("ec2").describe_instance_type_offerings(LocationType="availability-zone", Filters=wanted_type)
        zones = sorted(offer["Location"] for offer in offers["InstanceTypeOfferings"])
        return bool(zones), f"in {', '.join(zones)}" if zones else f"nowhere in {wanted.region}"

    yield asked(
        f"{wanted.machine} is rented",
        offered,
        "Choose another region or accelerator; set gpu_pool.zones.",
    )

    def vcpus_of_gpu_nodes() -> int:
        described = client("ec2").describe_instance_types(InstanceTypes=[wanted.machine])["InstanceTypes"]
        return int(described[0]["VCpuInfo"]["DefaultVCpus"]) * wanted.gpu_nodes

    family = wanted.machine.split(".")[0]
    codes = _GPUS["g"] if family.startswith("g") else _GPUS[family]
    for label, code, needed in (
        *((f"GPU vCPUs, {kind}", code, vcpus_of_gpu_nodes) for kind, code in codes.items()),
        ("CPU vCPUs, on demand", _CPUS, lambda: wanted.cpu_vcpus),
    ):
        yield _quota(client, label, "ec2", code, needed)
    yield _quota(client, "VPCs", "vpc", _VPCS, lambda: len(client("ec2").describe_vpcs()["Vpcs"]) + 1)

    def spot_role() -> tuple[bool, str]:
        roles = [role["Arn"] for role in client("iam").list_roles(PathPrefix=_SPOT_ROLE)["Roles"]]
        return bool(roles), ", ".join(roles) or "none yet"

    remedy = "aws iam create-service-linked-role --aws-service-name spot.amazonaws.com"
    yield asked("role for spot machines", spot_role, remedy)


def _quota(client: Callable[[str], Any], label: str, service: str, code: str, needed: Callable[[], int]) -> Finding:
    def room() -> tuple[bool, str]:
        value = client("service-quotas").get_service_quota(ServiceCode=service, QuotaCode=code)["Quota"]["Value"]
        count = needed()
        return value >= count, f"{value:g}, {count} needed"

    remedy = f"aws service-quotas request-service-quota-increase --service-code {service} --quota-code {code} --desired-value N"
    return asked(f"quota of {label}", room, remedy)


def _role_of(arn: str) -> str:
    """The role behind an assumed one: policies are simulated for roles and users, not for sessions."""
    if ":assumed-role/" not in arn:
        return arn
    head, _, tail = arn.partition(":assumed-role/")
    return f"{head.replace(':sts:', ':iam:')}:role/{tail.split('/')[0]}"
