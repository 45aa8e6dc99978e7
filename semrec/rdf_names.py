"""Names of the workspace as IRIs: a relative IRI is the name itself, percent-encoded where IRIs do not allow a character."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote

__all__ = ["BASE_IRI", "iri_of_name", "name_of_iri"]

#: What relative IRIs are resolved against, so that `<heat>` is `semrec:heat`.
BASE_IRI: Final = "semrec:"
_KEPT: Final = "!$&'()*+,/:;=@~[]#?"
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\x00-\x20<>\"{}|\\^`%]*", re.ASCII)


def iri_of_name(name: str) -> str:
    """Returns the IRI of an item, an entity or a predicate. A name that is an IRI already stays as it is."""
    if _ABSOLUTE.fullmatch(name) and not name.startswith(BASE_IRI) and name.isascii():
        return name
    safe = _KEPT if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", name) else _KEPT.replace(":", "")
    return BASE_IRI + quote(name, safe=safe)


def name_of_iri(iri: str) -> str:
    """Returns the name of which this is the IRI."""
    return unquote(iri.removeprefix(BASE_IRI)) if iri.startswith(BASE_IRI) else iri
