"""How fast one device scores and embeds: measured on the device at hand, or projected from a data sheet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from semrec.errors import InputError

__all__ = ["Rates", "projected_rates", "with_embedding"]

#: Dense bfloat16 FLOP/s and bytes/s of memory, from NVIDIA's data sheets (L4, A100 SXM 40 GB, H100 SXM).
_DATA_SHEETS: Final = {"l4": (121e12, 0.30e12), "a100": (312e12, 1.55e12), "h100": (989e12, 3.35e12)}
#: What a kernel is taken to get of both. An assumption: no figure of ours was measured on these devices.
_SHARE_OF_PEAK: Final = 0.25
_PAIRS_PER_RESULT: Final = 2.2  # rescored pairs per result, as measured on real embeddings at K = 10 to 1000
_FLOP_PER_TOKEN: Final = 25e6  # of all-MiniLM-L6-v2: two for each of 10.6 million weights, and attention
_TOKENS_PER_TEXT: Final = 64


@dataclass(frozen=True)
class Rates:
    """One device: scoring a user against I items at `dimension` and `k` takes `fixed_s + per_item_s * I` seconds.

    `source` says where these are from, `embed_source` where `texts_per_s` is from, which is None in calibrations that did not
    measure it: `with_embedding` fills it, and an estimate refuses to go without.
    """

    dimension: int
    k: int
    fixed_s: float
    per_item_s: float
    texts_per_s: float | None
    measured: bool
    source: str
    embed_source: str = ""

    def seconds_per_user(self, num_items: float) -> float:
        """Seconds of one device for one user against `num_items` items."""
        return self.fixed_s + self.per_item_s * num_items

    def slowed(self, factor: float) -> Rates:
        """Rates of a device that takes `factor` times as long for everything, as one with fewer threads does."""
        texts_per_s = self.texts_per_s / factor if self.texts_per_s else None
        return replace(
            self, fixed_s=self.fixed_s * factor, per_item_s=self.per_item_s * factor, texts_per_s=texts_per_s
        )


def projected_rates(accelerator: str, *, dimension: int, k: int) -> Rates:
    """Rates of a GPU that is not at hand: a quarter of its data sheet's peak.

    Raises InputError for the cpu, which differs too much from kind to kind: calibrate on one.
    """
    if accelerator not in _DATA_SHEETS:
        raise InputError(
            f"no projection for {accelerator!r}",
            expected=f"one of {', '.join(_DATA_SHEETS)}",
            remedy="Calibrate on such a device: `semrec plan --calibrate` there.",
        )
    flop_per_s, bytes_per_s = (_SHARE_OF_PEAK * peak for peak in _DATA_SHEETS[accelerator])
    return Rates(
        dimension,
        k,
        fixed_s=_PAIRS_PER_RESULT * k * dimension * 4 / bytes_per_s,
        per_item_s=2 * dimension / flop_per_s,
        texts_per_s=flop_per_s / (_FLOP_PER_TOKEN * _TOKENS_PER_TEXT),
        measured=False,
        source=f"projected: {_SHARE_OF_PEAK:.0%} of the data sheet of {accelerator.upper()}, not measured",
        embed_source=f"projected: the same share, all-MiniLM-L6-v2, texts of {_TOKENS_PER_TEXT} tokens, not measured",
    )


def with_embedding(rates: Rates) -> Rates:
    """The rates with `texts_per_s`, if need be estimated: the encoder's arithmetic at the speed that scoring was measured at.

    Raises InputError when scoring has no slope to take a speed from.
    """
    if rates.texts_per_s:
        return rates
    if rates.per_item_s <= 0:
        raise InputError(
            "rates without a time per item", expected="a calibration that measured one", remedy="Calibrate for longer."
        )
    flop_per_s = 2 * rates.dimension / rates.per_item_s
    return replace(
        rates,
        texts_per_s=flop_per_s / (_FLOP_PER_TOKEN * _TOKENS_PER_TEXT),
        embed_source=f"estimated: {_FLOP_PER_TOKEN * _TOKENS_PER_TEXT / 1e9:.1f} GFLOP per text of {_TOKENS_PER_TEXT} "
        f"tokens at the {flop_per_s / 1e9:,.0f} GFLOP/s of scoring, not measured",
    )
