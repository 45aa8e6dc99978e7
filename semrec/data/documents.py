"""Imports a folder of documents: one item for each file."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import fsspec
import pyarrow as pa

from semrec.data.imports import Mode, run_import
from semrec.data.kinds import ITEMS, ImportJob
from semrec.data.rejects import Progress
from semrec.data.report import ImportReport
from semrec.data.rows import ItemRow, item_tables
from semrec.data.sources import find_sources
from semrec.encoders.contents import ContentError, read_ahead, read_content, uri_with_digest
from semrec.encoders.document_readers import MAX_DOCUMENT_BYTES, DocumentReaders
from semrec.encoders.document_text import Document
from semrec.errors import InputError
from semrec.workspace.folder import Workspace
from semrec.workspace.quarantine import DEFAULT_MAX_SHARE

__all__ = ["import_documents"]

_TEXT_CHARS: Final = 2_000  # of a document, as the item's text: what a reader of the catalogue wants to see of it


def import_documents(
    workspace: Workspace,
    folder: str | Path,
    *,
    mode: Mode = "replace",
    max_rejected: float = DEFAULT_MAX_SHARE,
    allow_empty: bool = False,
    progress: Progress | None = None,
    num_processes: int | None = None,
) -> ImportReport:
    """Imports the documents below a folder, a path or any fsspec URL, as items; otherwise as `import_table`.

    Of an item the id is the file's path in the folder, the title the document's own or else the file's name, the text its
    beginning; the attributes are format, author and language, and its content `document` is a URI with the digest of the
    bytes: a file that changed is embedded again. A file that cannot be read is rejected as "unreadable document".

    `num_processes` read at once; None: one for each CPU.
    """
    num_readers = num_processes or os.cpu_count() or 1
    fs, root = fsspec.core.url_to_fs(str(folder))
    if not fs.isdir(root):
        raise InputError(f"{folder} is no folder", expected="a folder of documents", remedy="Check the path.")

    def tables(job: ImportJob) -> Generator[pa.Table]:
        sources = find_sources(folder, "documents", note=job.stats.note)
        base = str(folder).rstrip("/") + "/"
        names = [source.path.removeprefix(base) for source in sources]
        yield from item_tables(_rows(names, fs, str(root), job, num_readers), stats=job.stats)

    return run_import(
        workspace, ITEMS, tables, mode=mode, max_rejected=max_rejected, allow_empty=allow_empty, progress=progress
    )


def _rows(names: list[str], fs: Any, root: str, job: ImportJob, num_readers: int) -> Iterator[ItemRow]:
    """Yields an item for each file that can be read, in the order of `names`; the others are rejected."""
    with closing(DocumentReaders()) as readers, ThreadPoolExecutor(num_readers, "semrec-documents") as threads:

        def read(name: str) -> tuple[str, str, Document | ContentError]:
            uri = str(fs.unstrip_protocol(f"{root.rstrip('/')}/{name}"))
            try:
                data = read_content(uri, max_bytes=MAX_DOCUMENT_BYTES)
                return name, uri_with_digest(uri, data), readers.read(data, uri)
            except ContentError as error:
                return name, uri, error

        for name, uri, document in read_ahead(threads, read, names, 4 * num_readers):
            yield from _row(name, uri, document, job)


def _row(name: str, uri: str, document: Document | ContentError, job: ImportJob) -> Iterator[ItemRow]:
    job.stats.count(1)
    if isinstance(document, ContentError):
        job.stats.reject(name, None, "unreadable document", uri, detail=document.reason)
        return
    attributes = {
        "format": [document.format],
        "author": list(document.authors),
        "language": [document.language],
        "year": [document.created[:4]],
    }
    title = document.title or Path(name).stem
    text = f"{title}\n{' '.join(' '.join(document.pages).split())}"[:_TEXT_CHARS]
    yield ItemRow(name, title, text, attributes, name, None, {"document": uri})
