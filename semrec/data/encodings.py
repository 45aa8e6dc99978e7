"""Reads bytes of any encoding as UTF-8, and says which bytes are no text."""

from __future__ import annotations

import codecs
from typing import IO, Any, Final

from semrec.data.sources import Source

__all__ = ["is_text", "is_utf8", "text_fault", "text_stream"]

_CHUNK_BYTES: Final = 4 << 20


def text_stream(file: IO[bytes], encoding: str) -> Any:
    """Converts a byte stream of `encoding` to UTF-8. Bytes that are no text of it stay as they are."""
    return file if encoding == "utf-8" else _Transcoded(file, encoding)


def is_text(block: bytes) -> bool:
    """Returns whether bytes are UTF-8."""
    if block.isascii():
        return True
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def text_fault(raw: bytes) -> tuple[str, str]:
    """Returns the reason for which bytes are no text of a row and the detail, as the quarantine names them; "" for text."""
    try:
        return ("NUL byte" if "\0" in raw.decode() else "", "")
    except UnicodeDecodeError as error:
        return "bad UTF-8", f"byte 0x{raw[error.start]:02x}"


def is_utf8(source: Source) -> bool:
    """Returns whether the whole file is UTF-8; reads it once."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with source.open() as file:
            while chunk := file.read(_CHUNK_BYTES):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Handles errors as "surrogateescape", for bytes below 128 too: an odd byte of UTF-16 may be any."""
    assert isinstance(error, UnicodeDecodeError)
    bad = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + (byte if byte >= 0x80 else 0xFF)) for byte in bad), error.end


codecs.register_error("semrec-escape", _escaped)


class _Transcoded:
    """A byte stream of some encoding, read as UTF-8."""

    def __init__(self, file: IO[bytes], encoding: str) -> None:
        # Bytes that are no text of the encoding become bytes that are no UTF-8, and are found later in their row.
        self._file, self._decoder = file, codecs.getincrementaldecoder(encoding)("semrec-escape")

    def read(self, size: int) -> bytes:
        while chunk := self._file.read(size):
            if text := self._decoder.decode(chunk):  # nothing yet, where a character is cut
                return text.encode("utf-8", "surrogateescape")
        return self._decoder.decode(b"", final=True).encode("utf-8", "surrogateescape")
