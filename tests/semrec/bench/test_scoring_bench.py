"""The scoring bench measures what it says, and proves equality; its rates are the machine's."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import semrec.bench.contestants
import semrec.bench.kernels
from cluster.compute import InProcess
from cluster.stages.release import build_release
from jobs.cli import app
from semrec.bench.engine_process import EngineProcess, EngineProcessSpec
from semrec.bench.generated import generated_events, write_catalogue
from semrec.bench.kernels import LIBRARY_CHOICE, kernel_choices
from semrec.bench.peers import make_peer
from semrec.bench.plot import plot_scoring
from semrec.bench.scoring import ScoreBenchRow, bench_scoring
from semrec.bench.small_batches import BATCHES
from semrec.bench.table import SEED_FIGURES, score_notes, score_table
from semrec.bench.workloads import DATA, generated_problem, generated_vectors, release_problem
from semrec.data import import_interactions
from semrec.errors import InputError
from semrec.progress import NoProgress
from semrec.release.reader import Release, newest_release
from semrec.scoring.eligibility import eligible_items
from semrec.scoring.formats import FORMATS
from semrec.settings import ReleaseSettings
from semrec.workspace.folder import Workspace

NUM_ITEMS, NUM_USERS, DIMENSION = 300, 40, 16
KS = (400, 7)  # the first is more than there are items
WAYS = [("cpu", "plain"), ("cpu", "seen"), ("cpu", "filters")]
MORE_PEERS = ("scann", "implicit")  # of the extra `bench`, which tests do without
PEERS = [
    (name, "plain")
    for name in ("faiss-cpu", *MORE_PEERS, "torch", "reference")
    if name not in MORE_PEERS or importlib.util.find_spec(name)
]
FEW = [("cpu", f"{n} at once") for n in BATCHES]
APART = [("cpu", "2 threads"), ("cpu", "2 processes x 1 thread")]
SMALL = ["--items", str(NUM_ITEMS), "--users", str(NUM_USERS), "--rounds", "1", "--no-memory", "--no-processes"]


@pytest.fixture(scope="module")
def rows() -> list[ScoreBenchRow]:
    pytest.importorskip("faiss", reason="NO FAISS: install the extra `bench` to test the bench")
    problem = generated_problem("clusters", NUM_ITEMS, NUM_USERS, dimension=DIMENSION)
    return bench_scoring(problem, ks=KS, num_threads=2, rounds=2)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A release of 60 items and 30 users, one in five without a vector."""
    found = Workspace.create(str(tmp_path_factory.mktemp("bench")), num_buckets=4)
    ids = [f"item-{n:03d}" for n in range(60)]
    write_catalogue(found, ids, generated_vectors(60, DIMENSION, seed=5))
    import_interactions(found, generated_events(ids, 30, events_per_user=4, seed=6, new_every=5))
    build_release(found, ReleaseSettings(), embedding=None, compute=InProcess(), progress=NoProgress())
    return found


def scoring(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", "scoring", *arguments])


def on_cpu(rows: Sequence[ScoreBenchRow]) -> list[ScoreBenchRow]:
    """Without what only a machine with a GPU has."""
    return [row for row in rows if row.device == "cpu"]


def test_every_engine_is_there_at_every_k(rows: list[ScoreBenchRow]) -> None:
    found = [(row.k, row.engine, row.variant) for row in on_cpu(rows)]
    assert found == [(k, *way) for k in KS for way in WAYS + PEERS + FEW + APART]
    assert {row.coarse for row in rows if row.engine == "cpu"} <= set(FORMATS)
    assert {(row.num_items, row.dimension, row.threads, row.data) for row in rows} == {
        (NUM_ITEMS, DIMENSION, 2, "clusters")
    }
    few = [row for row in rows if row.ratio_to_reading is not None]
    assert [row.num_users for row in few] == [*BATCHES, *BATCHES]
    assert {row.num_users for row in rows if row.engine != "reference" and row not in few} == {NUM_USERS}


def test_ours_equal_the_reference_and_peers_agree(rows: list[ScoreBenchRow]) -> None:
    for row in on_cpu(rows):
        timed = row.variant in ("plain", "seen", "filters")
        ours = timed and row.engine in ("cpu", "reference")
        assert row.equal is (True if ours else None)
        assert (row.agreement == 1.0) is (timed and not ours)
        assert (row.candidates_per_row is not None) is ours
        if ours:
            assert row.exhaustive_share == row.exhaustive_rows / row.num_users


def test_ratios_are_to_the_plain_peers_and_memory_to_the_matrix(rows: list[ScoreBenchRow]) -> None:
    for row in rows:
        apart = "thread" in row.variant
        for ratio in (row.ratio_to_torch, row.of_product, row.product_users_per_s):
            assert ratio is None if apart or row.ratio_to_reading is not None else ratio > 0
        if row.engine in ("torch", "faiss-cpu"):
            assert (row.ratio_to_torch if row.engine == "torch" else row.ratio_to_faiss) == 1.0
        assert (row.filter_cost is not None) is (row.variant == "filters")
        assert (row.ratio_to_one_process is not None) is apart
        measured = row.variant == "seen" or row.engine not in ("cpu", "cuda")
        assert (row.peak_memory_bytes is not None) is measured
        if measured and row.device == "cpu":
            assert row.memory_ratio == row.peak_memory_bytes / (NUM_ITEMS * DIMENSION * 4)
            assert row.memory_ratio_4x_users >= row.memory_ratio
    assert [row.ratio_to_one_process for row in rows if row.variant == "2 threads"] == [1.0] * len(KS)


@pytest.mark.parametrize("name", ["faiss-cpu", *MORE_PEERS, "torch"])
def test_a_peer_finds_the_best_rows(name: str) -> None:
    module = name.removesuffix("-cpu")
    pytest.importorskip(module, reason=f"NO {module.upper()}: install the extra `bench` to test the bench")
    problem = generated_problem("clusters", NUM_ITEMS, NUM_USERS, dimension=DIMENSION)
    items, users = problem.items.vectors(), problem.users_UD
    order = np.argsort(-(users.astype(np.float64) @ items.T.astype(np.float64)), axis=1)
    search = make_peer(name, "cpu", items, 2)
    for k in (1, 9, NUM_ITEMS + 1):
        rows = search(users, k)
        assert rows.dtype == np.int64
        np.testing.assert_array_equal(rows, order[:, :k])


def test_a_peer_is_measured_with_the_fastest_kernels_that_it_offers(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss", reason="NO FAISS: install the extra `bench` to test the bench")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Prescott")  # which the bench's own process was started with
    seen, notes = [], []

    class Recorded(EngineProcess):
        def __init__(self, spec: EngineProcessSpec) -> None:
            super().__init__(spec)
            self.spec = spec

        def __enter__(self) -> EngineProcess:
            super().__enter__()  # it has answered, and so has its environment
            variables = Path(f"/proc/{self._process.pid}/environ").read_bytes().split(b"\0")
            own = [variable for variable in variables if variable.startswith(b"OPENBLAS_CORETYPE")]
            seen.append((self.spec.engine, self.spec.kernels, own))
            return self

    monkeypatch.setattr(semrec.bench.contestants, "EngineProcess", Recorded)
    monkeypatch.setattr(NoProgress, "note", lambda self, text: notes.append(text))
    problem = generated_problem("clusters", NUM_ITEMS, NUM_USERS, dimension=DIMENSION)
    found = bench_scoring(problem, ks=(3,), num_threads=1, rounds=1, memory=False, processes=False, filters=False)
    (kernels,) = {row.kernels for row in found if row.engine == "faiss-cpu"}
    choices = kernel_choices("faiss-cpu")
    assert choices[0] == LIBRARY_CHOICE
    assert [name for engine, name, _ in seen if engine == "faiss-cpu"] == [*choices, kernels]
    for _, name, variables in seen:
        assert variables == ([] if name == LIBRARY_CHOICE else [b"OPENBLAS_CORETYPE=" + name.encode()])
    assert any(note.startswith(f"faiss-cpu: {kernels}, of {LIBRARY_CHOICE} ") for note in notes)
    assert any(f"offers here: {kernels}" in line for line in score_notes(found))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("sse4_2", []),
        ("avx2 fma", ["Haswell", "Zen"]),
        ("avx2 fma avx512f avx512bw avx512dq avx512vl", ["Haswell", "Zen", "SkylakeX"]),
        ("avx2 fma avx512f avx512bw avx512dq avx512vl avx512_bf16", ["Haswell", "Zen", "SkylakeX", "Cooperlake"]),
    ],
)
def test_no_kernel_is_tried_that_the_processor_cannot_run(
    monkeypatch: pytest.MonkeyPatch, flags: str, expected: list[str]
) -> None:
    monkeypatch.setattr(semrec.bench.kernels, "_processor_flags", lambda: frozenset(flags.split()))
    assert kernel_choices("faiss-cpu") == [LIBRARY_CHOICE, *expected]
    assert kernel_choices("torch") == [LIBRARY_CHOICE]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("coarse", FORMATS)
def test_hard_data_is_still_exact(data: str, coarse: str) -> None:
    problem = generated_problem(data, NUM_ITEMS, NUM_USERS, dimension=DIMENSION)
    options = {"num_threads": 1, "rounds": 1, "coarse": coarse, "peers": False, "memory": False, "processes": False}
    found = bench_scoring(problem, ks=(20,), **options)
    assert [(row.coarse, row.equal) for row in found if row.engine == "cpu"] == [(coarse, True)] * 3


def test_a_wrong_score_is_found_and_fails_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    honest = semrec.bench.contestants._engine_run

    def dishonest(engine, queries):
        def run(k, stop):
            found, seconds = honest(engine, queries)(k, stop)
            if engine.name == "cpu":
                found = replace(found, scores=np.nextafter(found.scores, np.float32(1)))
            return found, seconds

        return run

    monkeypatch.setattr(semrec.bench.contestants, "_engine_run", dishonest)
    result = scoring(*SMALL, "--no-peers", "--k", "3", "--threads", "1", "--json", str(tmp_path / "rows.json"))
    assert (result.exit_code, "differs from the reference" in result.output) == (1, True), result.output
    found = json.loads((tmp_path / "rows.json").read_text())["rows"]
    assert {row["equal"] for row in found if row["engine"] == "cpu"} == {False}
    assert [row["equal"] for row in found if row["engine"] == "reference"] == [True]


@pytest.mark.parametrize("data", DATA)
def test_problems_are_what_they_say(data: str) -> None:
    problem = generated_problem(data, 2_000, 50, dimension=DIMENSION)
    again = generated_problem(data, 2_000, 50, dimension=DIMENSION)
    assert again.users_UD.tobytes() == problem.users_UD.tobytes()
    assert again.seen_rows.tobytes() == problem.seen_rows.tobytes()
    lengths = np.diff(problem.seen_offsets)
    assert lengths[0] == 1_000
    assert (lengths[1:] >= 60).all()
    assert (lengths[1:] <= 100).all()
    seen = problem.queries("seen")
    for q in range(seen.num_queries):
        own = seen.seen_rows[seen.seen_offsets[q] : seen.seen_offsets[q + 1]]
        assert (np.diff(own) > 0).all()
    shard, users = problem.shard("filters"), problem.queries("filters")
    shares = [eligible_items(shard.words_IW, words, shard.clause_ranges).mean() for words in users.words_QW]
    assert 0.02 < min(shares) < max(shares) < 0.98
    assert {int(words[0]).bit_count() for words in users.words_QW} == {2, 3}
    assert {int(words[1]) for words in users.words_QW} == {2, 6, 14, 30, 62}
    _, counts = np.unique(shard.vectors(), axis=0, return_counts=True)
    assert counts.max() == (500 if data == "duplicates" else 1)


def test_a_release_brings_its_own_users(workspace: Workspace) -> None:
    release = Release(workspace.storage, newest_release(workspace.storage))
    problem = release_problem(release, 20)
    parts = [release.user_part(part) for part in range(4)]
    own = np.concatenate([part.queries.vectors_QD[part.of_source("personal")] for part in parts])
    assert len(own) == 24
    assert problem.users_UD.tolist() == own[:20].tolist()
    assert problem.items.vectors().tobytes() == release.shard().vectors().tobytes()
    assert release_problem(release, 25).num_users == 25  # more than there are: generated


def test_the_command_writes_rows_and_plot(workspace: Workspace, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="NO MATPLOTLIB: install the extra `bench` to test the plot")
    files = ["--json", str(tmp_path / "rows.json"), "--plot", str(tmp_path / "rows.svg")]
    result = scoring("-w", workspace.uri, *SMALL[2:], "--k", "3", "--no-filters", "--coarse", "bfloat16", *files)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "rows.json").read_text())
    assert set(written) == {"machine", "rows"}
    assert set(written["rows"][0]) == set(ScoreBenchRow.__dataclass_fields__)
    found = [(row["engine"], row["variant"], row["equal"]) for row in written["rows"] if row["device"] == "cpu"]
    assert found[:2] == [("cpu", "plain", True), ("cpu", "seen", True)]
    assert ("torch", "plain", None) in found
    assert {row["data"] for row in written["rows"]} == {"release"}
    assert "<svg" in (tmp_path / "rows.svg").read_text()
    assert SEED_FIGURES in result.output


def test_the_plot_is_a_picture_of_every_row(rows: list[ScoreBenchRow], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="NO MATPLOTLIB: install the extra `bench` to test the plot")
    on_gpu = [replace(row, device="cuda") for row in rows if row.engine == "torch"]
    plot_scoring([*rows, *on_gpu], str(tmp_path / "rows.png"), "a machine")
    assert (tmp_path / "rows.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_fits_120_columns(rows: list[ScoreBenchRow]) -> None:
    sink = StringIO()
    # Of a matrix of 19 kB and 40 users these are the noise of a machine.
    figures = {"users_per_s": 123_456.0, "ratio_to_faiss": 123.45, "ratio_to_torch": 12.34, "of_product": 0.12}
    large = [replace(row, **figures, memory_ratio=12.34) for row in rows]
    large = [replace(row, product_users_per_s=row.product_users_per_s and 98_765.0) for row in large]
    large = [replace(row, coarse=row.coarse and "bfloat16") for row in large]  # the longest name
    Console(width=120, file=sink).print(score_table(large))
    assert "…" not in sink.getvalue()
    assert sink.getvalue().count("123,456") == sum(row.ratio_to_reading is None for row in rows)
    assert score_notes(rows)[-1] == SEED_FIGURES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nonsense"], "generated data 'nonsense'"),
        (["--coarse", "fp3"], "coarse format 'fp3'"),
        (["--plot", "rows.pdf"], "the plot rows.pdf"),
        (["--workspace", "W", "--data", "factors"], "--workspace with --data, --items or --dimension"),
        (["--k", "0"], "--k"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_measured(arguments: list[str], message: str) -> None:
    result = scoring(*arguments)
    assert (result.exit_code, message in result.output) == (2, True), result.output


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = scoring("--plot", "rows.png")
    assert (result.exit_code, 'pip install "semrec[bench]"' in result.output) == (2, True), result.output


def test_rows_survive_json(rows: list[ScoreBenchRow]) -> None:
    assert [ScoreBenchRow(**row) for row in json.loads(json.dumps([asdict(row) for row in rows]))] == rows


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(InputError, match="0 rounds"):
        bench_scoring(generated_problem("clusters", 9, 2, dimension=8), ks=(1,), num_threads=1, rounds=0)
