"""Texts and files a second of four configurations of a content service: with and without models and a GPU, for many callers."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from semrec.bench.content import generated_document, generated_poster, generated_text
from semrec.encoders.base import Encoder, encoder_class
from semrec.encoders.devices import DeviceKind, device_kind_of, resolve_device
from semrec.encoders.document_readers import DocumentReaders
from semrec.encoders.pixels import image_facts
from semrec.encoders.settings import EmbedSettings
from semrec.errors import InputError
from semrec.machine import resident_bytes
from semrec.workspace.scratch import ScratchFolder

__all__ = ["CONFIGURATIONS", "Configuration", "ConfigurationRow", "bench_configurations", "main"]

_SAMPLED_EVERY_S: Final = 0.25
_TEXTS_PER_CALL: Final = (8, 32, 128, 512)  # that are tried
_NEARLY: Final = 0.95  # of the highest rate is as good, where fewer wait for each other
_LOOK_S: Final = 1.0


class Configuration(NamedTuple):
    """`device` None: a GPU where there is one. Without models texts go by primitives, and files are read, not embedded."""

    name: str
    device: DeviceKind | None
    has_models: bool
    num_callers: int = 1


CONFIGURATIONS: Final = (
    Configuration("GPU_Full", "cuda", has_models=True),
    Configuration("GPU_No_Deep", "cuda", has_models=False),
    Configuration("CPU_Fallback", "cpu", has_models=True),
    Configuration("High_Concurrency", None, has_models=True, num_callers=8),
)


@dataclass(frozen=True)
class ConfigurationRow:
    """What a configuration reached; without its device, `device` and what was measured are None.

    `texts_per_call` are as many as were the fastest there, nearly, of 8, 32, 128 and 512. `memory` are pairs (seconds since its
    beginning, resident bytes), the models' loading included.
    """

    name: str
    device: str | None
    num_callers: int
    texts_per_call: int | None = None
    texts_per_s: float | None = None
    files_per_s: float | None = None
    memory: tuple[tuple[float, int], ...] = ()


def bench_configurations(num_texts: int, num_files: int, *, num_threads: int = 1) -> list[ConfigurationRow]:
    """Measures each of `CONFIGURATIONS` on generated texts and files, half PDFs of two pages and half JPEG posters.

    Callers send texts, as many at a time as do well there, or one file; an encoder does one call after the other, as a service
    has it. Raises InputError for no text or fewer than two files, EncoderError without the extras.
    """
    if num_texts < 1 or num_files < 2 or num_threads < 1:
        raise InputError("nothing to measure", expected="a text, two files and a thread", remedy="Raise the numbers.")
    with ScratchFolder("benchmark") as folder:
        documents, posters = _files(Path(folder), num_files)
        texts = [generated_text(number) for number in range(num_texts)]
        return [_measured(configuration, texts, documents, posters, num_threads) for configuration in CONFIGURATIONS]


def main(num_texts: int, num_files: int, parent: int) -> None:
    """Prints the rows as one line of JSON: for who runs this in a process beside its own, `parent`, with which it ends."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    print(json.dumps([asdict(row) for row in bench_configurations(num_texts, num_files)]))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)


def _files(folder: Path, num_files: int) -> tuple[list[str], list[str]]:
    """Paths of PDFs and of posters."""
    rng, documents = np.random.default_rng(1), []
    for number in range(num_files // 2):
        documents.append(str(folder / f"{number}.pdf"))
        Path(documents[-1]).write_bytes(generated_document(number, 2))
    return documents, [generated_poster(folder / f"{number}.jpg", rng) for number in range(num_files - len(documents))]


def _measured(
    configuration: Configuration, texts: list[str], documents: list[str], posters: list[str], num_threads: int
) -> ConfigurationRow:
    name, device, has_models, num_callers = configuration
    here = device_kind_of(resolve_device("auto"))
    if device == "cuda" and here != device:
        return ConfigurationRow(name, None, num_callers)
    kind = device or here
    with _Memory() as memory:
        of_texts = _OneCall("text" if has_models else "primitives", kind, num_threads)
        texts_per_call = _fastest(of_texts, texts)
        batches = [texts[start : start + texts_per_call] for start in range(0, len(texts), texts_per_call)]
        texts_s = _seconds([partial(of_texts.embed, batch) for batch in batches], num_callers)
        if has_models:
            of_documents, of_images = (
                _OneCall(modality, kind, num_threads, for_callers=True) for modality in ("document", "image")
            )
            calls = [partial(of_documents.embed, [path]) for path in documents]
            calls += [partial(of_images.embed, [path]) for path in posters]
            files_s = _seconds(calls, num_callers)
        else:
            with closing(DocumentReaders()) as readers:
                files_s = _seconds([partial(_read, readers, path) for path in (*documents, *posters)], num_callers)
    texts_per_s, files_per_s = round(len(texts) / texts_s, 1), round((len(documents) + len(posters)) / files_s, 1)
    reached = texts_per_call, texts_per_s, files_per_s
    return ConfigurationRow(name, of_texts.device_name, num_callers, *reached, tuple(memory.samples))


def _fastest(of_texts: _OneCall, texts: list[str]) -> int:
    """How many texts a call should have: the fewest whose rate is nearly the highest, each tried once after a first call."""
    of_texts.embed(texts[:1])
    rates = {}
    for count in _TEXTS_PER_CALL:
        if count <= max(len(texts), _TEXTS_PER_CALL[0]):
            rates[count] = count / _seconds([partial(of_texts.embed, texts[:count])], 1)
    return min(count for count, rate in rates.items() if rate >= _NEARLY * max(rates.values()))


def _read(readers: DocumentReaders, path: str) -> object:
    data = Path(path).read_bytes()
    return readers.read(data, path) if path.endswith(".pdf") else image_facts(data)


def _seconds(calls: Sequence[Callable[[], object]], num_callers: int) -> float:
    """How long calls take by so many callers, after the first was made once: it allocates."""
    calls[0]()
    with ThreadPoolExecutor(num_callers, "semrec-callers") as callers:
        started_s = time.perf_counter()
        list(callers.map(lambda call: call(), calls))
        return time.perf_counter() - started_s


class _OneCall:
    """An encoder that does one call after the other. `for_callers`: as a service has it, for one content a call."""

    def __init__(self, kind: str, device: DeviceKind, num_threads: int, *, for_callers: bool = False) -> None:
        settings, encoder = EmbedSettings(kind=kind, device=device), encoder_class(kind)
        identity = encoder.plan(settings)
        identity = encoder.for_callers(identity) if for_callers else identity
        self._encoder: Encoder = encoder.load(identity, settings, num_threads=num_threads)
        self._lock = threading.Lock()
        self.device_name = self._encoder.device_name

    def embed(self, contents: list[str]) -> object:
        with self._lock:
            return self._encoder.embed(contents)


class _Memory:
    """Samples the memory of this process while it is entered."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, int]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="semrec-memory", daemon=True)

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        started_s = time.perf_counter()
        while True:
            self.samples.append((round(time.perf_counter() - started_s, 2), resident_bytes()["resident_bytes"]))
            if self._ended.wait(_SAMPLED_EVERY_S):
                return
