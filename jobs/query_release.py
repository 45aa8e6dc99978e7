"""Ask the live pair: an item's neighbours, a user's list, or items by title.

semrec query --workspace W --item toy-story-1995
semrec query --workspace W --user viewer-0000001
semrec query --workspace W --search "toy story"
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from jobs.shell import WorkspaceOption, console, reported, run

if TYPE_CHECKING:
    from semrec.query import Hit

__all__ = ["main"]


@reported
def main(
    workspace: WorkspaceOption,
    item: Annotated[str | None, typer.Option(help="Item whose neighbours are wanted.")] = None,
    user: Annotated[str | None, typer.Option(help="User whose published list is wanted.")] = None,
    search: Annotated[str | None, typer.Option(help="Words of a title.")] = None,
    k: Annotated[int, typer.Option(min=1, help="Answers wanted.")] = 10,
) -> None:
    """Ask the live release and run."""
    if sum(value is not None for value in (item, user, search)) != 1:
        raise typer.BadParameter("give exactly one of --item, --user, --search")
    from semrec.query import published_list, search_titles, similar_items
    from semrec.release import Release
    from semrec.runs import require_live
    from semrec.workspace import Workspace

    storage = Workspace.open(workspace).storage
    live = require_live(storage)
    if user is not None:
        found = published_list(storage, live.run, user)
        _show(f"{user} ({found.source}, run {live.run})", found.hits[:k])
        if found.short_reason:
            console.print(found.short_reason)
    elif item is not None:
        _show(f"nearest to {item} (release {live.release})", similar_items(Release(storage, live.release), item, k))
    else:
        _show(f"titles with {search!r}", search_titles(Release(storage, live.release), str(search), k))


def _show(title: str, hits: list[Hit]) -> None:
    table = Table("", "item", "title", "score", title=title, title_justify="left")
    for place, hit in enumerate(hits, start=1):
        table.add_row(str(place), hit.item_id, hit.title, f"{hit.score:.4f}")
    console.print(table)


if __name__ == "__main__":
    run(main)
