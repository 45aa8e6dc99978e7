"""The house rules that no other test would notice: who may import whom, inert imports, small and documented modules."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("semrec", "cluster", "jobs", "infra")
#: package -> the packages of this repository that it may import
ALLOWED = {
    "semrec": {"semrec"},
    "cluster": {"cluster", "semrec"},
    "jobs": {"jobs", "cluster", "semrec"},
    "infra": {"infra", "semrec"},
}
FILES = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if not path.stem.endswith(("_pb2", "_pb2_grpc"))  # generated
)
#: What no command and no service needs before something is asked of it. (markdown-it comes with rich.)
OF_EXTRAS = (
    "PIL", "efficientnet_lite_pytorch", "faiss", "lancedb", "matplotlib", "milvus_lite", "model2vec", "openvino",
    "pymilvus", "pyoxigraph", "pypdfium2", "qdrant_client", "rapidocr_onnxruntime", "selectolax", "timm",
)  # fmt: skip
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in FILES]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> set[str]:
    """Full names of all that a file imports, at its top or inside functions: "jobs.cli" for `from jobs import cli`."""
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def in_package(package: str) -> list[Path]:
    return [path for path in FILES if path.relative_to(ROOT).parts[0] == package]


def test_every_package_is_looked_at() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(PACKAGES)
    assert len(FILES) > 60
    assert "cluster.compute" in imports_of(ROOT / "jobs" / "cli_common.py")  # imports inside functions count


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package: str) -> None:
    for path in in_package(package):
        ours = {name.partition(".")[0] for name in imports_of(path)} & {*PACKAGES, "tests"}
        assert ours <= ALLOWED[package], f"{path} imports {ours - ALLOWED[package]}"


def test_no_room_of_semrec_can_reach_itself() -> None:
    rooms = {path.parent.name for path in in_package("semrec") if path.parent.parent.name == "semrec"}
    imported_by: dict[str, set[str]] = {room: set() for room in rooms}
    for path in in_package("semrec"):
        room = path.relative_to(ROOT / "semrec").parts[0]
        if room in rooms:
            imported_by[room] |= {name.split(".")[1] for name in imports_of(path) if name.startswith("semrec.")} & rooms
    for room in rooms:
        reached, ahead = set[str](), imported_by[room] - {room}
        while ahead:
            reached |= ahead
            ahead = {other for near in ahead for other in imported_by[near] - {near}} - reached
        assert room not in reached, f"{room} imports {sorted(imported_by[room])}, of which one imports it again"
    assert {"changes", "data"} <= rooms


@pytest.mark.parametrize("library", ["ray", "fastapi"])
def test_only_cluster_imports_ray_and_the_web_framework(library: str) -> None:
    users = {path for path in FILES if library in {name.partition(".")[0] for name in imports_of(path)}}
    assert {path.relative_to(ROOT).parts[0] for path in users} <= {"cluster"}


def test_jobs_do_not_import_each_other() -> None:
    for path in in_package("jobs"):
        others = {name.split(".")[1] for name in imports_of(path) if name.startswith("jobs.")}
        others -= {"printing", "cli_common"}
        assert path.name == "cli.py" or not others, f"{path} imports {others}"


def test_what_is_computed_does_not_depend_on_the_environment() -> None:
    forbidden = {"environ", "environb", "getenv", "getenvb", "putenv"}
    for path in in_package("semrec"):
        names = {node.attr for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
        names |= {name.rpartition(".")[2] for name in imports_of(path)}
        assert not names & forbidden, f"{path} reads the environment"


IMPORTED = """
import importlib, sys, threading
sys.modules.update(dict.fromkeys(ABSENT))
before = set(threading.enumerate())
for name in sys.argv[1:]:
    importlib.import_module(name)
started = [thread.name for thread in set(threading.enumerate()) - before]
assert not started, f"threads {started}"
torch = sys.modules.get("torch")
assert torch is None or not torch.cuda.is_initialized(), "CUDA was initialised"
ray = sys.modules.get("ray")
assert ray is None or not ray.is_initialized(), "ray was initialised"
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


@cache
def loaded_by(package: str) -> set[str]:
    """The top-level modules in memory after every module of `package` was imported in a fresh interpreter."""
    return loaded_by_modules(*(name for name in MODULES if name.partition(".")[0] == package and importable(name)))


def loaded_by_modules(*modules: str, absent: Sequence[str] = ()) -> set[str]:
    command = [sys.executable, "-W", "ignore", "-c", IMPORTED.replace("ABSENT", repr(absent)), *modules]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stdout.splitlines()[-1].split())


def importable(module: str) -> bool:
    """Whether all that the module's file imports at its top is installed: extras need not be."""
    path = FILES[MODULES.index(module)]
    tops = [node for node in tree_of(path).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in tops if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in tops if isinstance(node, ast.ImportFrom)}
    return all(importlib.util.find_spec(name.partition(".")[0]) for name in names)


def test_commands_and_service_start_without_any_extra() -> None:
    modules = [name for name in MODULES if name.startswith(("jobs.", "cluster.serving."))]
    assert "cluster" in loaded_by_modules(*modules, absent=OF_EXTRAS)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_are_inert(package: str) -> None:
    assert package in loaded_by(package)


@pytest.mark.parametrize("package", ["semrec", "infra"])
def test_ray_and_the_web_framework_do_not_come_in_by_a_side_door(package: str) -> None:
    assert not loaded_by(package) & {"ray", "fastapi"}


def test_the_commands_load_neither_ray_nor_an_encoder_before_they_run() -> None:
    assert not loaded_by("jobs") & {"ray", "fastapi", "sentence_transformers"}


def test_what_only_starts_or_watches_others_loads_no_engine() -> None:
    """Seconds of CPU in each process that starts a service, stands before it, takes its changes or hands out parts of a run."""
    modules = ("cluster.serving.launch", "cluster.serving.http.middleware", "cluster.serving.changes.actor",
               "cluster.executor", "semrec.runs.live")  # fmt: skip
    assert not loaded_by_modules(*modules) & {"torch", "numba", "scipy", "sentence_transformers"}


def test_what_binds_a_service_or_drives_a_run_loads_neither_torch_nor_scikit_learn() -> None:
    modules = ("cluster.serving.replica", "cluster.stages.pipeline")
    assert not loaded_by_modules(*modules) & {"torch", "sklearn", "sentence_transformers"}


@pytest.mark.parametrize("path", FILES, ids=MODULES)
def test_modules_are_documented_listed_and_small(path: Path) -> None:
    tree = tree_of(path)
    assert ast.get_docstring(tree), "no docstring"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    targets = [target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
               if isinstance(target, ast.Name)]  # fmt: skip
    defined = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    assert not defined or path.name.startswith("_") or "__all__" in targets, "no __all__"


@pytest.mark.parametrize("path", FILES, ids=MODULES)
def test_listed_names_are_defined_and_documented(path: Path) -> None:
    tree = tree_of(path)
    listed = next(
        (ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)
         and any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)), [],
    )  # fmt: skip
    defined = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    silent = [name for name in listed if name in defined and not ast.get_docstring(defined[name])]
    short = {name for name in silent if isinstance(defined[name], ast.FunctionDef) and len(defined[name].body) == 1}
    assert not set(silent) - short, "no docstring"
    assert sorted(set(listed)) == sorted(listed)
