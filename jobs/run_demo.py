"""Run the whole path on the embedded catalogue of films, with simulated viewers.

semrec demo
semrec demo --viewers 50000 --copies 20 --workspace /tmp/big-demo
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jobs.cli_common import (
    ON_GPUS,
    ConsoleProgress,
    OpenCompute,
    exit_on_error,
    run_as_program,
    settings_for_call,
    with_compute,
)
from jobs.printing import say, show_table, styled
from semrec.settings_file import change_settings, has_settings, setting_fields, write_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cluster.stages.pipeline import PipelineResult
    from semrec.online.answers import ScoredItem
    from semrec.online.release import OnlineRelease
    from semrec.workspace.folder import Workspace

__all__ = ["main"]

_SHOWN_ITEM = "toy-story-1995"
_NUM_BUCKETS = 8
_SETTINGS = {
    "release.relations_from": ("director", "genre"),
    # What a search finds for these viewers. It takes minutes; only the weights are chosen here, on a quarter of the viewers.
    "models.search": False,
    "models.search_users": 400,
    "models.nsvd_dimension": 64,
    "models.ials_dimension": 64,
    "models.ials_regularization": 0.03,
}
_SHOWN_PER_TASTE = 4
_TELLING = ("series", "director", "genre")  # what says most of how films are related comes first


@exit_on_error
@with_compute(*(name for name in ON_GPUS if name != "cpus_per_worker"))
def main(
    open_compute: OpenCompute,
    workspace: Annotated[str | None, typer.Option("--workspace", "-w", help="Default: a temporary folder.")] = None,
    viewers: Annotated[int, typer.Option(min=7, help="Simulated viewers.")] = 2_000,
    copies: Annotated[int, typer.Option(min=1, help="Copies of the catalogue, for scale tests.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the simulation.")] = 7,
    k: Annotated[
        int | None,
        typer.Option(help=f"Recommendations per viewer (default: {setting_fields()['score.k'].default})."),
    ] = None,
) -> None:
    """Run the whole path on 389 real films and print a result that a person can judge."""
    from cluster.stages.map import draw_release_map
    from cluster.stages.pipeline import run_pipeline
    from semrec.workspace.folder import Workspace

    opened = Workspace.create(workspace or tempfile.mkdtemp(prefix="semrec-demo-"), num_buckets=_NUM_BUCKETS)
    say(("semrec demo", "bold"), f" in {opened.uri}")
    if not has_settings(opened.storage):
        settings = change_settings(settings_for_call(opened, {"score.k": k}), _SETTINGS)
        write_settings(opened.storage, settings)
    settings = settings_for_call(opened, {"score.k": k})
    _import(opened, viewers, copies, seed)
    with open_compute() as compute:
        say((compute.describe(), "dim"))
        result = run_pipeline(opened, settings, compute=compute, progress=ConsoleProgress())
        draw_release_map(opened, None, compute=compute, progress=ConsoleProgress())
    _show(opened, result)
    say(f"\nlive: release {result.live.release}, run {result.live.run}")
    say(f"next: semrec serve -w {opened.uri}     the page and the API, on http://127.0.0.1:8000")
    say(f"      semrec query -w {opened.uri} --user viewer-0000003   |   semrec status -w {opened.uri}")


def _import(workspace: Workspace, viewers: int, copies: int, seed: int) -> None:
    from semrec.data import ColumnMap, import_interactions, import_items, import_table, import_users
    from semrec.demo import ONTOLOGY, film_items, viewer_interactions, viewer_rows

    items = import_items(workspace, film_items(copies))
    import_table(workspace, ONTOLOGY, fmt="turtle", kind="ontology", columns=ColumnMap())
    import_users(workspace, viewer_rows(viewers))
    batches = viewer_interactions(viewers, seed, copies)
    events = import_interactions(workspace, batches, repeats="latest", neutral_value=2.5)
    counts = f"{items.num_items:,} films, {viewers:,} viewers, {events.num_interactions:,} ratings"
    say((f"{'import':<8}", "green"), f" {counts}")


def _show(workspace: Workspace, result: PipelineResult) -> None:
    """Prints what is nearest to a film, what a viewer of each taste is recommended, and what that gains over popularity."""
    from semrec.changes.overlay import OverlayView
    from semrec.demo import TASTES
    from semrec.online.release import OnlineRelease

    served, released = OnlineRelease(workspace.storage, result.live.release, result.live.run), OverlayView.empty()

    def title_of(item_id: str) -> str:
        return served.item(item_id, released).title

    (ranked,) = served.rank([served.similar(_SHOWN_ITEM, released, k=5)], released)
    near = Table("", "film", "cosine", title="\nnearest to Toy Story (1995)", title_justify="left", title_style="bold")
    for rank, hit in enumerate(ranked.hits, start=1):
        near.add_row(str(rank), title_of(hit.item_id), f"{hit.score:.3f}")
    show_table(near)
    lists = Table(
        "taste", "pays for", "by", "recommended, never seen, on one of these services",
        title="\none viewer of each taste", title_justify="left", title_style="bold",
    )  # fmt: skip
    for number, taste in enumerate(TASTES):
        viewer = f"viewer-{number:07d}"
        published = served.published(viewer)
        assert published is not None  # the demo's own viewers
        taste_cells: list[Any] = [styled(f"{taste.name}\n", (viewer, "dim")), "\n".join(taste.platforms)]
        lists_by: list[tuple[str, Sequence[ScoredItem]]] = [("content", published.hits)]
        if len(result.models.models) > 1:
            lists_by = [("content", _hits_by_content(served, viewer)), ("all models", published.hits)]
        for name, hits in lists_by:
            titles = " · ".join(title_of(hit.item_id) for hit in hits[:_SHOWN_PER_TASTE])
            lists.add_row(*taste_cells, name, titles, end_section=name == lists_by[-1][0])
            taste_cells = ["", ""]
    show_table(lists)
    _show_reason(served, f"viewer-{0:07d}", title_of)
    if result.models.gain:
        difference, low, high = result.models.gain
        ndcg = result.models.ndcg
        say(
            f"\nheld-out likes of {result.models.num_users:,} viewers: nDCG@10 {ndcg['popularity']:.3f} by popularity, "
            f"{ndcg['chosen']:.3f} by all models, {difference:+.3f} [{low:+.3f}, {high:+.3f}]"
        )


def _show_reason(served: OnlineRelease, viewer: str, title_of: Callable[[str], str]) -> None:
    """Prints how a film that a viewer is recommended is related to one they liked."""
    from semrec.changes.overlay import OverlayView
    from semrec.online.explain import explain

    published, released = served.published(viewer), OverlayView.empty()
    assert published is not None
    explained = explain(served, served.profile(viewer, [], released), published.hits, released)
    reasons = {one.item_id: one.reason for one in explained if one.reason}
    if reasons:
        ranks = {item_id: (len(way), _TELLING.index(way[0].predicate)) for item_id, way in reasons.items()}
        item_id = min(ranks, key=lambda item_id: ranks[item_id])
        ways = ", ".join(edge.end.replace("=", " ") for edge in reasons[item_id] if not edge.is_inverse)
        say(f"\nwhy {title_of(item_id)}: {viewer} liked {title_of(reasons[item_id][0].start)}, with the same {ways}")


def _hits_by_content(served: OnlineRelease, viewer: str) -> Sequence[ScoredItem]:
    """Returns a viewer's first items by the components alone that compare items, which are those that know the texts."""
    from dataclasses import replace

    from semrec.changes.overlay import OverlayView
    from semrec.online.users import rank_query_of

    state = served.user(viewer)
    assert state is not None and state.vector is not None  # the viewers that are shown have watched something
    by_content = replace(state, vector=served.release.components.comparing(state.vector[None])[0])
    (ranked,) = served.rank([rank_query_of(by_content, k=_SHOWN_PER_TASTE)], OverlayView.empty())
    return ranked.hits


if __name__ == "__main__":
    run_as_program(main)
