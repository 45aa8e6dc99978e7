"""Each module plans what it should, against the providers' schemas.

The assertions are in the *.tftest.hcl files beside the configuration; Terraform itself runs them, with the clouds mocked.
"""

from __future__ import annotations

import re

import pytest

from helpers.offline_terraform import Terraform


@pytest.mark.parametrize(
    ("folder", "least"),
    [("modules/aws/cluster", 5), ("modules/gcp/cluster", 6), ("modules/azure/cluster", 4), ("addons", 4)],
)
def test_its_own_tests_pass(terraform: Terraform, folder: str, least: int) -> None:
    terraform.init(folder)
    said = terraform.run(folder, "test")
    passed, failed = map(int, re.findall(r"(\d+) passed, (\d+) failed", said)[0])
    assert passed >= least and failed == 0  # a file that is not found would pass by having nothing to say
