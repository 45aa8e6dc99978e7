"""Draws the map of a catalogue: a position and colour for each item, as one compact answer; finds items by row, id or title.

`semrec map` draws it; a service reads it. Titles and attributes are those of now. Positions and colours are the release's:
an item that is newer has none.

    map.json           in the release's folder: a manifest that names the file of positions with its SHA-256, and how the
                       map was drawn; `fingerprint` covers the item matrix, the stride and the drawing
    map-<digest>.npy   uint16 [N, 2], positions of rows 0, s, 2 s ... of the item matrix; the stride s is the least for
                       which N <= 100,000. 0 to 65535 spans the picture, y upwards

The answer (`map_bytes`), little-endian: b"SRM1", uint32 number of bytes of the JSON that follows (padded with spaces to a
multiple of 4), the JSON, uint16 x [N], uint16 y [N], uint8 code [N]; `code` counts in the legend's values, and one more
means "other". The JSON's `gone` lists the points whose items were deleted since: they are not to be shown.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.changes.overlay import OverlayView
from semrec.errors import CorruptArtefactError, MissingArtefactError, SchemaError
from semrec.release.arrays import StoredRows
from semrec.release.attributes import attribute_dicts
from semrec.release.reader import Release
from semrec.reports.projection import project
from semrec.workspace.digests import fingerprint, sha256_hex
from semrec.workspace.manifest import Manifest
from semrec.workspace.storage import Storage

__all__ = [
    "Legend",
    "MapManifest",
    "draw_map",
    "gone_points",
    "items_with_title",
    "map_bytes",
    "map_items",
    "map_legend",
    "read_map",
    "rows_of",
]

_SEED: Final = 0
_FULL: Final = 65535
_MAX_POINTS: Final = 100_000
_MAX_COLOURS: Final = 14  # hardly more can be told apart
_MOST_VALUES: Final = 256  # an attribute with more is a name, not a kind
_PREFERRED: Final = ("genre", "genres", "category", "kind")


class MapManifest(Manifest):
    """A map that was drawn: `sha256` of the file of positions; `stride` in rows of the item matrix."""

    KIND = "map"
    PATH = "releases/{}/map.json"
    REMEDY = "Run `semrec map`."

    release: str
    file: str
    sha256: str
    num_points: int
    method: str
    seed: int
    stride: int
    fingerprint: str


@dataclass(frozen=True)
class Legend:
    """The meaning of the colours: `codes` uint8 [N] are indices into `values`, or `len(values)` for another value or none."""

    attribute: str | None
    values: tuple[str, ...]
    counts: tuple[int, ...]
    codes: np.ndarray

    def to_json(self) -> dict[str, Any]:
        pairs = zip(self.values, self.counts, strict=True)
        return {"attribute": self.attribute, "values": [{"value": v, "count": c} for v, c in pairs]}


def draw_map(storage: Storage, release_id: str, *, num_threads: int = 1) -> bool:
    """Draws the map of a release and stores it in the release's folder; returns False where one stands that fits.

    Minutes of a core for 100,000 items, seconds for a few hundred.
    """
    release = Release(storage, release_id)
    rows = _rows(release)
    method, stride = f"t-SNE, openTSNE {version('opentsne')}", _stride(release)
    drawing = {"method": method, "seed": _SEED, "stride": stride}
    print_of_map = fingerprint({"items": release.manifest.matrix.to_json(), "drawing": drawing})
    with contextlib.suppress(MissingArtefactError, CorruptArtefactError, SchemaError):
        if MapManifest.read(storage, release_id).fingerprint == print_of_map and len(read_map(release)) == len(rows):
            return False
    positions_N2 = project(
        StoredRows(release.storage, release.manifest.matrix).vectors(rows), _SEED, num_threads=num_threads
    )
    buffer = io.BytesIO()
    np.save(buffer, np.rint(positions_N2 * _FULL).astype(np.uint16), allow_pickle=False)
    digest = sha256_hex(buffer.getvalue())
    file = f"{release.folder}/map-{digest[:12]}.npy"
    storage.write_bytes(file, buffer.getvalue())
    manifest = MapManifest(
        release=release_id,
        file=file,
        sha256=digest,
        num_points=len(rows),
        method=method,
        seed=_SEED,
        stride=stride,
        fingerprint=print_of_map,
    )
    manifest.write(storage, release_id)
    return True


def read_map(release: Release) -> np.ndarray:
    """Reads the positions on the map of a release, uint16 [N, 2].

    Raises MissingArtefactError where none was drawn, CorruptArtefactError where it is not what its manifest says.
    """
    manifest = MapManifest.read(release.storage, release.release_id)
    data = release.storage.read_bytes(manifest.file)
    if sha256_hex(data) != manifest.sha256:
        raise CorruptArtefactError(
            f"{manifest.file} has another SHA-256 than recorded",
            expected=f"SHA-256 {manifest.sha256[:12]}...",
            remedy=manifest.REMEDY,
        )
    positions_N2: np.ndarray = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return positions_N2


def map_legend(release: Release) -> Legend:
    """Chooses the colours: by genre, or else by the attribute that most items have and that has the fewest values.

    The most frequent values have a colour. An item with several has that of the rarest, which says most about it.
    """
    attributes = attribute_dicts(release.items.column("attributes").take(pa.array(_rows(release))))
    name = _coloured_attribute(attributes)
    if name is None:
        return Legend(None, (), (), np.zeros(len(attributes), np.uint8))
    counts = Counter(value for item in attributes for value in set(item.get(name) or ()))
    shown = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_MAX_COLOURS]
    code_of = {value: code for code, (value, _) in enumerate(shown)}
    codes = [max((code_of[v] for v in item.get(name) or () if v in code_of), default=len(shown)) for item in attributes]
    values, numbers = zip(*shown, strict=True)
    return Legend(name, values, numbers, np.array(codes, np.uint8))


def gone_points(release: Release, overlay: OverlayView) -> tuple[int, ...]:
    """Returns the points of the map, ascending, whose items were deleted."""
    rows = rows_of(release, overlay.deleted).values()
    return tuple(row // _stride(release) for row in sorted(rows) if row % _stride(release) == 0)


def map_bytes(release: Release, positions_N2: np.ndarray, legend: Legend, gone: Sequence[int] = ()) -> bytes:
    """Packs the map as one answer without the points `gone`; the module's docstring has the layout."""
    head = {
        "release": release.release_id,
        "num_points": len(positions_N2),
        "num_items": release.num_items,
        "stride": _stride(release),
        "gone": gone,
        "legend": legend.to_json(),
    }
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    xs, ys = (np.ascontiguousarray(positions_N2[:, axis], "<u2").tobytes() for axis in (0, 1))
    return b"SRM1" + np.uint32(len(text)).astype("<u4").tobytes() + text + xs + ys + legend.codes.tobytes()


def map_items(
    release: Release, overlay: OverlayView, rows: Iterable[int] = (), item_ids: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Returns items by matrix row, in the order asked for, then by id: row, item_id, title and attributes as they now are.

    `row` is None for an item that the release does not have; these come last. Unknown and deleted items and rows beyond the
    matrix are left out.
    """
    row_of = rows_of(release, item_ids)
    stored_rows = [*(row for row in rows if 0 <= row < release.num_items), *row_of.values()]
    table = release.items.take(pa.array(stored_rows, pa.int64()))
    ids, titles = (table.column(name).to_pylist() for name in ("item_id", "title"))
    attributes = attribute_dicts(table.column("attributes"))
    items: list[dict[str, Any]] = [
        {"row": row, "item_id": i, "title": t, "attributes": a}
        for row, i, t, a in zip(stored_rows, ids, titles, attributes, strict=True)
    ]
    items += [{"row": None, "item_id": i} for i in dict.fromkeys(item_ids) if i in overlay.changes and i not in row_of]
    changes = [overlay.changes.get(item["item_id"]) for item in items]
    return [
        {**item, "title": change.title, "attributes": dict(change.attributes)} if change else item
        for item, change in zip(items, changes, strict=True)
        if change is None or not change.deleted
    ]


def rows_of(release: Release, item_ids: Iterable[str]) -> dict[str, int]:
    """Returns the matrix rows of those ids that the release has."""
    wanted = list(dict.fromkeys(item_ids))
    rows = release.ids.rows_of(pa.array(wanted, pa.string())).tolist()
    return {item_id: row for item_id, row in zip(wanted, rows, strict=True) if row >= 0}


def items_with_title(release: Release, overlay: OverlayView, text: str, limit: int) -> list[dict[str, Any]]:
    """Finds items whose title contains `text`, whatever the case: those that begin with it first, then by item_id."""
    hidden = overlay.rows_hidden(release.ids)
    stored = _with_title(release.items.column("title"), text)
    changed = _with_title(pa.array([change.title for change in overlay.live], pa.string()), text)
    matches: list[dict[str, Any]] = []
    for rows, change_indices in zip(stored, changed, strict=True):
        unchanged = np.setdiff1d(rows, hidden, assume_unique=True)[:limit].tolist()
        items = map_items(release, overlay, unchanged, [overlay.ids[index] for index in change_indices[:limit]])
        matches += sorted(items, key=lambda item: item["item_id"])
    return matches[:limit]


def _with_title(titles: pa.ChunkedArray | pa.Array, text: str) -> tuple[np.ndarray, np.ndarray]:
    """Finds the indices, ascending, of titles that begin with a text, and of those that contain it elsewhere."""
    begins = pc.starts_with(titles, text, ignore_case=True).to_numpy(zero_copy_only=False)
    contains = pc.match_substring(titles, text, ignore_case=True).to_numpy(zero_copy_only=False)
    return np.flatnonzero(begins), np.flatnonzero(contains & ~begins)


def _coloured_attribute(attributes: list[dict[str, list[str]]]) -> str | None:
    values: dict[str, set[str]] = {}
    num_items: Counter[str] = Counter()
    for item in attributes:
        for name, of_item in item.items():
            values.setdefault(name, set()).update(of_item)
            num_items[name] += 1
    kinds = [name for name, distinct in values.items() if 1 < len(distinct) <= _MOST_VALUES]
    preferred = [name for name in _PREFERRED if name in kinds]
    return preferred[0] if preferred else min(kinds, key=lambda n: (-num_items[n], len(values[n]), n), default=None)


def _stride(release: Release) -> int:
    """Returns the stride, in rows, of the items on the map."""
    return max(1, -(-release.num_items // _MAX_POINTS))


def _rows(release: Release) -> np.ndarray:
    """Returns the matrix rows on the map, int64 [N]."""
    return np.arange(0, release.num_items, _stride(release))
