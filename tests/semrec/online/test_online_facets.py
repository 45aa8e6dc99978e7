"""Filters ask for what an encoder reads in the items' texts, those of changed items included."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from cluster.compute import InProcess
from cluster.stages.pipeline import run_pipeline
from jobs.cli import app
from semrec.changes.overlay import ItemChange, OverlayView
from semrec.contracts import ATTRIBUTES_TYPE
from semrec.data import ItemRow, import_interactions, import_items
from semrec.encoders.facets import facets_of
from semrec.encoders.lexicon import PRIMITIVES, read_lexicon
from semrec.encoders.primitive_counts import MAX_EXPONENT, signatures
from semrec.encoders.primitives import PrimitivesEncoder
from semrec.encoders.primitives_facet import PrimitivesFacet
from semrec.encoders.settings import embed_settings
from semrec.errors import EncoderError, InputError
from semrec.online.explain import why_not
from semrec.online.filters import Filters, each_alone
from semrec.online.hybrid import search_queries
from semrec.online.release import OnlineRelease
from semrec.progress import NoProgress
from semrec.release.attributes import FlatAttributes
from semrec.release.plan import plan_release
from semrec.release.reader import newest_release
from semrec.runs.gates import Allowed
from semrec.settings import EncoderSettings, ReleaseSettings, ScoreSettings, Settings
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import EmbeddingManifest

NOTHING = OverlayView.empty()
TEXTS = {
    "both": "A sister votes and decides, out of love.",
    "loves": "A sister loves; she is happy and sad.",
    "talk": "A sister says what was told.",
    "tree": "A tree of a sister.",
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace.create(str(tmp_path_factory.mktemp("w")), num_buckets=1)
    import_items(made, [ItemRow(item_id, f"title of {item_id}", text) for item_id, text in TEXTS.items()])
    import_interactions(made, [pa.table({"user_id": ["ann"], "item_id": ["tree"]})])
    settings = Settings(encoder=EncoderSettings(kind="primitives"), score=ScoreSettings(k=2))
    run_pipeline(made, settings, compute=InProcess("cpu"), progress=NoProgress(), allowed=Allowed(worse=True))
    return made


@pytest.fixture(scope="module")
def served(workspace: Workspace) -> OnlineRelease:
    return OnlineRelease(workspace.storage, newest_release(workspace.storage))


def found(served: OnlineRelease, *values: str, overlay: OverlayView = NOTHING, all_of: bool = False) -> set[str]:
    asked = {"primitives": frozenset(values)}
    filters = Filters(all_of=each_alone(asked)) if all_of else Filters(asked)
    served.check_filters(filters, overlay)
    queries = search_queries(served, overlay, "sister", [], mode="words", filters=filters)
    return {hit.item_id for hit in served.rank(queries, overlay)[0].hits}


def put(item_id: str, text: str) -> ItemChange:
    return ItemChange(1, item_id, False, item_id, text, {}, np.full(9, 1 / 3, np.float32))


def test_a_filter_asks_for_at_least_so_much(served: OnlineRelease) -> None:
    assert found(served, "FEEL") == {"both", "loves"}
    assert found(served, "FEEL:2") == {"loves"}
    assert found(served, "DECIDE:2") == {"both"}
    assert found(served, "FEEL:2", "COMM") == {"loves", "talk"}
    assert found(served, "ITER:2") == set()
    assert found(served, "FEEL", "DECIDE", all_of=True) == {"both"}
    assert found(served, "FEEL:2", "COMM", all_of=True) == set()
    assert {"FEEL", "FEEL:2"} < set(served.attributes["primitives"])


def test_changed_items_pass_by_their_new_texts(served: OnlineRelease, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = [put("loves", "A sister says it again."), put("new", "A sister feels love.")]
    overlay = OverlayView.of(changes)
    assert found(served, "FEEL", overlay=overlay) == {"both", "new"}
    assert found(served, "FEEL", "FEEL:2", overlay=overlay, all_of=True) == {"new"}
    (query,) = search_queries(
        served, overlay, "sister", [], mode="words", filters=Filters({"primitives": frozenset({"FEEL:2"})})
    )
    why = {item: why_not(served, query, item, overlay, []) for item in ("loves", "both")}
    assert [why[item].reason for item in why] == ["filtered", "filtered"]
    assert why["both"].detail.endswith("primitives; it has: RELATE, DECIDE, DECIDE:2, FEEL")
    # By another lexicon nothing is known of the new texts.
    monkeypatch.setattr(type(facets_of([served.release.manifest.encoder])[0]), "of_texts", refuse)
    assert found(served, "FEEL", overlay=OverlayView.of([*changes, put("talk", "A sister feels.")])) == {"both"}


def refuse(*_: object) -> None:
    raise EncoderError("another lexicon", expected="that of the release", remedy="")


def test_what_cannot_be_asked_for_is_refused(served: OnlineRelease, workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="primitives 'FEAR'; expected one of RELATE, RELATE:2, MODAL"):
        found(served, "FEEL", "FEAR")
    with pytest.raises(InputError, match="primitives 'FEAR'; expected one of"):
        found(served, "FEEL", "FEAR", all_of=True)
    asked = ["query", "-w", workspace.uri, "--search", "sister", "--mode", "words"]
    answer = CliRunner().invoke(app, [*asked, "--where", "primitives:FEEL:2"])
    assert "title of loves" in answer.stdout and "title of both" not in answer.stdout
    answer = CliRunner().invoke(app, [*asked, "--where-all", "primitives:FEEL", "--where-all", "primitives:DECIDE"])
    assert "title of both" in answer.stdout and "title of loves" not in answer.stdout
    assert CliRunner().invoke(app, [*asked, "--where", "primitives:FEAR"]).exit_code == 2
    assert CliRunner().invoke(app, [*asked, "--where-all", "primitives"]).exit_code == 2


def test_a_release_with_facets_is_another_than_one_without(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = EmbeddingManifest.names(workspace.storage)
    settings = ReleaseSettings()
    release_id = plan_release(workspace, name, settings).release_id
    monkeypatch.setattr(PrimitivesFacet, "version", 2)
    other_id = plan_release(workspace, name, settings).release_id
    monkeypatch.setattr("semrec.release.plan.facets_of", lambda identities: [])
    assert len({release_id, other_id, plan_release(workspace, name, settings).release_id}) == 3


def test_values_are_what_a_signature_is_divided_by() -> None:
    identity = PrimitivesEncoder.plan(embed_settings({"device": "cpu"})).to_json()
    (facet,) = facets_of([identity, {"kind": "text"}, {}])
    signature_N = signatures(np.array([read_lexicon().plain_counts(text) for text in TEXTS.values()]))
    own = signatures(MAX_EXPONENT * np.eye(len(PRIMITIVES), dtype=np.int64)) ** 0.5
    expected = [
        [value for value, (name, _, count) in zip(facet.values, (v.partition(":") for v in facet.values), strict=True)
         if signature % int(own[PRIMITIVES.index(name)]) ** int(count or 1) == 0]
        for signature in signature_N.tolist()
    ]  # fmt: skip
    assert facet.of_texts(list(TEXTS.values())).to_pylist() == expected
    with pytest.raises(EncoderError, match="with which the run was planned"):
        facets_of([{**identity, "weights_sha256": "0" * 64}])[0].of_texts(["a"])


def test_an_item_cannot_state_a_facet(tmp_path: Path) -> None:
    workspace, stated = Workspace.create(str(tmp_path), num_buckets=1), {"primitives": ["FEEL", "oil"], "of": ["x"]}
    import_items(workspace, [ItemRow("a", "A", "A sister loves.", stated), ItemRow("b", "B", "A tree.", stated)])
    settings = Settings(encoder=EncoderSettings(kind="primitives"))
    allowed = Allowed(empty=True, worse=True)
    run_pipeline(workspace, settings, compute=InProcess("cpu"), progress=NoProgress(), allowed=allowed)
    served = OnlineRelease(workspace.storage, newest_release(workspace.storage))
    assert served.attributes == {"of": ["x"], "primitives": ["FEEL", "RELATE"]}
    assert served.filtered("b", NOTHING) == {"primitives": [], "of": ["x"]}
    assert found(served, "FEEL") == {"a"}
    overlay = OverlayView.of([replace(put("new", "A tree of a sister."), attributes=stated)])
    assert found(served, "FEEL", overlay=overlay) == {"a"}


def test_an_attribute_is_put_in_flat_ones_as_in_dictionaries() -> None:
    items = [[("genre", ["a", "b"]), ("of", ["u", "v"])], None, [("year", ["1"]), ("of", ["w"])]]
    flat = FlatAttributes(pa.chunked_array([pa.array(items, ATTRIBUTES_TYPE)]))
    column = pa.chunked_array([pa.array([["x"]]), pa.array([[], ["y", "z"]])])
    for name in ("new", "of"):
        flat.put(name, column)
    new = [{"new": own, "of": own} for own in (["x"], [], ["y", "z"])]
    assert flat.dicts() == [{"genre": ["a", "b"], **new[0]}, new[1], {"year": ["1"], **new[2]}]
    assert flat.values_of("of") == ["x", "y", "z"]
