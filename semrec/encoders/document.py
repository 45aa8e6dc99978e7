"""Embeds documents, by URI: their text in windows through the text encoder, the windows' vectors pooled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import numpy as np

from semrec.encoders.base import Encoder, EncoderIdentity, encoder_class
from semrec.encoders.contents import ContentError, read_ahead, read_content
from semrec.encoders.devices import DeviceKind
from semrec.encoders.document_readers import MAX_DOCUMENT_BYTES, DocumentReaders, max_cpu_s_of
from semrec.encoders.document_text import MAX_CHARS, MAX_PAGES, Document
from semrec.encoders.ocr import ocr_name
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.vectors import normalise_rows
from semrec.errors import EncoderError
from semrec.workspace.digests import fingerprint, sha256_hex

__all__ = ["DocumentEncoder", "DocumentIdentity", "text_of", "windows_of"]

_READER_VERSION: Final = 1  # raised when the same file gives another text
_MAX_WINDOWS: Final = 256  # of one document; of a longer one they are spread evenly over it
_MAX_SCANNED_PAGES: Final = 16  # of one document, its first
_MAX_SCANNED_PAGES_OF_CALLERS: Final = 4  # where somebody waits for them
_WINDOWS_PER_CALL: Final = 512
_MAX_TEXT_CHARS: Final = 65_536  # of one document for the index of words: some ten thousand words
_READERS: Final = 2  # processes at least: one reads while the other's text is embedded


@dataclass(frozen=True)
class DocumentIdentity:
    """All that a document's vector depends on besides its bytes, the build and the make of the device."""

    kind: ClassVar[str] = "document"
    text: EncoderIdentity
    window_tokens: int
    max_windows: int = _MAX_WINDOWS
    reader: int = _READER_VERSION
    ocr: str | None = None  # what reads pages without text
    max_scanned_pages: int = 0  # how many of them

    @property
    def dimension(self) -> int:
        return self.text.dimension

    @property
    def device_kind(self) -> DeviceKind:
        return self.text.device_kind

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.to_json())

    @property
    def name(self) -> str:
        """The embedding's folder name: that of the text encoder's, and 8 digits of the fingerprint."""
        return f"documents-{self.text.name.rpartition('-')[0]}-{self.fingerprint[:8]}"

    def to_json(self) -> dict[str, Any]:
        text = self.text.to_json()
        own = {"window_tokens": self.window_tokens, "max_windows": self.max_windows, "reader": self.reader}
        scans = {"ocr": self.ocr, "max_scanned_pages": self.max_scanned_pages} if self.ocr else {}
        return {"kind": self.kind, "model": text["model"], "text": text, **own, **scans}


class DocumentEncoder(Encoder):
    """A loaded text encoder with readers of documents."""

    kind: ClassVar[str] = "document"
    modality: ClassVar[str] = "document"
    text_version: ClassVar[int] = 1

    def __init__(self, identity: DocumentIdentity, text: Encoder, *, num_readers: int) -> None:
        self.identity, self._text = identity, text
        self._readers = DocumentReaders(max_scanned_pages=identity.max_scanned_pages)
        self._num_readers = num_readers
        #: URI, digest and text of what `metadata` read last, which `embed` need not read again.
        self._last_read: tuple[str, str, Document] | None = None
        self._reading = ThreadPoolExecutor(num_readers, "semrec-documents")

    @classmethod
    def plan(cls, settings: EmbedSettings, *, device_kind: DeviceKind | None = None) -> DocumentIdentity:
        text = encoder_class("text").plan(settings, device_kind=device_kind)
        window_tokens = settings.max_tokens * 7 // 8  # the count of tokens is a guess: an eighth to spare
        if not settings.ocr:
            return DocumentIdentity(text, window_tokens)
        return DocumentIdentity(text, window_tokens, ocr=ocr_name(), max_scanned_pages=_MAX_SCANNED_PAGES)

    @classmethod
    def for_callers(cls, identity: DocumentIdentity) -> DocumentIdentity:
        """See `Encoder.for_callers`: fewer scanned pages are read, and windows embedded one by one."""
        text = encoder_class("text").for_callers(identity.text)
        num_scanned = min(identity.max_scanned_pages, _MAX_SCANNED_PAGES_OF_CALLERS)
        return replace(identity, text=text, max_scanned_pages=num_scanned)

    @classmethod
    def load(
        cls, identity: DocumentIdentity, settings: EmbedSettings, *, num_threads: int | None = None
    ) -> DocumentEncoder:
        if identity.ocr and ocr_name() != identity.ocr:
            raise EncoderError(f"{ocr_name()} here", expected=identity.ocr, remedy="Install that version.")
        text = encoder_class("text").load(identity.text, settings, num_threads=num_threads)
        return cls(identity, text, num_readers=max(_READERS, num_threads or 0))

    @classmethod
    def limits(cls, identity: Mapping[str, Any]) -> dict[str, int]:
        of_scans = {"max_scanned_pages": _MAX_SCANNED_PAGES_OF_CALLERS} if "ocr" in identity else {}
        max_cpu_s = int(max_cpu_s_of(of_scans.get("max_scanned_pages", 0)))
        of_reading = {"max_pages": MAX_PAGES, "max_characters": MAX_CHARS, "max_cpu_s": max_cpu_s}
        windows = {"max_windows": int(identity["max_windows"])}
        return {"max_bytes": MAX_DOCUMENT_BYTES, **of_reading, **of_scans, **windows}

    @classmethod
    def settings_of(cls, identity: Mapping[str, Any]) -> dict[str, Any]:
        return {name: identity["text"][name] for name in ("model", "max_tokens")} | {"ocr": "ocr" in identity}

    @property
    def device_name(self) -> str:
        return self._text.device_name

    def metadata(self, content: str, *, num_thumbnails: int = 0) -> dict[str, Any]:
        """Its format, title, authors, date and language, how much it says, and what `document_parts` lists of it."""
        data = read_content(content, max_bytes=MAX_DOCUMENT_BYTES)
        document = self._readers.read(data, content, num_thumbnails=num_thumbnails)
        self._last_read = content, sha256_hex(data), document
        size = {"num_pages": len(document.pages), "num_characters": sum(map(len, document.pages))}
        named = ("format", "title", "authors", "created", "language", "links", "images", "thumbnails")
        return {name: getattr(document, name) for name in named} | size

    def embed(self, contents: Sequence[str]) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """Embeds the documents at the URIs `contents`; see `Encoder.embed`.

        A vector is the mean of the windows' vectors, each weighted by its tokens. Reasons are those of `read_content` and
        `DocumentReaders.read`, and "no vector of any window". Raises StoreUnavailableError when a store cannot serve now.
        """
        return self.embed_and_read(contents)[:2]

    def embed_and_read(self, contents: Sequence[str]) -> tuple[np.ndarray, list[tuple[int, str]], list[str]]:
        """See `Encoder.embed_and_read`: texts are the documents' first 65,536 characters, cut between words."""
        texts = [""] * len(contents)
        sums_ND = np.zeros((len(contents), self.identity.dimension))
        rejected: dict[int, str] = {}
        owners: list[int] = []
        windows: list[str] = []
        # Some are read while those before them are embedded.
        documents = read_ahead(self._reading, self._read, contents, 4 * self._num_readers)
        for index, document in enumerate(documents):
            if isinstance(document, ContentError):
                rejected[index] = document.reason
                self.num_unread += document.is_unread
                continue
            texts[index] = text_of(document)
            own = windows_of(document, self.identity)
            windows += own
            owners += [index] * len(own)
            if len(windows) >= _WINDOWS_PER_CALL:
                self._add(windows, owners, sums_ND)
                windows, owners = [], []
        self._add(windows, owners, sums_ND)
        vectors_ND, norms_N = normalise_rows(sums_ND)
        for index in np.flatnonzero(norms_N == 0).tolist():
            rejected.setdefault(index, "no vector of any window")
        return vectors_ND, sorted(rejected.items()), texts

    def _add(self, windows: list[str], owners: list[int], sums_ND: np.ndarray) -> None:
        """Adds the vectors of windows to the rows of their documents; a window without a vector is a row of zeros."""
        if windows:
            vectors_WD, _ = self._text.embed(windows)
            self.halved_calls = self._text.halved_calls
            weights_W = np.array([_num_tokens(window.split()) for window in windows], np.float64)
            np.add.at(sums_ND, owners, vectors_WD * weights_W[:, None])  # in order, so the sums' bytes are fixed

    def _read(self, uri: str) -> Document | ContentError:
        try:
            data, last = read_content(uri, max_bytes=MAX_DOCUMENT_BYTES), self._last_read
            if last is not None and last[:2] == (uri, sha256_hex(data)):
                self._last_read = None
                return last[2]
            return self._readers.read(data, uri)
        except ContentError as error:
            return error


def text_of(document: Document) -> str:
    """The title and the text of a document with one blank between words, as long as `_MAX_TEXT_CHARS` at most.

    A lone surrogate, which some encodings that a file may name can spell, is a question mark: it cannot be stored.
    """
    text = " ".join(" ".join((document.title, *document.pages)).split())[: _MAX_TEXT_CHARS + 1]
    text = text.encode(errors="replace").decode()
    return text if len(text) <= _MAX_TEXT_CHARS else text.rpartition(" ")[0] or text[:_MAX_TEXT_CHARS]


def windows_of(document: Document, identity: DocumentIdentity) -> list[str]:
    """Cuts a document, its title first, into texts of about `window_tokens` tokens, between words.

    Of a document with more than `max_windows` as many are taken, evenly over its length.
    """
    words = " ".join((document.title, *document.pages)).split()
    windows: list[str] = []
    window: list[str] = []
    num_tokens = 0
    for word in words:
        added = _num_tokens([word])
        if window and num_tokens + added > identity.window_tokens:
            windows.append(" ".join(window))
            window, num_tokens = [], 0
        window.append(word)
        num_tokens += added
    windows += [" ".join(window)] if window else []
    count = min(len(windows), identity.max_windows)
    return [windows[number * len(windows) // count] for number in range(count)]


def _num_tokens(words: Sequence[str]) -> int:
    """About as many tokens as a word-piece model makes of them: one for 5 ASCII letters begun, one for any other letter."""
    num_ascii = [
        len(word) - sum(letter > "\x7f" for letter in word) if not word.isascii() else len(word) for word in words
    ]
    return sum(-(-ascii_ // 5) + len(word) - ascii_ for word, ascii_ in zip(words, num_ascii, strict=True))
