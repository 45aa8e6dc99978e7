"""Relations that change between releases: what answers see at once is what the next release holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.serving_world import World, import_relations, make_world, publish_world, put
from semrec.changes.compact import compact_changes
from semrec.changes.overlay import OverlayView
from semrec.changes.relations import RelationChange, checked_relations, relation_change_table
from semrec.changes.state import OverlayState, relation_log
from semrec.data import ColumnMap, ItemRow, import_items, import_table
from semrec.errors import InputError, MissingArtefactError
from semrec.graph.sparql import SparqlLimits
from semrec.online import relations as online_relations
from semrec.online.relations import answer_sparql, checked_changes, paths_between, reasons_for, related_items
from semrec.online.release import OnlineRelease
from semrec.workspace.folder import Workspace
from semrec.workspace.log import LogPositions
from semrec.workspace.manifests import RelationsManifest
from semrec.workspace.tables import read_table

_COLUMNS = ColumnMap(subject="subject", predicate="predicate", object="object", weight="weight")
_TURTLE = """
@prefix : <> . @prefix owl: <http://www.w3.org/2002/07/owl#> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
:directed_by rdfs:subPropertyOf :made_by . :made_by owl:inverseOf :made . :near a owl:SymmetricProperty . :kaye :born_in :york .
"""
CHANGES: list[dict[str, Any]] = [
    {"subject": "n07", "predicate": "directed_by", "object": "kaye", "deleted": True},
    {"subject": "n12", "predicate": "directed_by", "object": "kaye"},
    {"subject": "n12", "predicate": "near", "object": "n13", "weight": 0.5},
    {"subject": "n14", "predicate": "year", "object": "1995", "is_literal": True},
    {"subject": "n15", "predicate": "year", "object": "1995", "is_literal": True},
]


def change(workspace: Workspace, changes: Sequence[RelationChange]) -> None:
    log = relation_log(workspace.storage)
    log.open()
    log.append([(relation_change_table(changes), None)])


def view_of(workspace: Workspace, applied: LogPositions) -> OverlayView:
    return OverlayState(workspace.storage, applied).view(applied)


def stored(workspace: Workspace) -> dict[tuple[str, str, str], float]:
    manifest = RelationsManifest.read_if_there(workspace.storage)
    rows = (
        [row for part in manifest.parts for row in read_table(workspace.storage, part).to_pylist()] if manifest else []
    )
    return {(row["subject"], row["predicate"], row["object"]): row["weight"] for row in rows}


def online(workspace: Workspace) -> dict[tuple[str, str, str], float]:
    """The relations as a replica has them on top of what is stored."""
    manifest = RelationsManifest.read_if_there(workspace.storage)
    view = view_of(workspace, LogPositions(relations=manifest.applied_sequence if manifest else 0)).relations
    changed = {change.triple: None if change.deleted else change.weight for change in view.changes.values()}
    return {triple: weight for triple, weight in {**stored(workspace), **changed}.items() if weight is not None}


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "delete", "replace", "append", "run"]), st.sampled_from("abc")), max_size=10
    )
)
def test_any_order_of_imports_changes_and_runs_leaves_what_a_plain_table_holds(steps: list[tuple[str, str]]) -> None:
    plain: dict[tuple[str, str, str], float] = {}
    with TemporaryDirectory() as folder:
        workspace = Workspace.create(str(Path(folder) / "w"), num_buckets=2)
        import_items(workspace, [ItemRow("a", "a")])

        def imported(subject: str, weight: float, mode: Any) -> None:
            file = Path(folder) / "relations.csv"
            file.write_text(f"subject,predicate,object,weight\n{subject},near,z,{weight}\n")
            import_table(workspace, file, fmt="csv", kind="relations", columns=_COLUMNS, mode=mode)

        actions: dict[str, Callable[[str, float], object]] = {
            "put": lambda subject, weight: change(workspace, [RelationChange(subject, "near", "z", weight=weight)]),
            "delete": lambda subject, weight: change(workspace, [RelationChange(subject, "near", "z", deleted=True)]),
            "replace": lambda subject, weight: imported(subject, weight, "replace"),
            "append": lambda subject, weight: imported(subject, weight, "append"),
            "run": lambda subject, weight: compact_changes(workspace),
        }
        for number, (action, subject) in enumerate(steps):
            actions[action](subject, number + 0.5)
            if action == "replace":
                plain.clear()
            if action in ("put", "replace", "append"):
                plain[(subject, "near", "z")] = number + 0.5
            elif action == "delete":
                plain.pop((subject, "near", "z"), None)
        assert online(workspace) == plain
        compact_changes(workspace)
        assert stored(workspace) == online(workspace) == plain
        assert not compact_changes(workspace)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> tuple[OnlineRelease, OverlayView, OnlineRelease]:
    """A release with an ontology, what changed since, and the next release."""
    folder = tmp_path_factory.mktemp("changes")
    world = make_world(folder / "w")
    import_relations(world.workspace, folder)
    if find_spec("pyoxigraph"):
        (folder / "o.ttl").write_text(_TURTLE)
        import_table(world.workspace, folder / "o.ttl", fmt="turtle", kind="ontology", columns=ColumnMap())
    first = published(world)
    assert first.release.manifest.applied.relations == 0
    change(world.workspace, checked_changes(first, CHANGES, OverlayView.empty()))
    view = view_of(world.workspace, LogPositions.of(first.release.manifest.applied))
    assert compact_changes(world.workspace).num_relations == len(CHANGES)
    second = published(world)
    applied = LogPositions.of(second.release.manifest.applied)
    assert applied == LogPositions(relations=len(CHANGES)) and second.release_id != first.release_id
    assert not view_of(world.workspace, applied).relations
    return first, view, second


def published(world: World) -> OnlineRelease:
    release_id, run_id = publish_world(world.workspace, relations_from=("genre",))
    return replace(world, release_id=release_id, run_id=run_id).serve()


def test_answers_with_changes_are_those_of_the_next_release(
    worlds: tuple[OnlineRelease, OverlayView, OnlineRelease],
) -> None:
    first, view, second = worlds
    nothing, ids = OverlayView.empty(), [f"n{n:02d}" for n in range(70)]
    for item in ids:
        assert related_items(first, item, 5, view) == related_items(second, item, 5, nothing)
    assert related_items(first, "n12", 1, view)[0].item_id in ("n01", "n13")
    assert reasons_for(first, ["n12", "n14"], ids, view) == reasons_for(second, ["n12", "n14"], ids, nothing)
    assert paths_between(first, "n14", "n15", 3, view) == paths_between(second, "n14", "n15", 3, nothing)
    with pytest.raises(InputError, match="no relation names 'n14'"):
        paths_between(first, "n14", "n15", 1, nothing)


@pytest.mark.skipif(find_spec("pyoxigraph") is None, reason="NOT TESTED: pyoxigraph is not installed")
def test_sparql_sees_changes_and_what_follows_from_them(
    worlds: tuple[OnlineRelease, OverlayView, OnlineRelease],
) -> None:
    first, view, second = worlds
    everything = "SELECT ?s ?p ?o { ?s ?p ?o } ORDER BY ?s ?p ?o"
    limits = SparqlLimits(rows=10_000)
    before = answer_sparql(first, everything, limits, OverlayView.empty()).rows
    with_changes = answer_sparql(first, everything, limits, view).rows
    assert with_changes == answer_sparql(second, everything, limits, OverlayView.empty()).rows
    assert ["kaye", "made", "n12"] in with_changes and ["n13", "near", "n12"] in with_changes
    assert ["kaye", "made", "n07"] in before and ["kaye", "made", "n07"] not in with_changes
    assert answer_sparql(first, everything, limits, OverlayView.empty()).rows == before  # as released, again


def test_an_item_that_came_online_is_found_by_its_relations(
    worlds: tuple[OnlineRelease, OverlayView, OnlineRelease],
) -> None:
    first, _, _ = worlds
    change_of_new = RelationChange("brand new", "sequel_of", "n03", sequence=9)
    relations = OverlayView.empty().relations.with_changes([change_of_new])
    view = OverlayView.of([put("brand new", first.vector_of("n03", OverlayView.empty()), {})])
    found = [one.item_id for one in related_items(first, "n03", 5, view.with_relations(relations))]
    assert "brand new" in found
    assert "brand new" not in [one.item_id for one in related_items(first, "n03", 5, view)]


def test_relations_are_added_where_a_release_has_none(tmp_path: Path) -> None:
    served = make_world(tmp_path / "w").serve()
    view = OverlayView.empty().with_relations(
        OverlayView.empty().relations.with_changes([RelationChange("n01", "near", "n02", sequence=1)])
    )
    assert [one.item_id for one in related_items(served, "n01", 5, view)] == ["n02"]
    gone = view.with_relations(
        view.relations.with_changes([RelationChange("n01", "near", "n02", deleted=True, sequence=2)])
    )
    with pytest.raises(MissingArtefactError, match="has no relations"):
        related_items(served, "n01", 5, gone)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"subject": " ", "predicate": "near", "object": "b"}, "missing id"),
        ({"subject": "a", "predicate": "ne\0ar", "object": "b"}, "NUL byte"),
        ({"subject": "a", "predicate": "near", "object": "\ud800"}, "bad UTF-8"),
        ({"subject": "a", "predicate": "near", "object": "b", "weight": float("inf")}, "non-finite value"),
    ],
)
def test_what_an_import_would_refuse_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said if said == "bad UTF-8" else f"relation 1: {said}"):
        checked_relations([CHANGES[0], wrong])


def test_predicates_that_are_new_have_a_bound(
    worlds: tuple[OnlineRelease, OverlayView, OnlineRelease], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, view, _ = worlds
    known = {*first.relations.released.predicates, *(triple[1] for triple in view.relations.changes)}
    headed = {rule.head for rule in first.relations.released.rules}
    monkeypatch.setattr(online_relations, "_MOST_PREDICATES", len(known | headed) + 1)
    new = [{"subject": "a", "predicate": predicate, "object": "b"} for predicate in ("new", "newer")]
    assert checked_changes(first, new[:1], view)
    with pytest.raises(InputError, match=f"{len(known | headed) + 2} predicates"):
        checked_changes(first, new, view)
    monkeypatch.setattr(online_relations, "_MOST_PREDICATES", 1)
    assert checked_changes(first, CHANGES[1:], view)  # a release may have more of them


def test_only_what_was_imported_or_added_is_deleted(
    worlds: tuple[OnlineRelease, OverlayView, OnlineRelease],
) -> None:
    first, view, _ = worlds
    item = next(item for item in (f"n{n:02d}" for n in range(70)) if "genre" in first.item(item, view).attributes)
    genre = first.item(item, view).attributes["genre"][0]
    of_attribute = {"subject": item, "predicate": "genre", "object": genre, "is_literal": True, "deleted": True}
    with pytest.raises(InputError, match="which an attribute or the ontology says"):
        checked_changes(first, [of_attribute], view)
    with pytest.raises(MissingArtefactError, match="no relation 'n07 directed_by kaye' is stated"):
        checked_changes(first, CHANGES[:1], view)  # deleted before
    with pytest.raises(MissingArtefactError, match="no relation 'kaye made n01' is stated"):
        checked_changes(first, [{"subject": "kaye", "predicate": "made", "object": "n01", "deleted": True}], view)
    assert checked_changes(first, [{**CHANGES[1], "deleted": True}], view)[0].deleted  # added before
