"""Write lists of items as JSON, thousands of them in one pass that does not hold the interpreter's lock.

The JSON of each item lies ready in the release's table, but for the score. What Python makes is one text of bytes between two
lists, whatever their length.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from semrec.changes.overlay import OverlayView
from semrec.compiled import compiled
from semrec.online.answers import RowHits, ScoredItem, item_ids_of, scores_in

if TYPE_CHECKING:
    from semrec.online.release import OnlineRelease

__all__ = ["compile_lists", "items_json", "write_lists"]

_COMMA, _CLOSE_LIST, _CLOSE_OBJECT = (ord(character) for character in ",]}")
_SCORE: Final = b',"score":'
_SCORE_BYTES: Final = np.frombuffer(_SCORE, np.uint8)


def items_json(served: OnlineRelease, hits: Sequence[ScoredItem], overlay: OverlayView) -> bytes:
    """The JSON list of an answer's items with their scores, each float32 in its shortest form."""
    if not len(hits):
        return b"[]"
    if isinstance(hits, RowHits):
        fragments = [served.items.fragment(row) for row in hits.rows_K.tolist()]
    else:
        fragments = served.fragments(item_ids_of(hits), overlay)
    texts = _score_texts(scores_in(hits))[1:-1].split(b",")
    pairs = zip(fragments, texts, strict=True)
    return b"[" + b",".join([b'%b,"score":%b}' % pair for pair in pairs]) + b"]"


def compile_lists() -> None:
    """Compiles `write_lists`, or reads what was compiled, before somebody waits."""
    write_lists(np.frombuffer(b"{}", np.uint8), np.array([0, 2]), [b""], [])


def write_lists(
    fragments: np.ndarray, fragment_edges: np.ndarray, texts: Sequence[bytes], lists: Sequence[RowHits]
) -> memoryview:
    """The bytes of texts[0], the items of lists[0] with commas between them, texts[1], and so on to the last text.

    There is one text more than lists. `fragments` and their edges are `ItemTable.fragment_bytes` of the table of the rows.
    """
    rows_N = np.concatenate([np.zeros(0, np.int64), *(hits.rows_K for hits in lists)])
    scores_N = np.concatenate([np.zeros(0, np.float32), *(hits.scores_K for hits in lists)])
    list_edges = np.cumsum([0, *map(len, lists)])
    text_edges = np.cumsum([0, *map(len, texts)])
    score_texts = np.frombuffer(_score_texts(scores_N), np.uint8)
    num_hits, num_filled = len(rows_N), np.count_nonzero(np.diff(list_edges))
    num_commas = num_hits - num_filled  # those between scores count as those between items, and the brackets not at all
    num_bytes = int(
        text_edges[-1]
        + (fragment_edges[rows_N + 1] - fragment_edges[rows_N]).sum()
        + len(score_texts) - 2 - max(num_hits - 1, 0)
        + num_hits * (len(_SCORE) + 1)
        + num_commas
    )  # fmt: skip
    written = np.empty(num_bytes, np.uint8)
    text = np.frombuffer(b"".join(texts), np.uint8)
    end = _write(written, text, text_edges, fragments, fragment_edges, rows_N, list_edges, score_texts, _SCORE_BYTES)
    assert end == num_bytes
    return written.data


def _score_texts(scores: np.ndarray) -> bytes:
    """The JSON list of float32 scores."""
    return orjson.dumps(np.ascontiguousarray(scores), option=orjson.OPT_SERIALIZE_NUMPY)


@compiled
def _write(
    written: Any,
    text: Any,
    text_edges: Any,
    fragments: Any,
    fragment_edges: Any,
    rows_N: Any,
    list_edges: Any,
    score_texts: Any,
    score_name: Any,
) -> int:
    end = _append(written, 0, text, 0, text_edges[1])
    read = 1  # in `score_texts`, behind its bracket
    for place in range(len(list_edges) - 1):
        for n in range(list_edges[place], list_edges[place + 1]):
            if n > list_edges[place]:
                written[end] = _COMMA
                end += 1
            row = rows_N[n]
            end = _append(written, end, fragments, fragment_edges[row], fragment_edges[row + 1])
            end = _append(written, end, score_name, 0, len(score_name))
            while score_texts[read] != _COMMA and score_texts[read] != _CLOSE_LIST:
                written[end] = score_texts[read]
                end += 1
                read += 1
            read += 1
            written[end] = _CLOSE_OBJECT
            end += 1
        end = _append(written, end, text, text_edges[place + 1], text_edges[place + 2])
    return end


@compiled
def _append(written: Any, end: int, source: Any, start: int, stop: int) -> int:
    for n in range(stop - start):
        written[end + n] = source[start + n]
    return end + stop - start
