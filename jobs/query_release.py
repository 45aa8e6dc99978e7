"""Ask the live pair: an item's neighbours, a user's list, or items by title.

semrec query --workspace W --item toy-story-1995
semrec query --workspace W --user viewer-0000001
semrec query --workspace W --search "toy story"
semrec query --workspace W --related toy-story-1995
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jobs.cli_common import exit_on_error, run_as_program, with_workspace
from jobs.printing import one_line, say, show_table

if TYPE_CHECKING:
    from semrec.online.release import OnlineRelease
    from semrec.workspace.folder import Workspace

__all__ = ["main"]


@exit_on_error
@with_workspace()
def main(
    workspace: Workspace,
    item: Annotated[str | None, typer.Option(help="Item whose neighbours are wanted.")] = None,
    user: Annotated[str | None, typer.Option(help="User whose published list is wanted.")] = None,
    search: Annotated[str | None, typer.Option(help="Words of a title.")] = None,
    related: Annotated[str | None, typer.Option(help="Item whose relations to others are wanted.")] = None,
    k: Annotated[int, typer.Option(min=1, help="Answers wanted.")] = 10,
) -> None:
    """Ask the live release and run."""
    if sum(value is not None for value in (item, user, search, related)) != 1:
        raise typer.BadParameter("give exactly one of --item, --user, --search, --related")
    from semrec.online.release import OnlineRelease
    from semrec.runs.live import require_live

    storage = workspace.storage
    live = require_live(storage)
    served = OnlineRelease(storage, live.release, live.run)
    if user is not None:
        _show_user(served, user, k)
    elif item is not None:
        _show_similar(served, item, k)
    elif related is not None:
        _show_related(served, related, k)
    else:
        _show_titles(served, str(search), k)


def _show_user(served: OnlineRelease, user: str, k: int) -> None:
    from semrec.errors import MissingArtefactError

    published = served.published(user)
    if published is None:
        raise MissingArtefactError(
            f"no user {user!r} in run {served.run_id}", expected="a user of the release", remedy="Check the id."
        )
    _show(served, f"{user} ({published.source}, run {served.run_id})", published.hits[:k])
    if published.short_reason:
        say(published.short_reason)


def _show_similar(served: OnlineRelease, item: str, k: int) -> None:
    from semrec.changes.overlay import OverlayView

    released = OverlayView.empty()
    (ranked,) = served.rank([served.similar(item, released, k=k)], released)
    _show(served, f"nearest to {item} (release {served.release_id})", ranked.hits)


def _show_related(served: OnlineRelease, item: str, k: int) -> None:
    from semrec.changes.overlay import OverlayView
    from semrec.online.relations import related_items

    table = Table("", "item", "by way of", title=one_line(f"related to {item}"), title_justify="left")
    for rank, one in enumerate(related_items(served, item, k, OverlayView.empty()), start=1):
        table.add_row(str(rank), one_line(one.item_id), one_line(one.path.in_words()))
    show_table(table)


def _show_titles(served: OnlineRelease, words: str, k: int) -> None:
    from semrec.online.items import items_titled

    item_ids = items_titled(served.release.items, words, k)
    _show(served, f"titles with {words!r}", [(item_id, None) for item_id in item_ids])


def _show(served: OnlineRelease, title: str, hits: Iterable[tuple[str, Any]]) -> None:
    table = Table("", "item", "title", "score", title=one_line(title), title_justify="left")
    for rank, (item_id, score) in enumerate(hits, start=1):
        name = served.items.facts(served.items.row_of[item_id]).title
        table.add_row(str(rank), one_line(item_id), one_line(name), "" if score is None else f"{score:.4f}")
    show_table(table)


if __name__ == "__main__":
    run_as_program(main)
