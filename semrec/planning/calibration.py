"""A short measurement on the device at hand, kept in the workspace so that later runs can be predicted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np

from semrec.errors import EncoderError, InputError
from semrec.machine import machine
from semrec.planning.rates import Rates, with_embedding
from semrec.scoring.engine import Engine, check_engine, make_engine
from semrec.scoring.types import ItemShard, Queries
from semrec.workspace.manifest import Manifest
from semrec.workspace.storage import Storage

__all__ = ["CALIBRATION_VECTORS", "Calibration", "calibrate", "read_calibration", "write_calibration"]

_NUM_ITEMS: Final = (8_192, 32_768, 131_072)
_NUM_QUERIES: Final = 2_048
#: That a calibration takes: of the users, and of the items of its largest measurement.
CALIBRATION_VECTORS: Final = _NUM_QUERIES + max(_NUM_ITEMS)
_FEWEST_QUERIES: Final = 128
_FEWEST_TEXTS: Final = 32
_FEWEST_ROUNDS: Final = 3
_SCORING_SHARE: Final = 0.75  # of the budget; the rest is for the encoder


@dataclass(frozen=True)
class Calibration:
    """What was measured: seconds per user at several numbers of items, and the line through them."""

    engine: str
    num_threads: int
    machine: str
    rates: Rates
    points: tuple[tuple[int, float], ...]  # items, seconds per user


class CalibrationManifest(Manifest):
    """A calibration as it is stored; `rates` are the fields of `Rates`."""

    KIND = "calibration"
    PATH = "calibrations/{}.json"
    REMEDY = "Run `semrec plan` again."

    engine: str
    num_threads: int
    machine: str
    rates: dict[str, Any]
    points: tuple[tuple[int, float], ...]


def calibrate(
    vectors_ND: np.ndarray, texts: Sequence[str], *, engine: str, num_threads: int, k: int, budget_s: float = 60.0
) -> Calibration:
    """Scores users against 8,192, 32,768 and 131,072 items, then embeds texts with the default encoder on the engine's device;
    `budget_s` seconds in all, loading excluded.

    `vectors_ND` are the users and then the items, float32 [CALIBRATION_VECTORS, D]; `texts` at least 32, as
    items have them.

    Without the encoder's weights its speed is estimated from that of scoring, and `embed_source` says so.
    The line is fitted by least squares of the relative error, so that small catalogues are predicted as well as large ones.
    Raises InputError for a budget or K that is not positive, too few vectors or texts, DeviceError without the engine's device.
    """
    check_engine(engine)
    if budget_s <= 0 or k < 1:
        raise InputError(f"budget {budget_s} s, K {k}", expected="positive numbers", remedy="Correct them.")
    if len(vectors_ND) < CALIBRATION_VECTORS or len(texts) < _FEWEST_TEXTS:
        raise InputError(
            f"{len(vectors_ND):,} vectors, {len(texts):,} texts",
            expected=f"at least {CALIBRATION_VECTORS:,} and {_FEWEST_TEXTS}",
            remedy="Give more.",
        )
    queries, items_ID, points = Queries.unfiltered(vectors_ND[:_NUM_QUERIES]), vectors_ND[_NUM_QUERIES:], []
    for num_items in _NUM_ITEMS:
        made = make_engine(engine, ItemShard.from_vectors(items_ID[:num_items]), num_threads=num_threads)
        points.append((num_items, _seconds_per_user(made, queries, k, _SCORING_SHARE * budget_s / len(_NUM_ITEMS))))
    fixed_s, per_item_s = _line(points)
    scoring = Rates(vectors_ND.shape[1], k, fixed_s, per_item_s, None, measured=True, source=f"measured on {machine()}")
    device = "cuda" if engine == "cuda" else "cpu"
    rates = _embedding(scoring, texts, device, num_threads, (1 - _SCORING_SHARE) * budget_s)
    return Calibration(engine, num_threads, machine(), rates, tuple(points))


def write_calibration(storage: Storage, calibration: Calibration) -> None:
    """Keeps it as the workspace's calibration of its engine."""
    manifest = CalibrationManifest(
        engine=calibration.engine,
        num_threads=calibration.num_threads,
        machine=calibration.machine,
        rates=asdict(calibration.rates),
        points=calibration.points,
    )
    manifest.write(storage, calibration.engine)


def read_calibration(storage: Storage, engine: str) -> Calibration | None:
    """The workspace's calibration of an engine, or None."""
    stored = CalibrationManifest.read_if_there(storage, engine)
    if stored is None:
        return None
    return Calibration(stored.engine, stored.num_threads, stored.machine, Rates(**stored.rates), stored.points)


def _seconds_per_user(engine: Engine, queries: Queries, k: int, budget_s: float) -> float:
    """The median over as many rounds as the budget allows, at least three; two smaller ones warm up and say how many users
    fit into a round.
    """
    few = queries.between(0, _FEWEST_QUERIES)
    engine.top_k(few, k)
    started_s = time.perf_counter()
    engine.top_k(few, k)
    few_s = time.perf_counter() - started_s
    num_affordable = int(budget_s / _FEWEST_ROUNDS / few_s * few.num_queries)
    round_queries = queries.between(0, min(max(num_affordable, few.num_queries), queries.num_queries))
    rounds: list[float] = []
    started_s = time.perf_counter()
    while len(rounds) < _FEWEST_ROUNDS or time.perf_counter() - started_s < budget_s:
        round_s = time.perf_counter()
        engine.top_k(round_queries, k)
        rounds.append(time.perf_counter() - round_s)
    return float(np.median(rounds)) / round_queries.num_queries


def _embedding(rates: Rates, texts: Sequence[str], device: str, num_threads: int, budget_s: float) -> Rates:
    """The rates with the texts per second of the default encoder: measured, or without its weights estimated."""
    from semrec.encoders.settings import EmbedSettings  # loads sentence-transformers
    from semrec.encoders.text import TextEncoder

    settings = EmbedSettings(device=device)
    try:
        encoder = TextEncoder.load(TextEncoder.plan(settings), settings, num_threads=num_threads)
    except EncoderError as error:
        estimated = with_embedding(rates)
        return replace(estimated, embed_source=f"{estimated.embed_source} ({error.got})")
    few = texts[:: len(texts) // _FEWEST_TEXTS]
    encoder.embed(few)  # compiles, allocates
    started_s = time.perf_counter()
    encoder.embed(few)
    # As many as there is time for, and not the few: a batch of these is half empty, and takes as long as a full one.
    num_affordable = max(len(few), int(budget_s * len(few) / (time.perf_counter() - started_s)))
    texts = texts[:: -(-len(texts) // num_affordable)]
    rounds: list[float] = []
    started_s = time.perf_counter()
    while not rounds or time.perf_counter() - started_s < budget_s:
        round_s = time.perf_counter()
        encoder.embed(texts)
        rounds.append(time.perf_counter() - round_s)
    length = sum(map(len, texts)) / len(texts)
    measured = f"measured: {settings.model}, {encoder.identity.dtype}, {len(texts)} texts of {length:.0f} characters"
    return replace(rates, texts_per_s=len(texts) / float(np.median(rounds)), embed_source=measured)


def _line(points: list[tuple[int, float]]) -> tuple[float, float]:
    """Intercept and slope, neither negative, through (items, seconds), weighted by 1 / seconds."""
    items, seconds = (np.array(column, np.float64) for column in zip(*points, strict=True))
    columns = np.stack([np.ones_like(items), items], axis=1) / seconds[:, None]
    (fixed_s, per_item_s), *_ = np.linalg.lstsq(columns, np.ones_like(seconds), rcond=None)
    if fixed_s < 0:
        fixed_s, per_item_s = 0.0, float(1 / np.mean(items / seconds))
    return float(fixed_s), float(max(per_item_s, 0.0))
