"""Terraform on a copy of terraform/, with providers from an offline mirror: nothing is written into the checkout."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]
CLOUDS = ("aws", "gcp", "azure")
CONTRACT = REPO / "tests/terraform/contract"


@dataclass(frozen=True)
class Terraform:
    """A terraform that sees the mirror's providers and no credentials but those it is given."""

    binary: str
    tree: Path  # the copy
    config: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("TF_", "AWS_", "ARM_", "GOOGLE_"))
        }
        return {
            **kept,
            "TF_CLI_CONFIG_FILE": str(self.config),
            "TF_IN_AUTOMATION": "1",
            "CHECKPOINT_DISABLE": "1",
            "GOGC": "400",  # a quarter of the CPU went into collecting the garbage of processes that live for seconds
            **more,
        }

    def run(self, folder: str | Path, *arguments: str, timeout_s: int = 280, **environment: str) -> str:
        """Run in a folder of the copy and return what was said; fail the test, with that, where terraform does."""
        done = subprocess.run(
            [self.binary, *arguments, "-no-color"],
            cwd=self.tree / folder,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        said = done.stdout + done.stderr
        if done.returncode:
            pytest.fail(
                f"terraform {' '.join(arguments)} in {folder} ended with {done.returncode}:\n{said[-8000:]}",
                pytrace=False,
            )
        return said

    def init(self, folder: str | Path) -> None:
        self.run(folder, "init", "-input=false", "-backend=false")


def cache_folder() -> Path:
    """Where downloads are kept between runs: beside the environments of .ci/run."""
    return Path(os.environ.get("CI_CACHE", Path.home() / ".cache" / "semrec-ci"))


def infra_tool(name: str) -> Path:
    """A script of the shared offline tools; skips where there is none."""
    script = Path(os.environ.get("SEMREC_SHARED", REPO.parent / "shared")) / "tools" / "infra" / name
    if not script.is_file():
        pytest.skip(f"NOT TESTED: no {name} at {script}; set SEMREC_SHARED to the folder that holds tools/infra")
    return script


def provider_mirror(script: Path) -> Path:
    """The mirror's CLI configuration; made again when the types that the configuration uses or the tools change."""
    sources = sorted((REPO / "terraform").rglob("*.tf"))
    used = sorted(
        {line for path in sources for line in re.findall(r'^(?:resource|data) "\w+"', path.read_text(), re.M)}
    )
    tools = [path.read_bytes() for path in sorted(script.parent.glob("*.py"))]
    key = hashlib.sha256(b"\n".join([*tools, "\n".join([sys.executable, str(script), *used]).encode()])).hexdigest()[
        :16
    ]
    folder = cache_folder() / "terraform-mirror" / key
    config = folder / "terraformrc"
    if not config.is_file():
        _take_over_downloads(folder)
        done = subprocess.run(
            [sys.executable, script, "--out", folder, REPO / "terraform"], capture_output=True, text=True, timeout=280
        )
        if done.returncode:
            pytest.skip(f"NOT TESTED: no provider mirror could be built: {(done.stdout + done.stderr)[-1000:]}")
    return config


def values(cloud: str) -> dict[str, Any]:
    """The variables that have no default, as the tests give them."""
    of_the_cloud: dict[str, dict[str, Any]] = {
        "aws": {"account": "123456789012", "region": "us-east-1", "zones": ["us-east-1a", "us-east-1b"]},
        "gcp": {"account": "films-test", "region": "us-central1", "zones": ["us-central1-a", "us-central1-b"]},
        "azure": {"account": "00000000-0000-0000-0000-000000000000", "region": "westeurope", "zones": ["1", "2"]},
    }
    budget = {"monthly": 500, "emails": ["ops@example.com"]}
    return {"name": "semrec", "environment": "test", "budget": budget, **of_the_cloud[cloud]}


def hold_outputs_to_the_contract(root: Path) -> None:
    """Passes each output of a copied root to a variable of the type that it must have: validate knows no types of outputs."""
    names = re.findall(r'^variable "(\w+)"', (CONTRACT / "variables.tf").read_text(), re.M)
    passed = "".join(f"  {name} = module.cluster.{name}\n" for name in names)
    (root / "contract").symlink_to(CONTRACT)
    (root / "contract.tf").write_text(f'module "contract" {{\n  source = "./contract"\n{passed}}}\n')


def _take_over_downloads(folder: Path) -> None:
    """Links what a complete older mirror has downloaded; only the schemas depend on the types that are used."""
    older = sorted(folder.parent.glob("*/terraformrc"), key=lambda path: path.stat().st_mtime)
    for part in ("wheels", "venv") if older else ():
        copied = older[-1].with_name(part)
        if copied.is_dir() and not (folder / part).exists():
            shutil.copytree(copied, folder / part, symlinks=True, copy_function=os.link)
