"""Ask the live pair: an item's neighbours, a user's list, or items by a text or an image.

semrec query --workspace W --item toy-story-1995
semrec query --workspace W --user viewer-0000001
semrec query --workspace W --search "toys that come to life"
semrec query --workspace W --search "toy story" --mode words
semrec query --workspace W --search "sisters" --where genre:Drama --where primitives:FEEL:2
semrec query --workspace W --search "sisters" --where-all primitives:FEEL --where-all primitives:DECIDE
semrec query --workspace W --image poster.jpg
semrec query --workspace W --related toy-story-1995
semrec query --workspace W --sparql "SELECT ?who { <toy-story-1995> <director> ?who }"
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jobs.cli_common import exit_on_error, run_as_program, with_workspace
from jobs.printing import one_line, say, show_table

if TYPE_CHECKING:
    from semrec.online.anonymous import ContentVector
    from semrec.online.filters import Filters
    from semrec.online.release import OnlineRelease
    from semrec.workspace.folder import Workspace

__all__ = ["main"]


@exit_on_error
@with_workspace()
def main(
    workspace: Workspace,
    item: Annotated[str | None, typer.Option(help="Item whose neighbours are wanted.")] = None,
    user: Annotated[str | None, typer.Option(help="User whose published list is wanted.")] = None,
    search: Annotated[str | None, typer.Option(help="Text that items are wanted for.")] = None,
    mode: Annotated[
        str | None,
        typer.Option(help="Search by hybrid, dense (meaning) or words. Default: by all that the release has."),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Image: items that look like it are wanted, with --search or without.")
    ] = None,
    related: Annotated[str | None, typer.Option(help="Item whose relations to others are wanted.")] = None,
    sparql: Annotated[str | None, typer.Option(help="SPARQL query of the relations; names are relative IRIs.")] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="attribute:value: only items that have it, with --item, --search or --image. Several times; of several "
            "values of an attribute one is enough."
        ),
    ] = None,
    where_all: Annotated[
        list[str] | None, typer.Option(help="attribute:value, as --where: only items that have every one of them.")
    ] = None,
    k: Annotated[int, typer.Option(min=1, help="Answers wanted.")] = 10,
) -> None:
    """Ask the live release and run."""
    searched = search if search is not None else image
    if sum(value is not None for value in (item, user, searched, related, sparql)) != 1:
        raise typer.BadParameter("give exactly one of --item, --user, --search or --image, --related, --sparql")
    if mode is not None and (search is None or mode not in ("hybrid", "dense", "words")):
        raise typer.BadParameter("--mode hybrid, dense or words, with --search")
    if mode == "words" and image is not None:
        raise typer.BadParameter("--mode words does not go by an image")
    if (where or where_all) and item is None and searched is None:
        raise typer.BadParameter("--where and --where-all go with --item, --search or --image")
    from semrec.changes.overlay import OverlayView
    from semrec.online.filters import Filters, each_alone, wanted_values
    from semrec.online.release import OnlineRelease
    from semrec.runs.live import require_live

    storage = workspace.storage
    live = require_live(storage)
    served = OnlineRelease(storage, live.release, live.run)
    filters = Filters(wanted_values(where or ()), all_of=each_alone(wanted_values(where_all or ())))
    served.check_filters(filters, OverlayView.empty())
    if user is not None:
        _show_user(served, user, k)
    elif item is not None:
        _show_similar(served, item, k, filters)
    elif related is not None:
        _show_related(served, related, k)
    elif sparql is not None:
        _show_sparql(served, sparql, k)
    else:
        _show_found(served, search, image, k, mode, filters)


def _show_user(served: OnlineRelease, user: str, k: int) -> None:
    from semrec.errors import MissingArtefactError

    published = served.published(user)
    if published is None:
        raise MissingArtefactError(
            f"no user {user!r} in run {served.run_id}", expected="a user of the release", remedy="Check the id."
        )
    _show(served, f"{user} ({published.source}, run {served.run_id})", published.hits[:k])
    if published.recall:
        say(str(published.recall))
    if published.short_reason:
        say(published.short_reason)


def _show_similar(served: OnlineRelease, item: str, k: int, filters: Filters) -> None:
    from semrec.changes.overlay import OverlayView

    released = OverlayView.empty()
    (ranked,) = served.rank([served.similar(item, released, filters=filters, k=k)], released)
    _show(served, f"nearest to {item} (release {served.release_id})", ranked.hits)


def _show_related(served: OnlineRelease, item: str, k: int) -> None:
    from semrec.changes.overlay import OverlayView
    from semrec.online.relations import related_items

    table = Table("", "item", "by way of", title=one_line(f"related to {item}"), title_justify="left")
    for rank, one in enumerate(related_items(served, item, k, OverlayView.empty()), start=1):
        table.add_row(str(rank), one_line(one.item_id), one_line(one.path.in_words()))
    show_table(table)


def _show_sparql(served: OnlineRelease, text: str, k: int) -> None:
    from semrec.changes.overlay import OverlayView
    from semrec.graph.sparql import SparqlLimits
    from semrec.online.relations import answer_sparql

    answer = answer_sparql(served, text, SparqlLimits(rows=k), OverlayView.empty())
    table = Table(*map(one_line, answer.columns), title=f"release {served.release_id}", title_justify="left")
    for row in answer.rows:
        table.add_row(*(one_line(value or "") for value in row))
    show_table(table)
    if answer.truncated:
        say(f"There are more rows than {len(answer.rows):,}: see --k.")


def _show_found(
    served: OnlineRelease, text: str | None, image: Path | None, k: int, mode: Any, filters: Filters
) -> None:
    from semrec.changes.overlay import OverlayView
    from semrec.online.hybrid import default_mode, fused, search_queries

    of_text = None if text is None or mode == "words" else _embedded_text(served, text, is_needed=mode is not None)
    of_image = None if image is None else _embedded_image(served, image)
    if mode is None:
        has = {"has_encoder": of_text is not None, "has_image": of_image is not None}
        mode = default_mode(served, text, **has)
    released, contents = OverlayView.empty(), [content for content in (of_text, of_image) if content is not None]
    rank_queries = search_queries(served, released, text, contents, filters=filters, k=k, mode=mode)
    ranked = fused(served, released, rank_queries, served.rank(rank_queries, released), k)
    query = " and ".join(repr(str(part)) for part in (text, image) if part is not None)
    _show(served, f"{query} ({mode}, release {served.release_id})", ranked.hits)
    if ranked.short_reason:
        say(ranked.short_reason)


def _embedded_text(served: OnlineRelease, text: str, *, is_needed: bool) -> ContentVector | None:
    """A text with its vector; None where the release has no encoder of texts, unless it is needed: then an EncoderError."""
    from semrec.errors import EncoderError
    from semrec.online.anonymous import ContentVector
    from semrec.online.search import OnlineEncoder

    try:
        encoder = OnlineEncoder.of_release(served.release)
    except EncoderError:
        if is_needed:
            raise
        return None
    return ContentVector(text, encoder.vector(text))


def _embedded_image(served: OnlineRelease, image: Path) -> ContentVector:
    from semrec.errors import InputError
    from semrec.online.process import ContentEncoders

    try:
        data = image.read_bytes()
    except OSError as error:
        raise InputError(f"{image}: {error.strerror}", expected="an image file", remedy="Check the path.") from None
    return ContentEncoders().image(served.release, data)


def _show(served: OnlineRelease, title: str, hits: Iterable[tuple[str, Any]]) -> None:
    table = Table("", "item", "title", "score", title=one_line(title), title_justify="left")
    for rank, (item_id, score) in enumerate(hits, start=1):
        name = served.items.facts(served.items.row_of[item_id]).title
        table.add_row(str(rank), one_line(item_id), one_line(name), f"{score:.4f}")
    show_table(table)


if __name__ == "__main__":
    run_as_program(main)
