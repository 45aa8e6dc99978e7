"""Each module plans what it should and refuses what it must, against the providers' schemas.

The assertions are in the *.tftest.hcl files beside the configuration; Terraform itself runs them, with the clouds mocked.
"""

from __future__ import annotations

import re

import pytest
from offline_terraform import CLOUDS, Terraform


@pytest.mark.parametrize(
    ("folder", "least"),
    [("modules/aws/cluster", 16), ("modules/gcp/cluster", 17), ("modules/azure/cluster", 17), ("addons", 5)],
)
def test_its_own_tests_pass(terraform: Terraform, folder: str, least: int) -> None:
    terraform.init(folder)
    said = terraform.run(folder, "test")
    passed, failed = map(int, re.findall(r"(\d+) passed, (\d+) failed", said)[0])
    assert passed >= least and failed == 0  # a file that is not found would pass by having nothing to say


def test_the_modules_refuse_the_same(terraform: Terraform) -> None:
    runs = {
        cloud: re.findall(
            r'^run "(\w+)"', (terraform.tree / f"modules/{cloud}/cluster/tests/refusals.tftest.hcl").read_text(), re.M
        )
        for cloud in CLOUDS
    }
    assert runs["aws"] == runs["gcp"] == runs["azure"]
