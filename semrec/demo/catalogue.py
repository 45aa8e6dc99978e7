"""Defines the demo's films. The films are real; the descriptions were written for this project; the eight streaming services,
and which film is on which, are invented.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from semrec.data import ItemRow

__all__ = ["ONTOLOGY", "PLATFORMS", "film_items", "films"]

#: The ontology of the films, a Turtle file: genres in a hierarchy, people, series.
ONTOLOGY: Final = Path(__file__).with_name("films.ttl")
PLATFORMS: Final = ("Atlas", "Harbor+", "Kinobox", "Lumina", "Marquee", "Night Owl", "Popcorn TV", "Reelhouse")


@cache
def films() -> tuple[dict[str, Any], ...]:
    """Reads the records of films.jsonl, in the order of the file."""
    text = (files(__package__) / "films.jsonl").read_text(encoding="utf-8")
    return tuple(json.loads(line) for line in text.splitlines())


def film_items(num_copies: int = 1) -> Iterator[ItemRow]:
    """Yields the films as items. Copies beyond the first are other editions with ids, titles and texts of their own."""
    for copy in range(1, num_copies + 1):
        for film in films():
            yield _item(film, "" if copy == 1 else f" (edition {copy})", "" if copy == 1 else f"-edition-{copy}")


def _item(film: dict[str, Any], title_suffix: str, id_suffix: str) -> ItemRow:
    title = f"{film['title']}{title_suffix}"
    text = (
        f"{title} ({film['year']}). {', '.join(film['genres'])}. {film['description']} Directed by {film['director']}."
    )
    attributes = {
        "director": film["director"].split(" & "),
        "genre": film["genres"],
        "maturity": [film["maturity"]],
        "platform": film["platforms"],
        "runtime_min": [str(film["runtime_min"])],
        "year": [str(film["year"])],
    }
    return ItemRow(film["item_id"] + id_suffix, f"{title} ({film['year']})", text, attributes)
