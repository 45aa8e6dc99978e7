"""Every kind of document gives its text and what it says of itself, or a reason why not, and none ends its reader's caller."""

from __future__ import annotations

import io
import zipfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from PIL import Image

from helpers.generated_documents import docx_of
from semrec.bench.content import pdf_of
from semrec.encoders.contents import ContentError
from semrec.encoders.document_readers import DocumentReaders, _answer
from semrec.encoders.document_text import Document, read_document

pytest.importorskip("pypdfium2", reason="NOT TESTED: pypdfium2 is absent; pip install 'semrec[documents]'")
pytest.importorskip("selectolax", reason="NOT TESTED: selectolax is absent; pip install 'semrec[documents]'")

PAGE = b"""<!doctype html><html lang="fr"><head><meta charset="iso-8859-1"><title>Le ch\xe2teau</title>
<meta name="Author" content="Ann Bell; C. Day"><meta name="date" content="2020-01-02T00:00"><style>p{}</style></head>
<body><script>let hidden</script><h1>Un</h1><p>deux <b>trois</b></p></body></html>"""
MARKDOWN = "# Café\n\nA *short* story.\n\n- one\n- two\n"


SCAN = ["A sailor crosses the ocean", "in a small boat at night."]


def scan_of(lines: list[str]) -> bytes:
    """A PDF of one page that is an image of lines of text."""
    from PIL import Image, ImageDraw, ImageFont

    page, file = Image.new("RGB", (1240, 400), "white"), io.BytesIO()
    for number, line in enumerate(lines):
        ImageDraw.Draw(page).text((100, 100 + 80 * number), line, fill="black", font=ImageFont.load_default(size=40))
    page.save(file, "PDF", resolution=150)
    return file.getvalue()


@pytest.fixture(scope="module")
def readers() -> Iterator[DocumentReaders]:
    with closing(DocumentReaders()) as readers:
        yield readers


@pytest.mark.parametrize(
    ("data", "uri", "document"),
    [
        (
            pdf_of(["First page", "Second page"], title="A title", author="Ann Bell and C. Day"),
            "/any",
            Document("pdf", ("First page", "Second page"), "A title", ("Ann Bell", "C. Day"), "2021-02-03"),
        ),
        (
            docx_of(["One & two", "three"], title="A letter", author="Ann Bell"),
            "/any",
            Document("docx", ("One & two\nthree\n",), "A letter", ("Ann Bell",), "2019-05-06", "en"),
        ),
        (
            PAGE,
            "https://host/index",
            Document("html", ("Un\ndeux\ntrois",), "Le château", ("Ann Bell", "C. Day"), "2020-01-02", "fr"),
        ),
        (
            MARKDOWN.encode(),
            "file:///a b.md#sha256=00",
            Document("markdown", ("Café\nA\nshort\nstory.\none\ntwo",), "Café"),
        ),
        ("deux\fpages".encode("utf-16"), "/a.txt", Document("text", ("deux", "pages"))),
        ("d\xe9j\xe0".encode("cp1252"), "/a.txt", Document("text", ("déjà",))),
    ],
    ids=["pdf", "docx", "html", "markdown", "utf-16", "cp1252"],
)
def test_a_document_says(readers: DocumentReaders, data: bytes, uri: str, document: Document) -> None:
    assert readers.read(data, uri) == document


def archive_of(name: str, data: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pdf_of(["secret"], is_encrypted=True), "encrypted"),
        (pdf_of(["a page"] * 10_000), "too many pages: 10000"),
        (pdf_of(["", ""]), "no text"),  # as scanned pages are
        (b"%PDF-1.4 and nothing", "damaged PDF"),
        (archive_of("word/document.xml", bytes(65 << 20)), "word/document.xml unpacks to more than 64 MiB"),
        (docx_of(["a"], prolog='<!DOCTYPE x [<!ENTITY a "b">]>'), "word/document.xml defines entities"),
        (docx_of(["a" * 5_000])[:-200], "damaged archive"),
        (archive_of("word/document.xml", b"<w:document>"), "damaged document: ExpatError"),
        (archive_of("photos/1.jpg", b"pixels"), "no document of a known format"),
        (b"\x89PNG\r\n\x1a\n\0\0", "no document of a known format"),
        (b"\x89\x01\xd0", "no document of a known format"),
        (b" \n\t", "no text"),
        (b"<html><body><script>x</script></body></html>", "no text"),
    ],
)
def test_what_is_no_document_has_a_reason(readers: DocumentReaders, data: bytes, reason: str) -> None:
    with pytest.raises(ContentError) as caught:
        readers.read(data, "/any")
    assert (caught.value.reason, caught.value.is_unread) == (reason, False)


def test_a_name_does_not_make_a_pdf(readers: DocumentReaders) -> None:
    with pytest.raises(ContentError, match="no document of a known format"):
        readers.read(b"words", "/a.pdf")


@pytest.mark.parametrize(
    ("paragraphs", "limits", "reason"),
    [
        (["x"] * 100_000, {"max_cpu_s": 0.05}, "takes longer than 0.05 s to read"),
        (["x" * 30_000_000], {"max_memory_bytes": 96 << 20}, "needs more memory than allowed"),
    ],
    ids=["time", "memory"],
)
def test_a_file_beyond_a_limit_ends_no_other(paragraphs: list[str], limits: dict, reason: str) -> None:
    with closing(DocumentReaders(**limits)) as readers:
        with pytest.raises(ContentError, match=reason):
            readers.read(docx_of(paragraphs), "/large.docx")
        assert readers.read(b"small", "/a.txt").pages == ("small",)


def test_scanned_pages_are_read_where_it_is_asked_for(readers: DocumentReaders) -> None:
    reason = "NOT TESTED: pip install 'semrec[ocr]', and libGL (apt-get install libgl1 libglib2.0-0)"
    pytest.importorskip("rapidocr_onnxruntime", reason=reason, exc_type=ImportError)
    with pytest.raises(ContentError, match="no text"):
        readers.read(scan_of(SCAN), "/scan.pdf")
    with closing(DocumentReaders(max_scanned_pages=1)) as reading:
        (page,) = reading.read(scan_of(SCAN), "/scan.pdf").pages
        assert page.replace(" ", "") == "\n".join(SCAN).replace(" ", "")
        assert reading.read(pdf_of(["Written"]), "/any").pages == ("Written",)
        with pytest.raises(ContentError, match="no text"):
            reading.read(scan_of([]), "/scan.pdf")


def test_at_most_so_many_pages_of_a_document_are_read_as_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semrec.encoders.ocr.recognised_text", lambda pixels: f"read {pixels.shape[2]}")
    pages = read_document(pdf_of(["", "Written", "", ""]), ".pdf", max_scanned_pages=2).pages
    assert pages == ("read 3", "Written", "read 3", "")


def pdf_with_parts() -> bytes:
    """Two pages with a link each, to the same place, and an image of 3 x 2 pixels on the second."""
    link = "<< /Type /Annot /Subtype /Link /Rect [0 0 9 9] /A << /S /URI /URI (https://example.org/a) >> >>"
    image = (
        "<< /Type /XObject /Subtype /Image /Width 3 /Height 2 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length 6 >>"
    )
    pdf = pdf_of(["First page", "Second page"]).decode()
    pdf = pdf.replace("/MediaBox", f"/Annots [{link}] /MediaBox")
    body = "q 30 0 0 20 0 0 cm /I Do Q"
    pdf = pdf.replace("(Second page) Tj ET", f"(Second page) Tj ET {body}")
    pdf = pdf.replace("<< /Font", "<< /XObject << /I 99 0 R >> /Font")
    return pdf.replace("xref\n", f"99 0 obj\n{image}\nstream\n\1\2\3\4\5\6\nendstream\nendobj\nxref\n", 1).encode()


def test_links_images_and_thumbnails_are_listed_where_asked(readers: DocumentReaders) -> None:
    pdf = readers.read(pdf_with_parts(), "/any", num_thumbnails=9)
    assert (pdf.links, pdf.images) == (("https://example.org/a",), ("page 2: 3 x 2",))
    sizes = []
    for thumbnail in pdf.thumbnails:
        with Image.open(io.BytesIO(b64decode(thumbnail))) as image:
            sizes.append((image.format, image.size))
    assert sizes == [("JPEG", (248, 320))] * 2
    html = (
        b'<html><body>text <a href="https://a">a</a><a href="/b">b</a><a href="/b">c</a><img src="c.png"></body></html>'
    )
    found = readers.read(html, "/a.html", num_thumbnails=1)
    assert (found.links, found.images, found.thumbnails) == (("https://a", "/b"), ("c.png",), ())
    markdown = readers.read(b"[a](https://a) ![b](b.png)", "/a.md", num_thumbnails=0)
    assert (markdown.links, markdown.images) == (("https://a",), ("b.png",))
    docx = readers.read(docx_of(["text"], links=["https://a"], images=["one.png"]), "/any", num_thumbnails=0)
    assert (docx.links, docx.images) == (("https://a",), ("word/media/one.png",))
    assert readers.read(html, "/a.html").links == ()


def test_each_link_is_listed_once_among_the_first(readers: DocumentReaders) -> None:
    html = "text" + '<a href="/top">top</a>' * 300 + "".join(f'<a href="/{number}">a</a>' for number in range(300))
    links = readers.read(html.encode(), "/a.html", num_thumbnails=0).links
    assert links == ("/top", *(f"/{number}" for number in range(199)))


def test_what_cannot_be_drawn_takes_no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def raised_by_drawing(error: Exception) -> dict[str, Any]:
        def draw(page: Any) -> str:
            raise error

        monkeypatch.setattr("semrec.encoders.document_parts._thumbnail", draw)
        return _answer(pdf_with_parts(), ".pdf", 1, 0)

    drawn = raised_by_drawing(ValueError("a damaged page"))
    assert (drawn["links"], drawn["images"], drawn["thumbnails"]) == (
        ("https://example.org/a",),
        ("page 2: 3 x 2",),
        (),
    )
    assert raised_by_drawing(ImportError("no PIL")) == {"missing": "no PIL"}
