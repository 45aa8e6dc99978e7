"""Hierarchies of an ontology in eligibility and filters: the batch, the service, and items that came online."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from cluster.compute import InProcess
from cluster.stages.release import build_release
from helpers.serving_world import World, changed_items, make_world, publish_world, put, reference
from semrec.changes.overlay import OverlayView
from semrec.changes.relations import RelationChange
from semrec.data import ColumnMap, import_table
from semrec.errors import InputError, TooManyRejectedError
from semrec.evaluation.dataset import read_dataset
from semrec.graph.graph import Edge
from semrec.models.base import TrainingData
from semrec.models.graph import GraphModel
from semrec.online.explain import why_not
from semrec.online.filters import Filters
from semrec.online.relations import paths_between
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of
from semrec.owl import SUBCLASS_OF
from semrec.progress import NoProgress
from semrec.release.reader import Release
from semrec.settings import ReleaseSettings
from semrec.workspace.manifests import ModelSpec

pytestmark = pytest.mark.skipif(find_spec("pyoxigraph") is None, reason="NOT TESTED: pyoxigraph is not installed")

NOTHING = OverlayView.empty()
#: Kino lies below Lumina, and Lumina below Marquee; no item of the release is on Kino, is a Slasher, or says Dark.
TURTLE = """
@prefix : <> . @prefix genre: <genre=> . @prefix platform: <platform=> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> . @prefix owl: <http://www.w3.org/2002/07/owl#> .
platform:Kino rdfs:subClassOf platform:Lumina .
platform:Lumina rdfs:subClassOf platform:Marquee .
genre:Slasher rdfs:subClassOf genre:Horror .
genre:Horror rdfs:subClassOf genre:Dark .
genre:Noir rdfs:subClassOf genre:Dark .
:sequel_of a owl:TransitiveProperty .
<n07> :sequel_of <n03> . <n03> :sequel_of <n02> .
"""
BELOW = {
    "Lumina": {"Kino"},
    "Marquee": {"Lumina", "Kino"},
    "Horror": {"Slasher"},
    "Dark": {"Horror", "Noir", "Slasher"},
}


def import_ontology(world: World, folder: Path, turtle: str, **options: float) -> None:
    file = folder / "ontology.ttl"
    file.write_text(turtle)
    import_table(world.workspace, file, fmt="turtle", kind="ontology", columns=ColumnMap(), **options)


def with_below(values: list[str]) -> list[str]:
    return [*values, *(value for wide in values for value in BELOW.get(wide, ()))]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Published twice, with another hierarchy of genres before, by which eligibility does not go."""
    made = make_world(tmp_path_factory.mktemp("ontology"))
    folder = tmp_path_factory.mktemp("turtle")
    import_ontology(made, folder, TURTLE.replace("genre:Noir rdfs:subClassOf genre:Dark .", ""))
    before, _ = publish_world(made.workspace)
    import_ontology(made, folder, TURTLE)
    release_id, run_id = publish_world(made.workspace)
    releases = (made.release_id, before, release_id)
    none, first, last = (made.workspace.storage.read_json(f"releases/{name}/plan.json")["parts"] for name in releases)
    assert before != release_id and first == last != none
    return replace(made, release_id=release_id, run_id=run_id)


@pytest.fixture(scope="module")
def served(world: World) -> OnlineRelease:
    return world.serve()


@pytest.mark.parametrize("asked", [[], ["Horror"], ["Dark"], ["Comedy", "Slasher"]])
@pytest.mark.parametrize("is_changed", [False, True])
def test_a_value_includes_all_below_it(world: World, served: OnlineRelease, asked: list[str], is_changed: bool) -> None:
    """Held against sets of values that are written out here; the overlay's items have values that the release has not."""
    of_new = [{"genre": ["Slasher"], "platform": ["Kino"]}, {"genre": ["Noir"], "platform": ["Lumina"]}]
    changes = [
        put(item_id, np.array([2, n, -1], np.float32), of_new[n], n + 1) for n, item_id in enumerate(("m1", "n05"))
    ]
    view = OverlayView.of(changes) if is_changed else NOTHING
    items, num_shown = changed_items(world.items, view), 0
    for user in [f"user-{n}" for n in range(0, 40, 3)]:
        state, platforms = served.user(user), with_below(world.stated[user])
        filters = Filters({"genre": frozenset(asked)} if asked else {})
        rank_query = rank_query_of(state, filters, 6)
        (ranked,) = served.rank([rank_query], view)
        by_hand = replace(rank_query, filters=Filters({"genre": frozenset(with_below(asked))} if asked else {}))
        seen = {served.items.ids[row] for row in state.seen_rows.tolist()}
        assert [(hit.item_id, hit.score.tobytes()) for hit in ranked.hits] == reference(items, by_hand, seen, platforms)
        assert served.num_excluded(rank_query, ranked.hits, view) == 0
        num_shown += len(ranked.hits)
        if not asked and not is_changed:
            assert list(served.published(user).hits) == list(ranked.hits[: len(served.published(user).hits)])
    assert num_shown > 20


def test_filters_are_prepared_as_they_are_ranked_and_stay_so_when_other_relations_change(served: OnlineRelease) -> None:
    asked, view = Filters({"genre": frozenset(["Horror"])}), OverlayView.of([put("m1", np.ones(3, np.float32), {})])
    below = RelationChange("genre=Comedy", SUBCLASS_OF, "genre=Horror", sequence=1)
    view = view.with_relations(view.relations.with_changes([below]))
    served.prepare(asked, view)
    view = view.with_relations(view.relations.with_changes([RelationChange("n01", "near", "n02", sequence=2)]))
    ranked = served.relations.filters(asked, view.relations)
    assert ranked.any_of["genre"] == {"Horror", "Slasher", "Comedy"} and served.is_prepared(ranked, view)
    assert served.relations.filters(asked, view.relations) is ranked  # made once for all queries of a batch


def test_what_can_be_asked_and_why_not(world: World, served: OnlineRelease) -> None:
    assert served.attributes["genre"] == ["Comedy", "Dark", "Drama", "Horror", "Noir"]
    state = served.users.anonymous()
    noir = next(name for name, item in world.items.items() if item.attributes.get("genre") == ["Noir"])
    reasons = {
        genre: why_not(served, rank_query_of(state, Filters({"genre": frozenset([genre])})), noir, NOTHING, []).reason
        for genre in ("Dark", "Horror")
    }
    assert reasons["Horror"] == "filtered" and reasons["Dark"] != "filtered"


def test_inferred_relations_are_on_the_way_and_say_so(world: World, served: OnlineRelease) -> None:
    (path,) = paths_between(served, "n07", "n02", 1, NOTHING)
    assert path.edges == (Edge("n07", "sequel_of", "n02", False, "owl:TransitiveProperty"),)
    assert path.reversed().edges == (Edge("n02", "sequel_of", "n07", True, "owl:TransitiveProperty"),)


def test_a_release_has_the_item_vectors_that_are_evaluated(world: World) -> None:
    workspace, silent = world.workspace, NoProgress()
    built = build_release(
        workspace, ReleaseSettings(), embedding=None, compute=InProcess(), progress=silent,
        models=(ModelSpec(kind="graph"),),
    )  # fmt: skip
    release = Release(workspace.storage, built.release_id)
    dataset = read_dataset(workspace, with_relations=True)
    data = TrainingData(dataset.num_items, dataset.content, np.zeros(0, np.float32), lambda: iter([dataset.events]))
    _, items_ID = GraphModel.fit(data, {})
    assert release.shard().vectors().tobytes() == items_ID.tobytes()
    assert items_ID.any(axis=1).sum() > 60 and set(read_dataset(workspace).content) == {"text"}
    assert release.user_part(0).queries.vectors_QD.any()


def test_what_an_ontology_may_not_say(world: World, tmp_path: Path) -> None:
    with pytest.raises(TooManyRejectedError, match="unsupported axiom"):
        import_ontology(world, tmp_path, TURTLE + "<n07> owl:sameAs <n08> .")
    import_ontology(world, tmp_path, TURTLE + "<n07> owl:sameAs <n08> .", max_rejected=1)
    with pytest.raises(InputError, match="is not Turtle"):
        import_ontology(world, tmp_path, TURTLE + "genre:Slasher rdfs:subClassOf .")
    import_ontology(world, tmp_path, TURTLE + "genre:Comedy owl:disjointWith genre:Drama . genre:Typo a owl:Class .")
    both = min(
        name for name, item in world.items.items() if {"Comedy", "Drama"} <= set(item.attributes.get("genre", ()))
    )
    with pytest.raises(InputError, match=f"'{both}' is in 'genre=Comedy' and 'genre=Drama'"):
        publish_world(world.workspace)
