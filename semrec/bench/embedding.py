"""Embedding speed against the plain way of doing it, on the same texts in the same process."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from semrec.encoders.devices import resolve_device
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.sources import resolve_model
from semrec.encoders.text import TextEncoder
from semrec.encoders.vectors import normalise_rows
from semrec.errors import InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["EmbedBenchRow", "bench_embedding"]

_WARM_UP_TEXTS = 256


@dataclass(frozen=True)
class EmbedBenchRow:
    """One way of embedding. The cosines are those of its vectors to the plain float32 ones, text by text."""

    name: str
    texts_per_s: float  # median over the rounds
    ratio: float  # of texts_per_s to the plain way
    cosine_mean: float
    cosine_min: float


def bench_embedding(
    texts: Sequence[str], *, num_threads: int, rounds: int = 3, device: str = "auto"
) -> list[EmbedBenchRow]:
    """Plain `SentenceTransformer.encode(batch_size=32)` in float32, then ours in the automatic dtype, in float32, and by
    OpenVINO where it is installed.

    Every round runs each way once, in turn, so that a drift of the machine falls on all of them. Sets torch's threads for
    the process. Raises InputError without texts, EncoderError and DeviceError.
    """
    kept = [text for text in texts if text.strip()]
    if not kept or rounds < 1:
        raise InputError(
            f"{len(kept)} texts, {rounds} rounds", expected="at least one of each", remedy="Give the benchmark texts."
        )
    ways = _ways(num_threads, resolve_device(device))
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    vectors: dict[str, np.ndarray] = {}
    for way in ways.values():
        way(kept[:_WARM_UP_TEXTS])
    for _ in range(rounds):
        for name, way in ways.items():
            started_s = time.perf_counter()
            vectors[name] = way(kept)
            seconds[name].append(time.perf_counter() - started_s)
    return _rows(len(kept), seconds, vectors)


def _ways(num_threads: int, device: str) -> dict[str, Callable[[list[str]], np.ndarray]]:
    """Name -> a way of embedding a list of texts; the first is the yardstick."""
    automatic = _encoder(EmbedSettings(device=device), num_threads)
    ways = {
        "SentenceTransformer.encode, batch 32, float32": _plain(device),
        f"semrec, {automatic.identity.dtype}": lambda texts: automatic.embed(texts)[0],
    }
    if automatic.identity.dtype != "float32":
        full = _encoder(EmbedSettings(device=device, dtype="float32"), num_threads)
        ways["semrec, float32"] = lambda texts: full.embed(texts)[0]
    if device == "cpu" and importlib.util.find_spec("openvino"):
        compiled = _encoder(EmbedSettings(device=device, backend="openvino"), num_threads)
        ways["semrec, openvino float32"] = lambda texts: compiled.embed(texts)[0]
    return ways


def _encoder(settings: EmbedSettings, num_threads: int) -> TextEncoder:
    return TextEncoder.load(TextEncoder.plan(settings), settings, num_threads=num_threads)


def _plain(device: str) -> Callable[[list[str]], np.ndarray]:
    from sentence_transformers import SentenceTransformer

    path = resolve_model(EmbedSettings().model).path
    model: SentenceTransformer = SentenceTransformer(path, device=device, local_files_only=True)
    return lambda texts: np.asarray(model.encode(texts, batch_size=32, show_progress_bar=False))


def _rows(num_texts: int, seconds: dict[str, list[float]], vectors: dict[str, np.ndarray]) -> list[EmbedBenchRow]:
    first = next(iter(seconds))
    yardstick_ND = normalise_rows(vectors[first])[0].astype(np.float64)
    plain_s = median(seconds[first])
    rows = []
    for name, taken in seconds.items():
        cosines_N = (normalise_rows(vectors[name])[0].astype(np.float64) * yardstick_ND).sum(axis=1)
        rate, ratio = num_texts / median(taken), plain_s / median(taken)
        rows.append(EmbedBenchRow(name, rate, ratio, float(cosines_N.mean()), float(cosines_N.min())))
    return rows
