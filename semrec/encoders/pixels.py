"""Turns the bytes of an image into the square of pixels that a model sees, and into a small picture for people."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from semrec.encoders.contents import ContentError

__all__ = ["MAX_PIXELS", "View", "crop_of", "image_facts", "thumbnail_of"]

#: Of one image, before it is scaled: as many take 200 MB while they are decoded. Largest phone cameras make 50 million.
MAX_PIXELS: Final = 51_000_000
# Others are left out because Pillow hands them to programs (EPS) or decodes them without a known size.
_FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")


@dataclass(frozen=True)
class View:
    """What a model sees of an image, as it was trained: the central share of it, scaled, each channel shifted and divided.

    `mean` and `std` are of red, green and blue from 0 to 255.
    """

    height: int
    width: int
    crop_share: float
    interpolation: str  # bilinear or bicubic
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def crop_of(data: bytes, view: View) -> np.ndarray:
    """Decodes an image: uint8 [height, width, 3] of the centre, upright as its EXIF says, transparency on white.

    Of an animated image it takes the first frame. Raises ContentError for what is no image of a known format, is damaged, or
    has more than MAX_PIXELS pixels, which is known before any is decoded.
    """
    with _errors_as_reasons(), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        # A large JPEG is decoded at a half, quarter or eighth.
        upright = _upright(image, (2 * view.width, 2 * view.height))
        # One step from the crop to its size: scaling a strip of 1 x 50,000 pixels before the crop would take gigabytes.
        scale = view.crop_share * min(upright.width / view.width, upright.height / view.height)
        left, top = (upright.width - scale * view.width) / 2, (upright.height - scale * view.height) / 2
        box = (left, top, left + scale * view.width, top + scale * view.height)
        method = Image.Resampling[view.interpolation.upper()]
        return np.asarray(upright.resize((view.width, view.height), method, box=box))


def thumbnail_of(data: bytes, max_side: int) -> bytes:
    """A small JPEG of an image, as large as fits a square of `max_side` pixels; its own size where it is smaller.

    Of an animated image it shows the first frame. Raises ContentError as `crop_of` does.
    """
    with _errors_as_reasons(), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        small = _upright(image, (max_side, max_side))
        small.thumbnail((max_side, max_side))
        file = io.BytesIO()
        small.save(file, "JPEG", quality=85)
        return file.getvalue()


def image_facts(data: bytes) -> dict[str, str | int]:
    """The format and size of an image, of which no pixel is decoded. Raises ContentError for no image of a known format."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            return {"format": str(image.format).lower(), "width": image.width, "height": image.height}
    except Exception as error:  # as in `crop_of`
        reason = "no image of a known format" if isinstance(error, UnidentifiedImageError) else "damaged image"
        raise ContentError(reason) from None


@contextmanager
def _errors_as_reasons() -> Iterator[None]:
    """Turns what Pillow raises into a ContentError with the reason."""
    try:
        yield
    except ContentError:
        raise
    except UnidentifiedImageError:
        raise ContentError("no image of a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ContentError("too many pixels") from None
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ..., each for damage
        raise ContentError(f"damaged image: {type(error).__name__}") from None


def _upright(image: Image.Image, least_size: tuple[int, int]) -> Image.Image:
    """The first frame in red, green and blue, upright, at `least_size` at least where a JPEG can be decoded smaller."""
    if image.width * image.height > MAX_PIXELS:
        raise ContentError(f"too many pixels: {image.width} x {image.height}")
    image.draft("RGB", least_size)
    return _rgb(ImageOps.exif_transpose(image))


def _rgb(image: Image.Image) -> Image.Image:
    """The image in 8 bits of red, green and blue."""
    if image.mode.startswith("I;16"):  # conversion would cut the values off at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ContentError(f"pixels of unknown range: mode {image.mode}")
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        image = canvas
    return image.convert("RGB")
