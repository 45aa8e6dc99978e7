"""The AWS root applied and destroyed on an emulator (moto), and read back by boto3. No real account was ever used.

Redis is left out, because the emulator has none, and the bucket's life cycle, which the provider watches for most of a minute
once it is written; what is planned for both is asserted in the module's own tests.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from helpers.local_processes import free_port
from helpers.offline_terraform import REPO, Terraform, hold_outputs_to_the_contract, infra_tool
from helpers.rendered import clusters, render

pytest.importorskip("moto.server", reason="NOT TESTED: no moto; install the extra `test`")
boto3 = pytest.importorskip("boto3", reason="NOT TESTED: no boto3; install the extra `test`")

ROOT = "live/aws"
NAME = "semrec-test"
SETTINGS = {
    "name": "semrec",
    "environment": "test",
    "account": "123456789012",
    "region": "us-east-1",
    "zones": ["us-east-1a", "us-east-1b"],
    "gcs_fault_tolerance": False,
    "deletion_protection": False,
    "secret_names": ["grafana-token"],
    "budget": {"monthly": 500, "emails": ["ops@example.com"]},
    "auto_shutdown": {"cron": "30 20 * * *", "resume_cron": "0 6 * * MON-FRI", "timezone": "Europe/Berlin"},
    "labels": {"team": "platform"},
}


@dataclass(frozen=True)
class Deployment:
    """What was applied: its outputs, clients for what stands there, and how to destroy all of it but the cluster."""

    num_resources: int
    outputs: dict[str, Any]
    client: Callable[[str], Any]
    destroy: Callable[[], str]


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    script = infra_tool("moto_aws.py")
    port = free_port()
    log = tmp_path_factory.mktemp("emulator") / "log"
    environment = {**os.environ, "MOTO_IAM_LOAD_MANAGED_POLICIES": "true", "AWS_DEFAULT_REGION": "us-east-1"}
    with log.open("w") as out:
        command = [sys.executable, REPO / "tests/helpers/aws_emulator.py", script, str(port)]
        server = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, server, log)
        yield address
    finally:
        server.terminate()
        server.wait(30)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/moto-api/", timeout=5).close()
            return
        except urllib.error.HTTPError:
            return  # it answers
        except OSError:
            assert server.poll() is None, log.read_text()[-3000:]
            time.sleep(0.5)
    pytest.fail(f"no emulator after 60 s: {log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def deployment(terraform: Terraform, endpoint: str) -> Deployment:
    folder = terraform.tree / ROOT
    # The provider's 25 attempts would hang for minutes on whatever the emulator lacks.
    (folder / "emulator_override.tf").write_text('provider "aws" {\n  max_retries = 2\n}\n')
    without_life_cycle = terraform.tree / "modules/aws/cluster" / "emulator_override.tf"
    without_life_cycle.write_text('resource "aws_s3_bucket_lifecycle_configuration" "data" {\n  count = 0\n}\n')
    (folder / "terraform.tfvars.json").write_text(json.dumps(SETTINGS))
    hold_outputs_to_the_contract(folder)  # an output of another type fails the apply
    credentials = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    aws = {"AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true", **credentials}

    def run(*arguments: str) -> str:
        return terraform.run(ROOT, *arguments, timeout_s=500, **aws)

    terraform.init(ROOT)
    try:
        said = run("apply", "-auto-approve", "-input=false", "-parallelism=20")
    finally:
        without_life_cycle.unlink()  # the module's own tests read the same copy
    (num_resources,) = re.findall(r"Resources: (\d+) added, 0 changed, 0 destroyed", said)
    outputs = {name: output["value"] for name, output in json.loads(run("output", "-json")).items()}

    def client(service: str) -> Any:
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        return boto3.client(service, endpoint_url=endpoint, region_name="us-east-1", **keys)

    def destroy() -> str:
        # The provider waits for up to a minute, at random, before it deletes a cluster: that is left to the test.
        run("state", "rm", "module.cluster.aws_eks_cluster.this")
        return run("destroy", "-auto-approve", "-input=false", "-parallelism=20", "-refresh=false")

    return Deployment(int(num_resources), outputs, client, destroy)


def test_the_api_is_private_and_etcd_encrypted(deployment: Deployment) -> None:
    cluster = deployment.client("eks").describe_cluster(name=NAME)["cluster"]
    assert cluster["resourcesVpcConfig"]["endpointPrivateAccess"] is True
    assert cluster["resourcesVpcConfig"]["endpointPublicAccess"] is False
    (encryption,) = cluster["encryptionConfig"]
    assert encryption["resources"] == ["secrets"]
    etcd = deployment.client("kms").describe_key(KeyId=f"alias/{NAME}-etcd")["KeyMetadata"]
    assert encryption["provider"]["keyArn"] == etcd["Arn"]


def test_the_pools_are_2_to_20_and_0_to_8_spot_first(deployment: Deployment) -> None:
    eks = deployment.client("eks")
    pools = {
        name: eks.describe_nodegroup(clusterName=NAME, nodegroupName=name)["nodegroup"]
        for name in eks.list_nodegroups(clusterName=NAME)["nodegroups"]
    }
    limits = {
        name: (pool["scalingConfig"]["minSize"], pool["scalingConfig"]["maxSize"]) for name, pool in pools.items()
    }
    assert limits == {"cpu-a": (1, 10), "cpu-b": (1, 10), "gpu-spot": (0, 8), "gpu-ondemand": (0, 8)}
    assert {name: pool["capacityType"] for name, pool in pools.items()} == {
        "cpu-a": "ON_DEMAND",
        "cpu-b": "ON_DEMAND",
        "gpu-spot": "SPOT",
        "gpu-ondemand": "ON_DEMAND",
    }
    assert pools["gpu-spot"]["instanceTypes"] == ["g6.2xlarge", "gr6.4xlarge", "g6.4xlarge", "g6.8xlarge"]
    assert {pool["releaseVersion"] for pool in pools.values()} == {"1.36.2-20261120"}
    assert pools["gpu-spot"]["amiType"] == "AL2023_x86_64_NVIDIA"
    taint = [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}]
    assert pools["gpu-spot"]["taints"] == pools["gpu-ondemand"]["taints"] == taint
    assert not pools["cpu-a"].get("taints")
    assert deployment.outputs["pool_names"] == {"cpu": ["cpu-a", "cpu-b"], "gpu": ["gpu-spot", "gpu-ondemand"]}


def test_an_empty_pool_says_that_its_nodes_would_take_the_pods_of_the_manifests(deployment: Deployment) -> None:
    """What the autoscaler knows of a group at 0 beside CPUs and memory, held against what the pods ask for."""
    groups = clusters(render("aws"))["RayCluster/semrec"]["workerGroupSpecs"]
    pods = {group["groupName"]: group["template"]["spec"] for group in groups}
    for name, machine_gpus in {"gpu-spot": 1, "gpu-ondemand": 1, "cpu-b": 0}.items():
        tags = _node_template_tags(deployment, name)
        pod = pods[name.partition("-")[0]]
        (container,) = pod["containers"]
        of_the_machine = {"cpu", "memory"}
        for resource, wanted in container["resources"]["requests"].items():
            if resource not in of_the_machine:
                assert int(tags[f"resources/{resource}"].removesuffix("Gi")) >= int(wanted.removesuffix("Gi")), resource
        for label, value in pod["nodeSelector"].items():
            assert tags[f"label/{label}"] == value
        taints = {key.removeprefix("taint/"): value for key, value in tags.items() if key.startswith("taint/")}
        tolerated = {each["key"]: f"{each['value']}:{each['effect']}" for each in pod["tolerations"]}
        assert taints == tolerated and len(taints) == machine_gpus
        assert (tags.get("label/k8s.amazonaws.com/accelerator") == "nvidia-l4") == bool(machine_gpus)


def _node_template_tags(deployment: Deployment, pool: str) -> dict[str, str]:
    """Name to value, without the prefix."""
    described = deployment.client("eks").describe_nodegroup(clusterName=NAME, nodegroupName=pool)["nodegroup"]
    group = described["resources"]["autoScalingGroups"][0]["name"]
    mine = [{"Name": "auto-scaling-group", "Values": [group]}]
    prefix = "k8s.io/cluster-autoscaler/node-template/"
    tags = deployment.client("autoscaling").describe_tags(Filters=mine)["Tags"]
    return {tag["Key"].removeprefix(prefix): tag["Value"] for tag in tags if tag["Key"].startswith(prefix)}


def test_nodes_have_encrypted_disks_and_guarded_credentials(deployment: Deployment) -> None:
    ec2, kms = deployment.client("ec2"), deployment.client("kms")
    key = kms.describe_key(KeyId=f"alias/{NAME}-disks")["KeyMetadata"]["Arn"]
    for pool in ("cpu-a", "cpu-b", "gpu-spot", "gpu-ondemand"):
        versions = ec2.describe_launch_template_versions(LaunchTemplateName=f"{NAME}-{pool}")["LaunchTemplateVersions"]
        data = versions[0]["LaunchTemplateData"]
        (disk,) = data["BlockDeviceMappings"]
        assert disk["Ebs"]["Encrypted"] is True and disk["Ebs"]["KmsKeyId"] == key
        assert data["MetadataOptions"]["HttpTokens"] == "required"
        assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1


def test_the_bucket_is_versioned_encrypted_private_and_tls_only(deployment: Deployment) -> None:
    s3, bucket = deployment.client("s3"), deployment.outputs["data_uri"].removeprefix("s3://")
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    (rule,) = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == deployment.outputs["kms_key_id"]
    assert all(s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"].values())
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    (tls,) = [statement for statement in policy["Statement"] if statement["Sid"] == "TlsOnly"]
    assert tls["Effect"] == "Deny" and tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_registry_is_the_repository_that_images_are_pushed_to(deployment: Deployment) -> None:
    (repository,) = deployment.client("ecr").describe_repositories(repositoryNames=[NAME])["repositories"]
    assert deployment.outputs["registry"] == repository["repositoryUri"]
    assert repository["repositoryUri"].endswith(f"/{NAME}")


def test_the_guides_commands_name_what_was_made(deployment: Deployment) -> None:
    commands, bucket = deployment.outputs["commands"], deployment.outputs["data_uri"]
    assert commands["docker_login"].endswith(
        f"docker login --username AWS --password-stdin {deployment.outputs['registry'].split('/')[0]}"
    )
    assert commands["upload"] == f"aws s3 cp --recursive incoming {bucket}/incoming"
    assert commands["redis_password"] == "true"  # there is none here
    tunnel = deployment.outputs["tunnel_command"]
    assert f"host={deployment.outputs['cluster_endpoint'].removeprefix('https://')},portNumber=443" in tunnel
    assert subprocess.run(["bash", "-n", "-c", tunnel]).returncode == 0


def test_every_key_rotates(deployment: Deployment) -> None:
    kms = deployment.client("kms")
    for purpose in ("data", "disks", "etcd", "logs", "secrets"):
        key = kms.describe_key(KeyId=f"alias/{NAME}-{purpose}")["KeyMetadata"]["KeyId"]
        assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is True, purpose


def test_the_workload_may_use_one_bucket_and_the_named_secrets(deployment: Deployment) -> None:
    iam, role = deployment.client("iam"), f"{NAME}-workload"
    assert iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"] == []
    names = iam.list_role_policies(RoleName=role)["PolicyNames"]
    documents = [iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"] for name in names]
    resources = {
        resource
        for document in documents
        for statement in document["Statement"]
        for resource in ([statement["Resource"]] if isinstance(statement["Resource"], str) else statement["Resource"])
    }
    bucket = deployment.outputs["data_uri"].replace("s3://", "arn:aws:s3:::")
    secrets_key = deployment.client("kms").describe_key(KeyId=f"alias/{NAME}-secrets")["KeyMetadata"]["Arn"]
    keys = {deployment.outputs["kms_key_id"], secrets_key}
    assert resources == {bucket, f"{bucket}/*", *keys, *deployment.outputs["secret_references"].values()}
    trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]["Statement"][0]
    subjects = [value for name, value in trust["Condition"]["StringEquals"].items() if name.endswith(":sub")]
    assert subjects == ["system:serviceaccount:semrec:semrec"]


def test_the_service_may_read_and_add_to_two_logs_alone(deployment: Deployment) -> None:
    iam, role = deployment.client("iam"), f"{NAME}-serving"
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    statements = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]["Statement"]
    actions = {
        action
        for statement in statements
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    assert actions == {
        *("s3:ListBucket", "s3:GetBucketLocation", "s3:GetObject", "s3:PutObject"),
        *("kms:Decrypt", "kms:GenerateDataKey"),
    }
    (put,) = (statement for statement in statements if statement["Action"] == "s3:PutObject")
    bucket = deployment.outputs["data_uri"].replace("s3://", "arn:aws:s3:::")
    assert put["Resource"] == [f"{bucket}/*/overlay/segment-*", f"{bucket}/*/events/segment-*"]
    assert put["Condition"] == {"Null": {"s3:if-none-match": "false"}}  # a new object, never another in its place
    trust = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]["Statement"][0]
    subjects = [value for name, value in trust["Condition"]["StringEquals"].items() if name.endswith(":sub")]
    assert subjects == ["system:serviceaccount:semrec:semrec-serve"]


def test_the_network_is_private_watched_and_has_a_way_out_per_zone(deployment: Deployment) -> None:
    ec2 = deployment.client("ec2")
    (vpc,) = ec2.describe_vpcs(Filters=[{"Name": "tag:Name", "Values": [NAME]}])["Vpcs"]
    mine = [{"Name": "vpc-id", "Values": [vpc["VpcId"]]}]
    gateways = [
        gateway for gateway in ec2.describe_nat_gateways(Filter=mine)["NatGateways"] if gateway["State"] == "available"
    ]
    assert len(gateways) == 2
    assert [
        log["TrafficType"] for log in ec2.describe_flow_logs()["FlowLogs"] if log["ResourceId"] == vpc["VpcId"]
    ] == ["ALL"]
    nodes = ec2.describe_subnets(SubnetIds=deployment.outputs["subnet_ids"])["Subnets"]
    assert [subnet["MapPublicIpOnLaunch"] for subnet in nodes] == [False, False]


def test_it_is_suspended_nightly_and_at_the_budget(deployment: Deployment) -> None:
    scheduler = deployment.client("scheduler")
    schedules = {name: scheduler.get_schedule(Name=f"{NAME}-{name}") for name in ("suspend", "resume", "hard-stop")}
    assert schedules["suspend"]["ScheduleExpression"] == "cron(30 20 ? * * *)"
    assert schedules["suspend"]["ScheduleExpressionTimezone"] == "Europe/Berlin"
    assert schedules["resume"]["ScheduleExpression"] == "cron(0 6 ? * MON-FRI *)"
    assert schedules["hard-stop"]["ScheduleExpression"] == "rate(1 hour)"
    inputs = {name: json.loads(schedule["Target"]["Input"])["action"] for name, schedule in schedules.items()}
    assert inputs == {"suspend": "suspend", "resume": "resume", "hard-stop": "check-budget"}
    (arn,) = {schedule["Target"]["Arn"] for schedule in schedules.values()}
    machine = json.loads(deployment.client("stepfunctions").describe_state_machine(stateMachineArn=arn)["definition"])
    assert {pool["group"] for pool in machine["States"]["Suspend"]["Result"]} == {
        "cpu-a",
        "cpu-b",
        "gpu-spot",
        "gpu-ondemand",
    }
    assert machine["States"]["Spent"]["Choices"][0]["Next"] == "Suspend"
    (budget,) = deployment.client("budgets").describe_budgets(AccountId="123456789012")["Budgets"]
    assert float(budget["BudgetLimit"]["Amount"]) == 500


def test_destroy_leaves_nothing_behind(deployment: Deployment) -> None:
    # The last test of the file: it ends the deployment that the others read.
    said = deployment.destroy()
    assert deployment.num_resources >= 90
    assert f"Destroy complete! Resources: {deployment.num_resources - 1} destroyed." in said
    deployment.client("eks").delete_cluster(name=NAME)  # refused while it has a pool
    assert deployment.client("s3").list_buckets()["Buckets"] == []
    tagged = [{"Name": "tag:deployment", "Values": [NAME]}]
    assert deployment.client("ec2").describe_vpcs(Filters=tagged)["Vpcs"] == []
