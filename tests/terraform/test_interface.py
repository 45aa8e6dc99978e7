"""The three modules have one interface: the same variables, validations and outputs, and roots that pass them on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from helpers.offline_terraform import CLOUDS, CONTRACT, REPO, Terraform, hold_outputs_to_the_contract

TERRAFORM = REPO / "terraform"
# The repository of the cluster's image, to which a tag is appended.
REGISTRIES = {
    "gcp": "us-central1-docker.pkg.dev/films-test/semrec-test/semrec-test",  # a repository of repositories
    "azure": "semrectest1a2b.azurecr.io/semrec-test",
}
TOLD = {  # what only the cloud knows: kind, attribute, value
    "azure": ("azurerm_container_registry", "login_server", REGISTRIES["azure"].partition("/")[0]),
}


def module(cloud: str) -> Path:
    return TERRAFORM / "modules" / cloud / "cluster"


def blocks(path: Path, kind: str) -> dict[str, str]:
    """Name to body of the top-level blocks of a kind, in canonical format (which test_static checks)."""
    return dict(re.findall(rf'^{kind} "(\w+)" {{\n(.*?)^}}$', path.read_text(), re.M | re.S))


def without_validation(body: str) -> str:
    return re.sub(r"\n*  validation \{\n.*?\n  \}\n", "\n", body, flags=re.S).strip("\n")


def argument(body: str, name: str) -> str | None:
    found = re.search(rf"^  {name}\s*= (.*)$", body, re.M)
    return found.group(1) if found else None


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_variable_is_read_in_every_module(cloud: str) -> None:
    assert (module(cloud) / "variables.tf").resolve() == TERRAFORM / "modules" / "variables.tf"
    texts = [path.read_text() for path in module(cloud).glob("*.tf") if path.name != "variables.tf"]
    read = set(re.findall(r"\bvar\.(\w+)", "\n".join(texts)))
    assert blocks(module(cloud) / "variables.tf", "variable").keys() - read == set()


def test_every_variable_is_typed_described_and_not_null() -> None:
    variables = blocks(module("aws") / "variables.tf", "variable")
    assert len(variables) == 21
    for name, body in variables.items():
        assert argument(body, "type") not in (None, "any"), name
        assert argument(body, "description"), name
        assert argument(body, "nullable") == "false", name


def test_every_variable_that_can_be_wrong_is_validated() -> None:
    variables = blocks(module("aws") / "variables.tf", "variable")
    unchecked = {name for name, body in variables.items() if "validation {" not in body}
    assert unchecked == {"private_api", "tunnel", "gcs_fault_tolerance", "deletion_protection"}  # booleans


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_vocabulary_of_the_validations_is_complete(cloud: str) -> None:
    used = set(re.findall(r"local\.(\w+)", (module(cloud) / "variables.tf").read_text())) - {
        "cron_pattern",
        "private_range",
    }
    defined = set(re.findall(r"^  (\w+)\s*= ", (module(cloud) / "vocabulary.tf").read_text(), re.M))
    assert used == {
        *("account_pattern", "account_example", "region_pattern", "region_example", "zone_pattern", "zone_example"),
        *("admin_pattern", "admin_example"),
        *("gpu_machines", "spot_only", "has_flex_start", "timezones"),
    }
    assert used <= defined


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_accelerator_is_mapped(cloud: str) -> None:
    machines = re.findall(r"^    (L4|A100|H100)x([1248])\s*= ", (module(cloud) / "vocabulary.tf").read_text(), re.M)
    assert {accelerator for accelerator, _ in machines} == {"L4", "A100", "H100"}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_outputs_have_the_same_names_and_descriptions(cloud: str) -> None:
    def described(name: str) -> dict[str, str | None]:
        return {
            key: argument(body, "description") for key, body in blocks(module(name) / "outputs.tf", "output").items()
        }

    assert described(cloud) == described("aws")
    assert all(described(cloud).values())


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_root_takes_and_gives_what_the_module_does(cloud: str) -> None:
    inner, outer = (
        blocks(module(cloud) / "variables.tf", "variable"),
        blocks(TERRAFORM / "live" / cloud / "variables.tf", "variable"),
    )
    assert outer == {name: without_validation(body) + "\n" for name, body in inner.items()}
    call = (TERRAFORM / "live" / cloud / "main.tf").read_text()
    assert set(re.findall(r"^  (\w+)\s+= var\.\1$", call, re.M)) == set(inner)
    given = blocks(TERRAFORM / "live" / cloud / "outputs.tf", "output")
    assert {name: argument(body, "value") for name, body in given.items()} == {
        name: f"module.cluster.{name}" for name in blocks(module(cloud) / "outputs.tf", "output")
    }


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_output_addons_is_the_addons_variables(cloud: str) -> None:
    body = blocks(module(cloud) / "outputs.tf", "output")["addons"]
    given = set(re.findall(r"^    (\w+)\s+= ", body, re.M))
    assert given == set(blocks(TERRAFORM / "addons" / "variables.tf", "variable"))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_contract_has_a_type_for_every_output(cloud: str) -> None:
    names = blocks(CONTRACT / "variables.tf", "variable")
    assert set(names) == set(blocks(module(cloud) / "outputs.tf", "output"))


@pytest.mark.parametrize("cloud", ["gcp", "azure"])  # that of AWS is applied, with the same contract
def test_the_root_plans_and_its_outputs_have_the_types_of_the_contract(terraform: Terraform, cloud: str) -> None:
    folder = terraform.tree / "live" / cloud
    hold_outputs_to_the_contract(folder)
    tests = (module(cloud) / "tests" / "cluster.tftest.hcl").read_text()
    mocks_and_values = tests[: tests.index("\nrun ")]
    (folder / "tests").mkdir()
    # Types do not tell a host from a repository.
    (folder / "tests" / "contract.tftest.hcl").write_text(
        f"""{mocks_and_values}
{_told_in_the_plan(cloud)}
run "contract" {{
  command = plan
  assert {{
    condition     = output.registry == "{REGISTRIES[cloud]}"
    error_message = "got ${{output.registry}}"
  }}
}}
"""
    )
    terraform.init(folder)
    assert "1 passed, 0 failed" in terraform.run(folder, "test")


def _told_in_the_plan(cloud: str) -> str:
    if cloud not in TOLD:
        return ""
    kind, attribute, value = TOLD[cloud]
    return (
        f"override_resource {{\n  target          = module.cluster.{kind}.this\n  override_during = plan\n"
        f'  values          = {{ {attribute} = "{value}" }}\n}}\n'
    )
