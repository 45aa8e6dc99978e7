"""Every kind of image gives a model's pixels, or a reason why there are none."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from semrec.encoders.contents import ContentError
from semrec.encoders.pixels import View, crop_of, thumbnail_of

VIEW = View(224, 224, 0.875, "bicubic", (127.0,) * 3, (128.0,) * 3)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, fmt: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, fmt, **options)
    return file.getvalue()


def halves() -> Image.Image:
    """100 x 100, blue on the left and red on the right."""
    image = Image.new("RGB", (100, 100), RED)
    image.paste(BLUE, (0, 0, 50, 100))
    return image


def empty_png(width: int, height: int) -> bytes:
    """A black PNG that is a thousandth of its pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def turned() -> bytes:
    """`halves`, to be turned by a quarter to the right: blue above."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(halves(), "JPEG", exif=exif, quality=95)


@pytest.mark.parametrize(
    ("data", "left", "top"),
    [
        (encoded(halves()), BLUE, None),
        (encoded(halves(), "JPEG", quality=95), BLUE, None),
        (encoded(halves().resize((4000, 4000)), "JPEG", quality=95), BLUE, None),  # decoded at an eighth
        (encoded(halves().convert("CMYK"), "JPEG", quality=95), BLUE, None),
        (encoded(halves(), "GIF", save_all=True, append_images=[Image.new("RGB", (100, 100), GREEN)]), BLUE, None),
        (encoded(halves(), "WEBP", lossless=True), BLUE, None),
        (turned(), None, BLUE),
        (encoded(Image.new("RGB", (1, 1), GREEN)), GREEN, GREEN),
        (encoded(Image.new("RGB", (50_000, 1), GREEN)), GREEN, GREEN),
        (encoded(Image.new("RGBA", (30, 30), (0, 0, 0, 0))), WHITE, WHITE),
        (encoded(Image.new("RGBA", (30, 30), (0, 0, 0, 0)).quantize()), WHITE, WHITE),
        (encoded(Image.new("L", (30, 30), 255)), WHITE, WHITE),
        (encoded(Image.fromarray(np.full((30, 30), 65_535, np.uint16))), WHITE, WHITE),
    ],
    ids=[
        "png",
        "jpeg",
        "large",
        "cmyk",
        "animated",
        "webp",
        "exif",
        "1x1",
        "strip",
        "clear",
        "palette",
        "grey",
        "16 bit",
    ],
)
def test_the_centre_is_seen_upright(data: bytes, left: tuple | None, top: tuple | None) -> None:
    crop = crop_of(data, VIEW)
    assert (crop.shape, crop.dtype) == ((224, 224, 3), np.uint8)
    for pixel, colour in ((crop[112, 10], left), (crop[10, 112], top)):
        assert colour is None or np.abs(pixel.astype(int) - colour).max() <= 4


def test_pixels_are_those_of_scaling_first_and_cropping_then() -> None:
    noise = np.random.default_rng(7).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((768, 512), Image.Resampling.BICUBIC)
    plain = np.asarray(image.resize((384, 256), Image.Resampling.BICUBIC).crop((80, 16, 304, 240)))
    assert np.abs(crop_of(encoded(image), VIEW).astype(int) - plain).max() <= 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (empty_png(30_000, 30_000), "too many pixels"),
        (empty_png(7_200, 7_200), "too many pixels: 7200 x 7200"),
        (encoded(halves(), "JPEG")[:700], "damaged image: OSError"),
        (encoded(halves().resize((99, 99)))[:120], "damaged image: OSError"),
        (b"%PDF-1.7 and more", "no image of a known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image of a known format"),
        (encoded(halves().convert("F"), "TIFF"), "pixels of unknown range: mode F"),
    ],
)
def test_what_is_no_image_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ContentError) as caught:
        crop_of(data, VIEW)
    assert caught.value.reason.startswith(reason)
    assert not caught.value.is_unread  # another try would find the same


def test_a_thumbnail_is_upright_opaque_and_no_larger_than_asked() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    for image, size in [
        (halves(), (40, 40)),
        (Image.new("RGB", (30, 20)), (30, 20)),
        (Image.new("RGBA", (200, 50)), (40, 10)),
    ]:
        with Image.open(io.BytesIO(thumbnail_of(encoded(image), 40))) as small:
            assert (small.format, small.size, small.mode) == ("JPEG", size, "RGB")
    with Image.open(io.BytesIO(thumbnail_of(encoded(Image.new("RGB", (80, 20)), "JPEG", exif=exif), 40))) as small:
        assert small.size == (10, 40)
    with pytest.raises(ContentError, match="too many pixels"):
        thumbnail_of(empty_png(30_000, 30_000), 40)
