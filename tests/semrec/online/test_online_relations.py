"""A release with relations: they change no list, and say how items are related and why one is recommended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from helpers.serving_world import World, gone, import_relations, make_world, publish_world
from semrec.changes.overlay import OverlayView
from semrec.errors import CorruptArtefactError, InputError, MissingArtefactError
from semrec.graph.graph import Edge
from semrec.online.explain import explain
from semrec.online.relations import paths_between, related_items
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of
from semrec.workspace.manifests import MatrixManifest, ReleaseManifest

NOTHING = OverlayView.empty()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("relations"))


@pytest.fixture(scope="module")
def related(plain: World, tmp_path_factory: pytest.TempPathFactory) -> OnlineRelease:
    """The same workspace with two directors, and genres as relations."""
    import_relations(plain.workspace, tmp_path_factory.mktemp("relations"))
    release_id, run_id = publish_world(plain.workspace, relations_from=("genre",))
    return replace(plain, release_id=release_id, run_id=run_id).serve()


def test_relations_change_no_list_and_no_user_part(plain: World, related: OnlineRelease) -> None:
    storage, before = plain.workspace.storage, plain.serve()
    assert plain.serve().release.graph is None and before.release_id != related.release_id
    matrices = [MatrixManifest.read(storage, release) for release in (plain.release_id, related.release_id)]
    assert matrices[0].fingerprint == matrices[1].fingerprint
    parts = [ReleaseManifest.read(storage, release).users for release in (plain.release_id, related.release_id)]
    assert [part.content_digest for part in parts[0]] == [part.content_digest for part in parts[1]]
    for user in ("user-0", "user-5"):
        assert before.published(user).hits == related.published(user).hits


def test_related_items_have_their_way_and_miss_what_was_deleted(related: OnlineRelease) -> None:
    first, second = related_items(related, "n07", 2, NOTHING)
    assert (first.item_id, first.path.edges) == ("n03", (Edge("n07", "sequel_of", "n03", False),))
    assert second.item_id == "n01"
    assert [edge.predicate for edge in second.path.edges] == ["directed_by", "directed_by"]
    view = OverlayView.of([gone("n03", 1)])
    assert related_items(related, "n07", 1, view)[0].item_id == "n01"
    assert [one.item_id for one in related_items(related, "n01", 9, NOTHING, predicates=["directed_by"])] == ["n07"]
    with pytest.raises(MissingArtefactError, match="n03"):
        related_items(related, "n03", 1, view)
    (path,) = paths_between(related, "n01", "n03", 1, NOTHING)
    assert [edge.end for edge in path.edges] == ["kaye", "n07", "n03"]
    by_way = paths_between(related, "n01", "n03", 3, OverlayView.of([gone("n07", 1)]))
    assert "n07" not in {edge.end for path in by_way for edge in path.edges}
    with pytest.raises(InputError, match="no relation names 'n03'"):
        paths_between(related, "n01", "n03", 1, view)


def test_an_explanation_gives_the_way_from_something_liked(plain: World, related: OnlineRelease) -> None:
    num_reasons = 0
    for user in (f"user-{n}" for n in range(12)):
        profile, (ranked,) = (
            related.profile(user, [], NOTHING),
            related.rank([rank_query_of(related.user(user), k=6)], NOTHING),
        )
        for one in explain(related, profile, ranked.hits, NOTHING):
            if one.reason:
                num_reasons += 1
                assert one.reason[0].start in profile.names and one.reason[-1].end == one.item_id
                assert one.item_id != one.reason[0].start
        before = explain(plain.serve(), profile, ranked.hits, NOTHING)
        assert all(one.reason is None for one in before)
    assert num_reasons > 20


def test_a_damaged_graph_is_found(plain: World, related: OnlineRelease) -> None:
    related.release.check()
    path = Path(plain.workspace.storage.uri.removeprefix("file://")) / related.release.folder / "graph" / "targets.npy"
    content = path.read_bytes()
    path.write_bytes(content[:-4] + b"\1\1\1\1")
    try:
        with pytest.raises(CorruptArtefactError, match=r"graph/targets\.npy"):
            related.release.check()
    finally:
        path.write_bytes(content)


def test_attributes_that_no_item_has_and_releases_without_relations_are_refused(plain: World) -> None:
    with pytest.raises(InputError, match="relations from 'genres', an attribute that no item has"):
        publish_world(plain.workspace, relations_from=("genres",))
    with pytest.raises(MissingArtefactError, match="has no relations"):
        related_items(plain.serve(), "n07", 1, NOTHING)
