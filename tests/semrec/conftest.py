"""Machines that multiply wrongly, for whatever chooses or uses a coarse format."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from wrong_products import saturated

from semrec.scoring.formats import check


@pytest.fixture
def saturating_int8(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose int8 products saturate."""
    monkeypatch.setattr(torch, "_int_mm", saturated)
    check._cpu_fault.cache_clear()
    yield
    check._cpu_fault.cache_clear()
