"""Machines that multiply wrongly, for whatever chooses or uses a coarse format."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from helpers.wrong_products import saturated
from semrec.scoring.formats import check, panels


@pytest.fixture
def saturating_int8(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose int8 products saturate, and which has no instruction for panels."""
    monkeypatch.setattr(torch, "_int_mm", saturated)
    monkeypatch.setattr(panels, "has_products", lambda kind: False)
    check._cpu_fault.cache_clear()
    yield
    check._cpu_fault.cache_clear()
