"""The Kustomize overlays as the cluster would get them, and the pods that are written in them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

__all__ = ["CLOUDS", "KUBERAY", "Document", "by_kind", "clusters", "one", "pod_specs", "render", "render_text"]

Document = dict[str, Any]
KUBERAY = Path(__file__).resolve().parents[2] / "infra/kuberay"
CLOUDS = ("aws", "gcp", "azure", "kind")


@cache
def render_text(overlay: str) -> str:
    """What `kubectl kustomize overlays/<overlay>` prints."""
    if shutil.which("kustomize"):
        command = ["kustomize", "build"]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    else:
        pytest.skip("NOT TESTED: neither kustomize nor kubectl is on the path; no manifest was rendered")
    done = subprocess.run([*command, str(KUBERAY / "overlays" / overlay)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(overlay: str) -> list[Document]:
    """The documents of an overlay, `aws` or `aws/jobs`; fresh ones, which may be changed."""
    documents: list[Document] = json.loads(_render_json(overlay))
    return documents


@cache
def _render_json(overlay: str) -> str:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, and there are 20,000 lines
    return json.dumps([document for document in yaml.load_all(render_text(overlay), loader) if document])


def by_kind(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def one(documents: list[Document], kind: str, name: str) -> Document:
    """The only document of that kind and name."""
    (found,) = [document for document in by_kind(documents, kind) if document["metadata"]["name"] == name]
    return found


def clusters(documents: list[Document]) -> dict[str, Document]:
    """`<kind>/<name>` to the specification of each Ray cluster that would be made."""
    places = {
        "RayCluster": lambda spec: spec,
        "RayJob": lambda spec: spec["rayClusterSpec"],
        "RayService": lambda spec: spec["rayClusterConfig"],
        "RayCronJob": lambda spec: spec["jobTemplate"]["rayClusterSpec"],
    }
    ray = [document for document in documents if document["kind"] in places]
    return {f"{one['kind']}/{one['metadata']['name']}": places[one["kind"]](one["spec"]) for one in ray}


def pod_specs(node: Any) -> Iterator[Document]:
    """Every pod specification below `node`: what has containers."""
    if isinstance(node, dict):
        if "containers" in node:
            yield node
        for value in node.values():
            yield from pod_specs(value)
    elif isinstance(node, list):
        for value in node:
            yield from pod_specs(value)
