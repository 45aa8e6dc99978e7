"""Serves AWS on the loopback for an apply: usage: python aws_emulator.py EMULATOR_SCRIPT PORT.

EMULATOR_SCRIPT is moto's server with the EKS and budget calls that moto lacks. Added here: moto's node groups name an Auto
Scaling group that does not exist, and the scale-from-zero tags are written to that group; and the provider has state
machines validated, for which moto has the parser but not the call, and lists their versions.
"""

from __future__ import annotations

import json
import runpy
import sys
from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.core.responses import ActionResult
from moto.eks.models import EKSBackend
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.responses import StepFunctionResponse

_create_nodegroup = EKSBackend.create_nodegroup


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


if __name__ == "__main__":
    EKSBackend.create_nodegroup = create_nodegroup
    StepFunctionResponse.validate_state_machine_definition = validate_state_machine_definition
    StepFunctionResponse.list_state_machine_versions = list_state_machine_versions
    script, port = sys.argv[1:]
    sys.argv = [script, port]
    runpy.run_path(script, run_name="__main__")
