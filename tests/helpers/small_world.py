"""A workspace of a few of the demo's films and viewers: embedding all of them is not what these tests are about."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from semrec.data import import_interactions, import_items, import_users
from semrec.demo import film_items, viewer_interactions, viewer_rows
from semrec.workspace.folder import Workspace

__all__ = ["make_small_world"]


def make_small_world(folder: Path, *, num_films: int, num_viewers: int, num_buckets: int) -> Workspace:
    """A new workspace with the first films, and what the first viewers saw of them."""
    workspace = Workspace.create(str(folder), num_buckets=num_buckets)
    films = list(islice(film_items(), num_films))
    import_items(workspace, films)
    import_users(workspace, viewer_rows(num_viewers))
    ids = pa.array([film.item_id for film in films])
    watched = (table.filter(pc.is_in(table["item_id"], ids)) for table in viewer_interactions(num_viewers, 7))
    import_interactions(workspace, watched, repeats="latest", neutral_value=2.5)
    return workspace
