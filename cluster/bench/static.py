"""Texts a second of a static model through a whole embedding run, beside a process of model2vec alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.compute import Compute
from cluster.stages.embed import embed_catalogue
from semrec.data import ItemRow, import_items
from semrec.encoders.settings import EmbedSettings
from semrec.errors import InputError
from semrec.progress import NoProgress
from semrec.workspace.folder import Workspace

__all__ = ["StaticBenchRow", "bench_static"]

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
    with tempfile.TemporaryDirectory(prefix="semrec-bench-") as scratch:
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
