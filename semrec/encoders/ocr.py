"""Reads the text of an image of a page: optical character recognition, by RapidOCR's models, which come with its package.

It runs in the processes of `document_readers`, within their limits.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from semrec.errors import EncoderError

__all__ = ["ocr_name", "recognised_text"]

_PACKAGE = "rapidocr_onnxruntime"


def ocr_name() -> str:
    """The recogniser with its version, on which the text of a scan depends. Raises EncoderError where it is not installed."""
    try:
        return f"{_PACKAGE} {version(_PACKAGE)}"
    except PackageNotFoundError:
        raise EncoderError(
            f"no {_PACKAGE}, which reads scanned pages",
            expected="it, for encoder.ocr",
            remedy="pip install 'semrec[ocr]', or set encoder.ocr to false.",
        ) from None


def recognised_text(pixels: np.ndarray) -> str:
    """The lines of text in an image, uint8 [height, width, 3], from top to bottom; empty where there are none."""
    lines, _ = _recogniser()(pixels, use_cls=False)  # pages stand upright
    return "\n".join(text for _, text, _ in lines or ())


@cache
def _recogniser() -> Any:
    from rapidocr_onnxruntime import RapidOCR

    return RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)  # one thread: the same sums in the same order
