"""What filters can ask of items beside their attributes: the facets that a release's encoders read in their texts."""

from __future__ import annotations

from collections.abc import Sequence

from semrec.encoders.facets import Facet, facets_of
from semrec.errors import EncoderError
from semrec.online.encoders import recorded_encoders
from semrec.release.attributes import FlatAttributes
from semrec.release.reader import Release

__all__ = ["OnlineFacets"]


class OnlineFacets:
    """The facets of a release's items, by row, and those of items changed since, by their new texts.

    They stand in `flat`, the attributes of all items, in the place of what items state under such a name. `values` has all
    values of each by its name.
    """

    def __init__(self, release: Release, flat: FlatAttributes) -> None:
        stored = release.facets()
        self._columns = dict(zip(stored.column_names, stored.columns, strict=True)) if stored else {}
        self._facets = facets_of(recorded_encoders(release).values()) if stored else []
        self.values = {facet.name: facet.values for facet in self._facets}
        for name, column in self._columns.items():
            flat.put(name, column)

    def of_row(self, row: int) -> dict[str, list[str]]:
        """The facets of the item in a row of the release."""
        return {name: column[row].as_py() for name, column in self._columns.items()}

    def of_texts(self, texts: Sequence[str]) -> list[dict[str, list[str]]]:
        """The facets of items with these texts. Where this machine has not the release's encoder, none of the values: a filter
        lets through only what is known to pass.
        """
        columns = {facet.name: _values_of(facet, texts) for facet in self._facets}
        return [{name: column[n] for name, column in columns.items()} for n in range(len(texts))]


def _values_of(facet: Facet, texts: Sequence[str]) -> list[list[str]]:
    try:
        values: list[list[str]] = facet.of_texts(texts).to_pylist()
    except EncoderError:
        return [[] for _ in texts]
    return values
