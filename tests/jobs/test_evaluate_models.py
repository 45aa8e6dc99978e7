"""`semrec evaluate` on a workspace and on a published split, as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from semrec.bench.generated import write_embedding
from semrec.settings_file import change_settings, read_settings, write_settings
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import EmbeddingManifest

NUM_USERS, NUM_ITEMS = 30, 24


def likes() -> list[tuple[int, int]]:
    """Users of two groups like six items of their half, in order of time."""
    draws = np.random.default_rng(0)
    return [
        (user, 12 * (user % 2) + int(row)) for user in range(NUM_USERS) for row in draws.choice(12, 6, replace=False)
    ]


@pytest.fixture
def workspace(tmp_path: Path) -> str:
    items, events = tmp_path / "items.csv", tmp_path / "events.csv"
    items.write_text("id,name\n" + "".join(f"i{row},item {row}\n" for row in range(NUM_ITEMS)))
    events.write_text(
        "user,item,time\n" + "".join(f"u{u},i{row},{1_600_000_000 + n}\n" for n, (u, row) in enumerate(likes()))
    )
    uri = str(tmp_path / "workspace")
    for kind, file, columns in (
        ("items", items, ["--item-id", "id", "--title", "name"]),
        ("interactions", events, ["--user-id", "user", "--item-id", "item", "--timestamp", "time"]),
    ):
        done = CliRunner().invoke(app, ["import", "csv", str(file), "-w", uri, "--kind", kind, *columns])
        assert done.exit_code == 0, done.output
    return uri


def test_a_workspace(workspace: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = ["evaluate", "-w", workspace, "--json", str(report), "--k", "5", "--set", "ials.dimension=4"]
    plot = tmp_path / "report.svg"
    done = CliRunner().invoke(app, [*command, "--set", "nsvd.dimension=2", "--plot", str(plot)])
    assert done.exit_code == 0, done.output
    found = json.loads(report.read_text())
    assert found["protocol"]["tested_users"] == NUM_USERS
    assert set(found["metrics"]) == {"popularity", "nsvd", "ials", "blend"}
    low, high = found["metrics"]["nsvd"]["ndcg@5_ci"]
    assert low < found["metrics"]["nsvd"]["ndcg@5"] < high
    assert found["comparisons"]["nsvd - popularity"]["recall@5"]["low"] > 0
    assert found["settings"]["models"]["ials"] == {"dimension": 4}
    assert plot.read_text().count("<!-- nsvd -->") == 1  # matplotlib notes each text that it draws
    assert "without content, content_ridge" in done.output
    assert "nothing sampled" in done.output


def test_encoders_side_by_side(workspace: str, tmp_path: Path) -> None:
    """Images say which half an item is of, texts nothing: each is a model of its own."""
    opened, draws = Workspace.open(workspace), np.random.default_rng(1)
    texts = draws.standard_normal((NUM_ITEMS, 5))
    images = texts[:, :3] + 4 * np.eye(3)[np.arange(NUM_ITEMS) // 12]
    for name, vectors in (("texts", texts), ("images", images)):
        write_embedding(opened, {f"i{row}": vector.astype(np.float32) for row, vector in enumerate(vectors)}, name)
    manifest = EmbeddingManifest.read(opened.storage, "images")
    manifest.model_copy(update={"encoder": {"kind": "image"}}).write(opened.storage, "images")
    write_settings(opened.storage, change_settings(read_settings(opened.storage), {"encoder.beside": ("image",)}))
    report = tmp_path / "report.json"
    command = ["evaluate", "-w", workspace, "--json", str(report), "--k", "5", "--no-search"]
    done = CliRunner().invoke(app, [*command, "--set", "ials.dimension=2", "--set", "nsvd.dimension=2"])
    assert done.exit_code == 0, done.output
    ndcg = {model: found["ndcg@5"] for model, found in json.loads(report.read_text())["metrics"].items()}
    assert {"content_ridge", "image_ridge", "blend"} <= ndcg.keys()
    assert ndcg["image_ridge"] > 2 * ndcg["content_ridge"]
    done = CliRunner().invoke(app, [*command, "--models", "popularity,content_ridge"])
    assert done.exit_code == 0, done.output
    assert "image_ridge" not in json.loads(report.read_text())["metrics"]


def test_an_encoder_that_was_not_embedded_yet(workspace: str) -> None:
    """Only those who ask for its model by name are told to embed."""
    storage = Workspace.open(workspace).storage
    write_settings(storage, change_settings(read_settings(storage), {"encoder.beside": ("image",)}))
    command = ["evaluate", "-w", workspace, "--no-search", "--set", "ials.dimension=2", "--set", "nsvd.dimension=2"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "without content, content_ridge, image_ridge" in done.output
    others = CliRunner().invoke(app, ["evaluate", "-w", workspace, "--no-search", "--models", "popularity"])
    assert others.exit_code == 0, others.output
    missing = CliRunner().invoke(app, ["evaluate", "-w", workspace, "--models", "popularity,image_ridge"])
    assert missing.exit_code != 0
    assert "no embedding of images" in missing.output


def test_a_published_split_with_candidates(tmp_path: Path) -> None:
    train, test, candidates = (tmp_path / name for name in ("train", "test", "candidates"))
    last = dict(likes())
    train.write_text("".join(f"{u}\t{row}\n" for u, row in likes() if last[u] != row))
    test.write_text("".join(f"{u}\t{row}\n" for u, row in last.items()))
    other = {user: 12 * (1 - user % 2) for user in last}  # where the other half begins
    candidates.write_text("".join(f"({u},{row})\t{other[u] + 3}\t{other[u] + u % 12}\n" for u, row in last.items()))
    report = tmp_path / "report.json"
    command = ["evaluate", "--train", str(train), "--test", str(test), "--candidates", str(candidates), "--k", "1"]
    command += ["--json", str(report), "--models", "popularity,nsvd", "--set", "nsvd.dimension=2"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = json.loads(report.read_text())
    assert found["protocol"]["sampled"] is True
    assert found["metrics"]["nsvd"]["hr@1"] > 0.9  # the candidates are of the other half


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "neither a workspace nor files"),
        (["--train", "x"], "--train"),
        (["-w", "x", "--train", "x", "--test", "y"], "either --workspace, or --train and --test"),
        (["-w", "x", "--candidates", "y"], "--candidates without files"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["evaluate", *arguments])
    assert done.exit_code == 2
    assert message in done.output


def test_wrong_settings(workspace: str) -> None:
    for given, message in (("ials=3", "--set ials=3"), ("ials.depth=3", "settings depth")):
        done = CliRunner().invoke(app, ["evaluate", "-w", workspace, "--models", "popularity,ials", "--set", given])
        assert done.exit_code == 2
        assert message in done.output
