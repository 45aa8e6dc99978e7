"""Contents a second: images and documents beside plain loops over the same libraries, primitives of texts beside their own."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch

from semrec.encoders.document_readers import DocumentReaders
from semrec.encoders.image import ImageEncoder
from semrec.encoders.image_models import resolve_image_model
from semrec.encoders.lexicon import PRIMITIVES, read_lexicon
from semrec.encoders.primitive_counts import count_primitives
from semrec.encoders.settings import EmbedSettings
from semrec.errors import EncoderError, InputError
from semrec.workspace.scratch import ScratchFolder

__all__ = [
    "ContentBenchRow",
    "PrimitiveCoverageRow",
    "bench_content",
    "bench_primitives",
    "generated_document",
    "generated_poster",
    "generated_text",
    "pdf_of",
    "primitive_coverage",
]

_WORDS = "a catalogue of goods that people read about before they buy one of them or lend it to a friend"
_WORDS_PER_PAGE = 400
_PIXELS = (600, 900)  # of a poster


@dataclass(frozen=True)
class ContentBenchRow:
    """One way of reading contents. The ratio is to the plain loop of the same `content`."""

    content: str
    name: str
    contents_per_s: float  # median over the rounds
    ratio: float


@dataclass(frozen=True)
class PrimitiveCoverageRow:
    """How many entries of the lexicon a primitive has in English and French, and how many of some texts have such a word."""

    primitive: str
    entries_en: int
    entries_fr: int
    share_of_texts: float


def bench_content(
    num_documents: int, num_images: int, *, num_pages: int = 10, num_threads: int = 2, rounds: int = 3
) -> list[ContentBenchRow]:
    """Text of generated PDFs by a plain pypdfium2 loop, by one reading process and by `num_threads`; vectors of generated
    JPEG posters by a plain loop of Pillow and torch, and by the image encoder.

    Every round runs each way once, in turn. Raises InputError for no file or round, EncoderError without the extras.
    """
    if min(num_documents, num_images, num_pages, num_threads, rounds) < 1:
        raise InputError("nothing to measure", expected="at least one of each", remedy="Raise the numbers.")
    documents, rng = (
        [generated_document(number, num_pages) for number in range(num_documents)],
        np.random.default_rng(1),
    )
    with ScratchFolder("benchmark") as folder, closing(DocumentReaders()) as readers:
        posters = [generated_poster(Path(folder) / f"{number}.jpg", rng) for number in range(num_images)]
        settings = EmbedSettings(kind="image", device="cpu", dtype="float32")
        encoder = ImageEncoder.load(ImageEncoder.plan(settings), settings, num_threads=num_threads)
        of_documents: dict[str, Callable[[], object]] = {
            "pypdfium2, one process": lambda: [_plain_text(data) for data in documents],
            **{
                f"semrec, processes: {count}": partial(_read_by, readers, documents, count)
                for count in sorted({1, num_threads})
            },
        }
        of_images: dict[str, Callable[[], object]] = {
            "Pillow and torch, one by one": _plain_vectors(posters, settings, num_threads),
            f"semrec, threads: {num_threads}": lambda: encoder.embed(posters),
        }
        rows = _measured(f"PDF of {num_pages} pages", num_documents, of_documents, rounds)
        return rows + _measured(f"JPEG of {_PIXELS[0]} x {_PIXELS[1]}", num_images, of_images, rounds)


def bench_primitives(texts: Sequence[str], *, num_threads: int = 2, rounds: int = 3) -> list[ContentBenchRow]:
    """Words of texts by primitive, by a plain loop in one thread and by the compiled one in `num_threads`; see `bench_content`.

    Raises InputError for no text or round.
    """
    if not texts or min(num_threads, rounds) < 1:
        raise InputError("nothing to measure", expected="texts, threads and rounds", remedy="Raise the numbers.")
    lexicon, length = read_lexicon(), sum(map(len, texts)) / len(texts)
    ways: dict[str, Callable[[], object]] = {
        "plain loop, one thread": lambda: [lexicon.plain_counts(text) for text in texts],
        f"semrec, threads: {num_threads}": lambda: count_primitives(texts, lexicon, num_threads=num_threads),
    }
    return _measured(f"primitives of texts of {length:.0f} characters", len(texts), ways, rounds)


def primitive_coverage(texts: Sequence[str]) -> list[PrimitiveCoverageRow]:
    """What the lexicon knows of each primitive, and in how many of some texts it finds that."""
    lexicon = read_lexicon()
    shares_P = (count_primitives(texts, lexicon) > 0).mean(axis=0)
    num_entries = {key: len(entries) for key, entries in lexicon.entries.items()}
    return [
        PrimitiveCoverageRow(name, num_entries[name, "en"], num_entries[name, "fr"], round(share, 3))
        for name, share in zip(PRIMITIVES, shares_P.tolist(), strict=True)
    ]


def pdf_of(pages: Sequence[str], *, title: str = "", author: str = "", is_encrypted: bool = False) -> bytes:
    """A PDF 1.4 with ASCII text, without brackets, on each page. Encrypted: with a password that nobody knows."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    info = f"<< /Title ({title}) /Author ({author}) /CreationDate (D:20210203040506Z) >>"
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>", info]
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
    for number, text in enumerate(pages):
        shown = " T* ".join(f"({line}) Tj" for line in text.split("\n"))
        stream = f"BT /F 9 Tf 11 TL 20 760 Td {shown} ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F {font} >> >> "
            f"/Contents {5 + 2 * number} 0 R >>",
            f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        ]
    file, offsets = io.BytesIO(), []
    file.write(b"%PDF-1.4\n")
    for number, body in enumerate(objects, start=1):
        offsets.append(file.tell())
        file.write(f"{number} 0 obj\n{body}\nendobj\n".encode())
    start = file.tell()
    rows = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    lock = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O <{'41' * 32}> /U <{'42' * 32}> /P -4 >> /ID [<43><43>]"
    trailer = f"<< /Size {len(objects) + 1} /Root 1 0 R /Info 3 0 R {lock if is_encrypted else ''} >>"
    table = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{rows}trailer\n{trailer}\nstartxref\n{start}\n%%EOF"
    file.write(table.encode())
    return file.getvalue()


def generated_text(number: int) -> str:
    """Twelve words, the same for the same number."""
    return " ".join(np.random.default_rng(number).choice(_WORDS.split(), 12).tolist())


def generated_document(number: int, num_pages: int) -> bytes:
    """A PDF of 400 words a page, the same for the same number."""
    chance = np.random.default_rng(number)
    pages = []
    for _ in range(num_pages):
        words = chance.choice(_WORDS.split(), _WORDS_PER_PAGE).tolist()
        pages.append("\n".join(" ".join(words[start : start + 20]) for start in range(0, _WORDS_PER_PAGE, 20)))
    return pdf_of(pages, title=f"Document {number}")


def generated_poster(path: Path, rng: np.random.Generator) -> str:
    """Writes a JPEG of 600 x 900 pixels; its path."""
    from PIL import Image

    small = Image.fromarray(rng.integers(0, 256, (12, 8, 3), dtype=np.uint8))
    small.resize(_PIXELS, Image.Resampling.BICUBIC).save(path, quality=90)
    return str(path)


def _plain_text(data: bytes) -> list[str]:
    try:
        import pypdfium2
    except ImportError as error:
        raise EncoderError(f"no pypdfium2: {error}", expected="it", remedy="pip install 'semrec[documents]'") from error
    with closing(pypdfium2.PdfDocument(data)) as pdf:
        return [page.get_textpage().get_text_bounded() for page in pdf]


def _read_by(readers: DocumentReaders, documents: list[bytes], num_threads: int) -> list[object]:
    with ThreadPoolExecutor(num_threads) as threads:
        return list(threads.map(lambda data: readers.read(data, "/generated.pdf"), documents))


def _plain_vectors(posters: list[str], settings: EmbedSettings, num_threads: int) -> Callable[[], object]:
    from PIL import Image

    model = resolve_image_model(settings.image_model)
    features, view = model.build().eval(), model.view

    def vector(path: str) -> np.ndarray:
        with Image.open(path) as image:
            pixels = np.array(image.convert("RGB").resize((view.width, view.height)), np.float32)
        normalised = torch.from_numpy((pixels - view.mean[0]) / view.std[0]).permute(2, 0, 1)[None]
        return np.asarray(features(normalised))

    def run() -> list[np.ndarray]:
        torch.set_num_threads(num_threads)
        with torch.inference_mode():
            return [vector(path) for path in posters]

    return run


def _measured(
    content: str, num_contents: int, ways: dict[str, Callable[[], object]], rounds: int
) -> list[ContentBenchRow]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()  # starts processes, allocates
    for _ in range(rounds):
        for name, way in ways.items():
            started_s = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started_s)
    plain_s = median(next(iter(seconds.values())))
    return [
        ContentBenchRow(content, name, round(num_contents / median(times), 1), round(plain_s / median(times), 2))
        for name, times in seconds.items()
    ]
