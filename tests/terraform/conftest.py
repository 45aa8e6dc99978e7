"""Terraform for the tests of this folder; they skip, saying so, where it or the offline tools are missing."""

from __future__ import annotations

import shutil

import pytest

from helpers.offline_terraform import REPO, Terraform, infra_tool, provider_mirror


@pytest.fixture(scope="session")
def terraform_binary() -> str:
    binary = shutil.which("terraform")
    if binary is None:
        pytest.skip("NOT TESTED: no terraform on PATH")
    return binary


@pytest.fixture(scope="session")
def terraform(terraform_binary: str, tmp_path_factory: pytest.TempPathFactory) -> Terraform:
    config = provider_mirror(infra_tool("provider_mirror.py"))
    tree = tmp_path_factory.mktemp("checkout") / "terraform"
    local_state = shutil.ignore_patterns(".terraform*", "*.tfstate*", "*.tfvars", "*.tfvars.json", "backend.tf")
    shutil.copytree(REPO / "terraform", tree, ignore=local_state)
    for read in ("infra/prometheus", "infra/grafana/dashboards"):  # by the add-ons
        shutil.copytree(REPO / read, tree.parent / read)
    return Terraform(terraform_binary, tree, config)
