"""Reads what a document says: its text by page, its title, authors, date and language.

Files are not trusted, and the libraries that read them are not bound to end. `document_readers` calls this in processes with a
limit of time and memory; nothing else should.
"""

from __future__ import annotations

import contextlib
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from xml.etree import ElementTree
from xml.parsers import expat

from semrec.encoders.contents import ContentError

__all__ = [
    "MAX_CHARS",
    "MAX_PAGES",
    "Document",
    "decoded",
    "html_of_markdown",
    "read_document",
    "unpacked",
]

#: More are a catalogue or an archive, and no item of one.
MAX_PAGES: Final = 5_000
MAX_CHARS: Final = 20_000_000  # of the text of one document
_OCR_SCALE: Final = 150 / 72  # 150 dots an inch: at 100 words run together
_MAX_SCAN_PIXELS: Final = 8_000_000  # of a page, which is shrunk to them
_MAX_PART_BYTES: Final = 64 << 20  # of one unpacked file of a .docx
_HTML: Final = (".html", ".htm", ".xhtml")
_MARKDOWN: Final = (".md", ".markdown")
_WORD: Final = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


@dataclass(frozen=True)
class Document:
    """What a file says. `pages` are the texts of its pages; what has none is one page.

    `format`: pdf, docx, html, markdown or text. `created`: an ISO 8601 date; it, `language` and `title` may be empty.
    `document_parts` fills in links, images and thumbnails.
    """

    format: str
    pages: tuple[str, ...]
    title: str = ""
    authors: tuple[str, ...] = ()
    created: str = ""
    language: str = ""
    links: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    thumbnails: tuple[str, ...] = ()


def read_document(data: bytes, suffix: str, *, max_scanned_pages: int = 0) -> Document:
    """Reads a document, whose kind its first bytes say, or else the suffix of its name, such as `.md`.

    Of a PDF the first `max_scanned_pages` pages without text are read as images. Raises ContentError for what is none, is
    damaged, encrypted or too large, or has no text.
    """
    document = _reader_of(data, suffix.lower(), max_scanned_pages)(data)
    if sum(map(len, document.pages)) > MAX_CHARS:
        raise ContentError(f"more than {MAX_CHARS:,} characters")
    if not any(page.strip() for page in document.pages):
        raise ContentError("no text")
    return document


def _reader_of(data: bytes, suffix: str, max_scanned_pages: int) -> Callable[[bytes], Document]:
    if b"%PDF-" in data[:1024]:
        return partial(_read_pdf, max_scanned_pages=max_scanned_pages)
    if data.startswith(b"PK\x03\x04"):
        return _read_docx
    if suffix in _HTML or re.match(rb"\s*(<!doctype html|<html)", data[:1024], re.IGNORECASE):
        return _read_html
    # Any bytes could be read as Windows' Latin: text has a name of its own and none of the characters that control devices.
    is_utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    if suffix in (".pdf", ".docx") or (not is_utf16 and re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", data)):
        raise ContentError("no document of a known format")
    return _read_markdown if suffix in _MARKDOWN else _read_text


def _read_pdf(data: bytes, *, max_scanned_pages: int) -> Document:
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise ContentError("encrypted" if "password" in str(error).lower() else "damaged PDF") from None
    with contextlib.closing(pdf):
        if len(pdf) > MAX_PAGES:
            raise ContentError(f"too many pages: {len(pdf)}")
        about = pdf.get_metadata_dict()
        return Document(
            "pdf",
            tuple(_pages_of(pdf, max_scanned_pages)),
            about["Title"].strip(),
            _names(about["Author"]),
            _pdf_date(about["CreationDate"]),
        )


def _pages_of(pdf: Any, max_scanned_pages: int) -> Iterator[str]:
    """The text of each page. A page is closed at once: of a book all would take gigabytes."""
    num_scans = 0
    for number in range(len(pdf)):
        with contextlib.closing(pdf[number]) as page, contextlib.closing(page.get_textpage()) as text:
            written = text.get_text_bounded().replace("\r\n", "\n")
            if num_scans < max_scanned_pages and not written.strip():
                num_scans += 1
                written = _scanned_text(page)
            yield written


def _scanned_text(page: Any) -> str:
    from semrec.encoders.ocr import recognised_text

    num_pixels = page.get_width() * page.get_height() * _OCR_SCALE**2
    scale = _OCR_SCALE * min(1.0, (_MAX_SCAN_PIXELS / max(num_pixels, 1)) ** 0.5)
    return recognised_text(page.render(scale=scale, rev_byteorder=False).to_numpy())


def _pdf_date(text: str) -> str:
    """The date in D:YYYYMMDDHHmmSS, ISO 32000-1 section 7.9.4; empty for anything else."""
    digits = re.match(r"D:(\d{4})(\d\d)(\d\d)", text)
    return "-".join(digits.groups()) if digits else ""


def _read_docx(data: bytes) -> Document:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile:
        raise ContentError("damaged archive") from None
    with archive:
        if "word/document.xml" not in archive.namelist():
            raise ContentError("no document of a known format")
        text = _word_text(unpacked(archive, "word/document.xml"))
        about: dict[str, str] = {}
        if "docProps/core.xml" in archive.namelist():
            root = ElementTree.fromstring(unpacked(archive, "docProps/core.xml"))
            about = {element.tag.rpartition("}")[2]: (element.text or "").strip() for element in root}
    created = about.get("created", "")[:10]
    return Document(
        "docx", (text,), about.get("title", ""), _names(about.get("creator", "")), created, about.get("language", "")
    )


def unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    """A file of an archive. Raises ContentError for one that unpacks to too much, and for XML that defines entities."""
    with archive.open(name) as file:
        data = file.read(_MAX_PART_BYTES + 1)
    if len(data) > _MAX_PART_BYTES:
        raise ContentError(f"{name} unpacks to more than {_MAX_PART_BYTES >> 20} MiB")
    if b"<!DOCTYPE" in data[:4096]:
        raise ContentError(f"{name} defines entities")
    return data


def _word_text(xml: bytes) -> str:
    """The text of `word/document.xml`: a line for each paragraph, ECMA-376 part 1, section 17.3."""
    pieces: list[str] = []
    is_text = False

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal is_text
        is_text = tag == f"{_WORD} t"
        pieces.append({f"{_WORD} tab": "\t", f"{_WORD} br": "\n"}.get(tag, ""))

    def end(tag: str) -> None:
        nonlocal is_text
        is_text = False
        pieces.append("\n" if tag == f"{_WORD} p" else "")

    def letters(text: str) -> None:
        pieces.append(text if is_text else "")

    parser = expat.ParserCreate(namespace_separator=" ")  # a tree of a long document would be ten times its size
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, letters
    parser.Parse(xml, True)
    return "".join(pieces)


def _read_html(data: bytes) -> Document:
    return _from_html(decoded(data), "html")


def _read_markdown(data: bytes) -> Document:
    return _from_html(html_of_markdown(data), "markdown")


def html_of_markdown(data: bytes) -> str:
    """Markdown (CommonMark) as HTML."""
    from markdown_it import MarkdownIt

    html: str = MarkdownIt("commonmark").render(decoded(data))
    return html


def _from_html(html: str, kind: str) -> Document:
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(html)
    tree.strip_tags(["script", "style", "noscript", "template"])
    heading, root = tree.css_first("title") or tree.css_first("h1"), tree.css_first("html")
    meta = {
        str(node.attributes.get("name")).lower(): str(node.attributes.get("content") or "")
        for node in tree.css("meta[name]")
    }
    text = tree.body.text(separator="\n", strip=True) if tree.body else ""
    lines = "\n".join(line for line in text.split("\n") if line)
    return Document(
        kind,
        (lines,),
        heading.text(strip=True) if heading else "",
        _names(meta.get("author", "")),
        meta.get("date", "")[:10],
        (root.attributes.get("lang") or "") if root else "",
    )


def _read_text(data: bytes) -> Document:
    return Document("text", tuple(decoded(data).split("\f")))


def decoded(data: bytes) -> str:
    """Text in the encoding that it names in its first bytes or in HTML's `charset`, else UTF-8, else Windows' Latin."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    named = re.search(rb"charset=[\"']?([\w-]+)", data[:2048])
    for encoding in (*([named[1].decode()] if named else ()), "utf-8-sig"):
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            return data.decode(encoding)
    return data.decode("cp1252", "replace")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in re.split(r"[;,]| and ", text) if name.strip())
