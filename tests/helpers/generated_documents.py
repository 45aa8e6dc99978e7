"""Word documents made in memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from xml.sax.saxutils import escape

__all__ = ["docx_of"]

_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_CORE = (
    '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/">'
    "<dc:title>{title}</dc:title><dc:creator>{author}</dc:creator><dc:language>en</dc:language>"
    "<dcterms:created>2019-05-06T07:08:09Z</dcterms:created></cp:coreProperties>"
)


_RELATIONS = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
_LINK = '<Relationship Id="r" Type="http://officeDocument/relationships/hyperlink" Target="{}" TargetMode="External"/>'


def docx_of(
    paragraphs: Sequence[str],
    *,
    title: str = "",
    author: str = "",
    prolog: str = "",
    links: Sequence[str] = (),
    images: Sequence[str] = (),
) -> bytes:
    """A Word document of paragraphs, with links and names of images. `prolog` stands before its XML."""
    body = "".join(f"<w:p><w:r><w:t>{escape(text)}</w:t></w:r></w:p>" for text in paragraphs)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", f"{prolog}<w:document {_W}><w:body>{body}</w:body></w:document>")
        archive.writestr("word/_rels/document.xml.rels", _RELATIONS.format("".join(map(_LINK.format, links))))
        for name in images:
            archive.writestr(f"word/media/{name}", b"image")
        archive.writestr("docProps/core.xml", _CORE.format(title=title, author=author))
    return file.getvalue()
