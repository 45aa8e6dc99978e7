"""Serves AWS on the loopback for an apply: usage: python aws_emulator.py EMULATOR_SCRIPT PORT.

EMULATOR_SCRIPT is moto's server with the EKS and budget calls that moto lacks. Added here: moto's node groups name an Auto
Scaling group that does not exist, and the scale-from-zero tags are written to that group; and the provider has state
machines validated, for which moto has the parser but not the call, and lists their versions; and it asks which version
of an add-on and of a node image is the newest.
"""

from __future__ import annotations

import json
import runpy
import sys
from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.eks.models import EKSBackend
from moto.eks.responses import EKSResponse
from moto.eks.urls import response as eks_response
from moto.eks.urls import url_paths as eks_paths
from moto.ssm.models import Parameter, ParameterDict
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.responses import StepFunctionResponse

_create_nodegroup = EKSBackend.create_nodegroup
_load_public_parameters = ParameterDict._check_loading_status


class _Group:
    """As much of an Auto Scaling group as tags need."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tags: list[dict[str, Any]] = []


def create_nodegroup(self: EKSBackend, *args: Any, **kwargs: Any) -> Any:
    nodegroup = _create_nodegroup(self, *args, **kwargs)
    groups = autoscaling_backends[self.account_id][self.region_name].autoscaling_groups
    for group in nodegroup.resources["autoScalingGroups"]:
        groups[group["name"]] = _Group(group["name"])
    return nodegroup


def validate_state_machine_definition(self: StepFunctionResponse) -> ActionResult:
    definition = json.loads(self.body)["definition"]
    try:
        AmazonStateLanguageParser.parse(definition)
    except Exception as error:
        fault = {"severity": "ERROR", "code": "SCHEMA_VALIDATION_FAILED", "message": str(error)}
        return ActionResult({"result": "FAIL", "diagnostics": [fault]})
    return ActionResult({"result": "OK", "diagnostics": []})


def list_state_machine_versions(self: StepFunctionResponse) -> ActionResult:
    return ActionResult({"stateMachineVersions": []})


def describe_addon_versions(self: EKSResponse) -> ActionResult:
    (name,), (minor,) = self.querystring["addonName"], self.querystring["kubernetesVersion"]
    fits = [{"clusterVersion": minor, "defaultVersion": True, "platformVersions": ["*"]}]
    versions = [{"addonVersion": f"v{minor}.{patch}-eksbuild.1", "compatibilities": fits} for patch in (2, 1)]
    return ActionResult({"addons": [{"addonName": name, "addonVersions": versions}]})


def load_public_parameters(self: ParameterDict, key: str) -> None:
    _load_public_parameters(self, key)
    if str(key).startswith("/aws/service/eks/optimized-ami/") and not dict.get(self, key):
        value = f"{key.split('/')[5]}.2-20261120"
        unset: dict[str, Any] = dict.fromkeys(("description", "allowed_pattern", "keyid"))
        made = {"parameter_type": "String", "last_modified_date": utcnow(), "version": 1, "data_type": "text"}
        self[key] = [Parameter(account_id=self.account_id, name=key, value=value, **unset, **made)]


if __name__ == "__main__":
    EKSResponse.describe_addon_versions = describe_addon_versions
    eks_paths["{0}/addons/supported-versions$"] = eks_response.dispatch
    ParameterDict._check_loading_status = load_public_parameters
    EKSBackend.create_nodegroup = create_nodegroup
    StepFunctionResponse.validate_state_machine_definition = validate_state_machine_definition
    StepFunctionResponse.list_state_machine_versions = list_state_machine_versions
    script, port = sys.argv[1:]
    sys.argv = [script, port]
    runpy.run_path(script, run_name="__main__")
