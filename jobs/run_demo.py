"""The whole path on the embedded catalogue of films, with simulated viewers.

semrec demo
semrec demo --viewers 50000 --copies 20 --workspace /tmp/big-demo
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Annotated

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
from semrec.settings import has_settings, setting_fields, write_settings

if TYPE_CHECKING:
    from cluster.stages.pipeline import PipelineResult
    from semrec.workspace.folder import Workspace

__all__ = ["main"]

_SHOWN_ITEM = "toy-story-1995"
_NUM_BUCKETS = 8


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
    settings = settings_for_call(opened, {"score.k": k})
    if not has_settings(opened.storage):
        write_settings(opened.storage, settings)
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
    from semrec.data import import_interactions, import_items, import_users
    from semrec.demo import film_items, viewer_interactions, viewer_rows

    items = import_items(workspace, film_items(copies))
    import_users(workspace, viewer_rows(viewers))
    batches = viewer_interactions(viewers, seed, copies)
    events = import_interactions(workspace, batches, repeats="latest", neutral_value=2.5)
    counts = f"{items.num_items:,} films, {viewers:,} viewers, {events.num_interactions:,} ratings"
    say((f"{'import':<8}", "green"), f" {counts}")


def _show(workspace: Workspace, result: PipelineResult) -> None:
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
        "taste", "pays for", "recommended, never seen, on one of these services",
        title="\none viewer of each taste", title_justify="left", title_style="bold", show_lines=True,
    )  # fmt: skip
    for number, taste in enumerate(TASTES):
        published = served.published(f"viewer-{number:07d}")
        assert published is not None  # the demo's own viewers
        titles = " · ".join(title_of(hit.item_id) for hit in published.hits[:6])
        lists.add_row(styled(f"{taste.name}\n", (published.user_id, "dim")), "\n".join(taste.platforms), titles)
    show_table(lists)


if __name__ == "__main__":
    run_as_program(main)
