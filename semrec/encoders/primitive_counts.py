"""Counts the words of many texts that are about each semantic primitive, on a CPU or a GPU, and the signatures of counts.

Axes: N texts, B their bytes, W words, P primitives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from semrec.compiled import compiled
from semrec.encoders.lexicon import PRIMITIVES, SKIPPED, START, Lexicon, letters_of_bytes
from semrec.ranges import in_ranges
from semrec.sorted_ids import offsets_and_data

__all__ = ["MAX_EXPONENT", "count_primitives", "signatures"]

#: Exponents of a signature: the ninth power of two as large would leave int64 (223,092,870 squared is 5e16).
MAX_EXPONENT: Final = 2
_PRIMES: Final = np.array([2, 3, 5, 7, 11, 13, 17, 19, 23], np.int64)  # of PRIMITIVES, in their order
_BYTES_PER_CALL: Final = 16 << 20  # of a GPU, which holds some ten numbers of 8 bytes for each


class _Bytes(NamedTuple):
    """Where each text begins, int64 [N + 1], and the texts in UTF-8, end to end: uint8 [B]."""

    offsets: np.ndarray
    bytes_B: np.ndarray

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> _Bytes:
        return cls(*offsets_and_data(pa.array(texts, pa.large_string())))


def count_primitives(
    texts: Sequence[str], lexicon: Lexicon, *, device: str = "cpu", num_threads: int = 1
) -> np.ndarray:
    """How many words of each text are about each primitive, int32 [N, P]: the same on any device."""
    offsets, bytes_B = encoded = _Bytes.of_texts(texts)
    if device != "cpu":
        return _count_by_torch(encoded, lexicon, device)
    counts_NP, table = np.zeros((len(texts), 1 + len(PRIMITIVES)), np.int32), lexicon.table
    trie = table.next_SA, table.primitive_S, START

    def count(start: int, stop: int) -> None:
        _count(bytes_B, offsets[start : stop + 1], letters_of_bytes(), SKIPPED, *trie, counts_NP[start:stop])

    in_ranges(count, len(texts), num_threads)
    return counts_NP[:, 1:]


def signatures(counts_NP: np.ndarray) -> np.ndarray:
    """The product of a prime for each primitive, int64 [N], to the power of its count, MAX_EXPONENT at most.

    A signature is divided by another exactly where it has as much of each primitive, or more: the counts up to MAX_EXPONENT.
    """
    products_N: np.ndarray = np.prod(_PRIMES ** np.minimum(counts_NP, MAX_EXPONENT).astype(np.int64), axis=1)
    return products_N


@compiled
def _count(bytes_B, offsets, letters, skipped, next_SA, primitive_S, start, counts_NP):  # type: ignore[no-untyped-def]
    """Adds to column 1 + p of each text; words about none are column 0, with what stands between two separators."""
    for n in range(len(offsets) - 1):
        state, about, before = start, 0, 0
        for b in range(offsets[n], offsets[n + 1]):
            byte = np.int64(bytes_B[b])
            letter = np.int64(letters[before * 256 + byte])
            before = byte
            if letter == skipped:
                continue
            state = np.int64(next_SA[state, letter])
            if primitive_S[state]:
                about = np.int64(primitive_S[state])
            if letter == 0:
                counts_NP[n, about] += 1
                state, about = start, 0
        state = np.int64(next_SA[state, 0])
        counts_NP[n, primitive_S[state] if primitive_S[state] else about] += 1


def _count_by_torch(encoded: _Bytes, lexicon: Lexicon, device: str) -> np.ndarray:
    """The same by torch, some texts a call."""
    offsets, counts = encoded.offsets, [np.zeros((0, len(PRIMITIVES)), np.int32)]
    first = 0
    while first < len(offsets) - 1:
        last = int(np.searchsorted(offsets, offsets[first] + _BYTES_PER_CALL, side="right")) - 1
        last = max(first + 1, last)
        starts = offsets[first : last + 1]
        texts_of_call = _Bytes(starts - starts[0], encoded.bytes_B[starts[0] : starts[-1]])
        counts.append(_count_some_by_torch(texts_of_call, lexicon, device))
        first = last
    return np.concatenate(counts)


def _count_some_by_torch(encoded: _Bytes, lexicon: Lexicon, device: str) -> np.ndarray:
    """All words at once, letter by letter: as many steps as the longest entry has letters."""
    import torch

    def on_device(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(device)

    table, num_texts = lexicon.table, len(encoded.offsets) - 1
    next_SA, primitive_S = on_device(table.next_SA).long(), on_device(table.primitive_S).long()
    bytes_B = on_device(encoded.bytes_B).long()
    text_B = torch.repeat_interleave(torch.arange(num_texts, device=device), on_device(np.diff(encoded.offsets)))
    before_B = torch.nn.functional.pad(bytes_B, (1, 0))[:-1]
    letter_B = on_device(letters_of_bytes()).long()[before_B * 256 + bytes_B]
    is_kept_B = letter_B != SKIPPED
    # Behind the last text a separator, which all words that reach beyond it may read.
    letter_B = torch.nn.functional.pad(letter_B[is_kept_B], (0, 1))
    text_B = torch.nn.functional.pad(text_B[is_kept_B], (0, 1), value=num_texts)
    is_inside_B = torch.zeros_like(letter_B, dtype=torch.bool)
    is_inside_B[1:] = (letter_B[:-1] > 0) & (text_B[1:] == text_B[:-1])  # of a word that began before
    start_W = torch.nonzero((letter_B > 0) & ~is_inside_B).squeeze(1)
    state_W, about_W = torch.full_like(start_W, START), torch.zeros_like(start_W)
    for step in range(table.num_letters):
        place_W = (start_W + step).clamp(max=len(letter_B) - 1)
        letter_W = torch.where(text_B[place_W] == text_B[start_W], letter_B[place_W], 0)
        state_W = next_SA[state_W, letter_W]
        about_W = torch.where(primitive_S[state_W] > 0, primitive_S[state_W], about_W)
    columns = 1 + len(PRIMITIVES)
    counts = torch.bincount(text_B[start_W] * columns + about_W, minlength=num_texts * columns)
    return counts.view(num_texts, columns)[:, 1:].int().cpu().numpy()
