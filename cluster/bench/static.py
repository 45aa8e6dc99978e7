"""Texts a second of a static model through a whole embedding run, beside a process of model2vec alone; and its memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cluster.compute import Compute
from cluster.stages.embed import embed_catalogue
from semrec.data import ColumnMap, ItemRow, import_items, import_table
from semrec.encoders.plan import run_folder
from semrec.encoders.settings import EmbedSettings
from semrec.errors import InputError
from semrec.machine import resident_bytes
from semrec.progress import NoProgress
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Ledger
from semrec.workspace.scratch import ScratchFolder

__all__ = ["StaticBenchRow", "StaticMemoryRow", "bench_static", "bench_static_memory"]

_NUM_WORDS: Final = 500_000  # that generated texts are made of
_WORDS_PER_TEXT: Final = 12
_WORD_POPULARITY_POWER: Final = 6.0  # a word's place among all by popularity is a uniform number to this power
_BLOCK_TEXTS: Final = 100_000

# Reads, embeds and writes as we do; its imports and the model's loading are not counted.
_PEER = """
import json, sys, time
import numpy as np, pyarrow.parquet as pq
from model2vec import StaticModel
folder, texts, target, max_tokens = sys.argv[1:]
model = StaticModel.from_pretrained(folder, force_download=False)
started_s = time.perf_counter()
vectors = model.encode(pq.read_table(texts)["text"].to_pylist(), max_length=int(max_tokens))
np.save(target, vectors)
print(json.dumps(time.perf_counter() - started_s))
"""


@dataclass(frozen=True)
class StaticBenchRow:
    """One way of embedding texts by a static model. The ratio is to model2vec's process."""

    name: str
    texts_per_s: float  # median over the rounds
    ratio: float


def bench_static(model: str, texts: Sequence[str], compute: Compute, *, rounds: int = 3) -> list[StaticBenchRow]:
    """model2vec's `encode` in a process of its own, then `embed_catalogue` on `compute`: read, embed, write, ledger.

    `model` is the folder of a static model. Every round runs both, in turn; ours starts its workers and loads the model in
    the time that is counted. Raises InputError for no text or round.
    """
    not_blank = [text for text in texts if text.strip()]
    if not not_blank or rounds < 1:
        raise InputError("nothing to measure", expected="texts and rounds", remedy="Raise the numbers.")
    settings = EmbedSettings(kind="static", model=model)
    seconds: dict[str, list[float]] = {"model2vec, one process": [], "semrec, a whole run": []}
    with ScratchFolder("benchmark") as scratch:
        file = Path(scratch) / "texts.parquet"
        pq.write_table(pa.table({"text": not_blank}), file)
        command = [sys.executable, "-c", _PEER, model, str(file), f"{scratch}/vectors.npy", str(settings.max_tokens)]
        rows = [ItemRow(f"item-{n:09d}", text=text) for n, text in enumerate(not_blank)]
        for number in range(rounds):
            peer = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds["model2vec, one process"].append(json.loads(peer.stdout))
            workspace = Workspace.create(f"{scratch}/{number}")
            import_items(workspace, rows)
            started_s = time.perf_counter()
            embed_catalogue(workspace, settings, compute=compute, progress=NoProgress())
            seconds["semrec, a whole run"].append(time.perf_counter() - started_s)
    plain_s = median(next(iter(seconds.values())))
    return [
        StaticBenchRow(name, round(len(not_blank) / median(times)), round(plain_s / median(times), 2))
        for name, times in seconds.items()
    ]


@dataclass(frozen=True)
class StaticMemoryRow:
    """One import of generated texts and their embedding. Memory is resident: of the process that imports and drives, up to
    the end of the row, and of the largest worker."""

    texts: int
    import_s: float
    embed_s: float
    texts_per_s: float  # embedded
    driver_peak_mib: int
    worker_peak_mib: int


def bench_static_memory(model: str, num_texts: int, compute: Compute) -> Iterator[StaticMemoryRow]:
    """Imports and embeds a tenth of `num_texts` generated texts, then all of them. Raises InputError below 10 texts."""
    if num_texts < 10:
        raise InputError(f"{num_texts} generated texts", expected="10 at least", remedy="Raise the number.")
    settings = EmbedSettings(kind="static", model=model)
    for count in (num_texts // 10, num_texts):
        compute.close()  # workers of this row alone
        with ScratchFolder("benchmark") as scratch:
            file = Path(scratch) / "texts.parquet"
            _write_texts(file, count)
            workspace = Workspace.create(f"{scratch}/workspace")
            started_s = time.perf_counter()
            columns = ColumnMap(item_id="item_id", text=("text",))
            import_table(workspace, file, fmt="parquet", kind="items", columns=columns)
            imported_s = time.perf_counter()
            result = embed_catalogue(workspace, settings, compute=compute, progress=NoProgress())
            embed_s = time.perf_counter() - imported_s
            run = run_folder(f"embeddings/{result.name}", str(result.manifest.run))
            records = Ledger(workspace.storage, run).records().values()
        yield StaticMemoryRow(
            count,
            round(imported_s - started_s, 1),
            round(embed_s, 1),
            round(count / embed_s),
            resident_bytes()["peak_resident_bytes"] >> 20,
            max(record.made_by["peak_memory_bytes"] for record in records) >> 20,
        )


def _write_texts(path: Path, num_texts: int) -> None:
    """Writes item ids and texts of words of eight letters, few of which are in most texts."""
    chance = np.random.default_rng(0)
    letters = chance.integers(ord("a"), ord("z") + 1, (_NUM_WORDS, 8)).astype(np.uint8)
    words = pa.array(letters.view("S8").ravel().astype(str))
    schema = pa.schema([("item_id", pa.string()), ("text", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, num_texts, _BLOCK_TEXTS):
            count = min(_BLOCK_TEXTS, num_texts - start)
            places = chance.random(count * _WORDS_PER_TEXT) ** _WORD_POPULARITY_POWER
            chosen = words.take(pa.array((places * _NUM_WORDS).astype(np.int64)))
            offsets = np.arange(0, len(chosen) + 1, _WORDS_PER_TEXT, dtype=np.int32)
            texts = pc.binary_join(pa.ListArray.from_arrays(offsets, chosen), " ")
            ids = pa.array([f"item-{n:09d}" for n in range(start, start + count)])
            writer.write_table(pa.table([ids, texts], schema=schema))
