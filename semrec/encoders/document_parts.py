"""Lists what a document shows beside its text: links, images, and small pictures of its pages.

As `document_text`, which says what a file is, it runs in processes with a limit of time and memory.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from ctypes import byref, c_int, create_string_buffer
from dataclasses import replace
from typing import Any, Final
from xml.etree import ElementTree

from semrec.encoders.document_text import Document, decoded, html_of_markdown, unpacked

__all__ = ["with_parts", "with_thumbnails"]

_MAX_LISTED: Final = 200  # links and images of one document, each
_MAX_PAGES: Final = 200  # that are looked at
_SIDE: Final = 320  # pixels of a thumbnail's longer side


def with_parts(document: Document, data: bytes) -> Document:
    """`document`, which was read from `data`, with its links and its images.

    Links are URIs; images are what HTML and Markdown name, files in a .docx, and page and pixels in a PDF. Of each there are
    the first 200 in their order, each once.
    """
    if document.format == "pdf":
        return _with_parts_of_pdf(document, data)
    if document.format == "docx":
        links, images = _parts_of_docx(data)
    elif document.format in ("html", "markdown"):
        html = decoded(data) if document.format == "html" else html_of_markdown(data)
        links, images = _parts_of_html(html)
    else:
        return document
    return replace(document, links=_listed(links), images=_listed(images))


def with_thumbnails(document: Document, data: bytes, num_thumbnails: int) -> Document:
    """`document`, which was read from `data`, with JPEGs in base64 of its first pages, which PDFs alone have."""
    if document.format != "pdf" or not num_thumbnails:
        return document
    import pypdfium2

    with contextlib.closing(pypdfium2.PdfDocument(data)) as pdf:
        pages = range(min(num_thumbnails, len(pdf)))
        return replace(document, thumbnails=tuple(_thumbnail(pdf[number]) for number in pages))


def _with_parts_of_pdf(document: Document, data: bytes) -> Document:
    import pypdfium2

    with contextlib.closing(pypdfium2.PdfDocument(data)) as pdf:
        links = _listed(_of_pages(pdf, lambda number, page: _links_of(pdf, page)))
        return replace(document, links=links, images=_listed(_of_pages(pdf, _images_of)))


def _of_pages(pdf: Any, parts_of_page: Callable[[int, Any], Iterable[str]]) -> Iterator[str]:
    for number in range(min(len(pdf), _MAX_PAGES)):
        with contextlib.closing(pdf[number]) as page:
            yield from parts_of_page(number, page)


def _links_of(pdf: Any, page: Any) -> Iterator[str]:
    """The URIs of a page's link annotations: actions of the type URI, ISO 32000-1 section 12.6.4.7."""
    import pypdfium2.raw as pdfium

    place, link = c_int(0), pdfium.FPDF_LINK()
    while pdfium.FPDFLink_Enumerate(page, byref(place), byref(link)):
        action = pdfium.FPDFLink_GetAction(link)
        if action and pdfium.FPDFAction_GetType(action) == pdfium.PDFACTION_URI:
            uri = create_string_buffer(pdfium.FPDFAction_GetURIPath(pdf, action, None, 0))
            pdfium.FPDFAction_GetURIPath(pdf, action, uri, len(uri))
            yield uri.value.decode("utf-8", "replace")


def _images_of(number: int, page: Any) -> Iterator[str]:
    import pypdfium2.raw as pdfium

    for image in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=2):
        width, height = image.get_px_size()
        yield f"page {number + 1}: {width} x {height}"


def _thumbnail(page: Any) -> str:
    with contextlib.closing(page):
        image = page.render(scale=_SIDE / max(*page.get_size(), 1.0)).to_pil()
        file = io.BytesIO()
        image.convert("RGB").save(file, "JPEG", quality=80)
        return b64encode(file.getvalue()).decode()


def _parts_of_docx(data: bytes) -> tuple[list[str], list[str]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        images = [name for name in archive.namelist() if name.startswith("word/media/")]
        relations = "word/_rels/document.xml.rels"
        if relations not in archive.namelist():
            return [], images
        elements = ElementTree.fromstring(unpacked(archive, relations))
    links = [
        element.attrib.get("Target", "")
        for element in elements
        if element.attrib.get("TargetMode") == "External" and element.attrib.get("Type", "").endswith("/hyperlink")
    ]
    return links, images


def _parts_of_html(html: str) -> tuple[list[str], list[str]]:
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(html)
    links = [str(node.attributes.get("href") or "") for node in tree.css("a[href]")]
    return links, [str(node.attributes.get("src") or "") for node in tree.css("img[src]")]


def _listed(names: Iterable[str]) -> tuple[str, ...]:
    """The first names, each once."""
    listed: dict[str, None] = {}
    for name in filter(None, names):
        listed[name[:2_048]] = None
        if len(listed) == _MAX_LISTED:
            break
    return tuple(listed)
