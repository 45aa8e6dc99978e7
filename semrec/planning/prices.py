"""What nodes cost and hold: a dated table in the package, or one of the user's own."""

from __future__ import annotations

import datetime
import json
from importlib.resources import files
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from semrec.errors import InputError

__all__ = ["ACCELERATORS", "Node", "PriceTable", "read_prices"]

ACCELERATORS = ("cpu", "l4", "a100", "h100")


class Node(BaseModel):
    """One kind of rented machine. A device of a cpu node is four of its cores."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cloud: str
    node: str
    accelerator: str = Field(pattern="^(cpu|l4|a100|h100)$")
    devices: int = Field(ge=1)
    memory_gb: float = Field(gt=0, description="of each device")
    network_gbit_per_s: float = Field(gt=0)
    on_demand_usd: float = Field(gt=0, description="per node hour")
    spot_usd: float = Field(gt=0, description="per node hour, typical")
    source: str | None = Field(None, description="Where the prices were looked up: a name in the table's `sources`.")
    confirmed: Literal["both", "on demand", "none"] = Field("none", description="Which of the prices the source has.")


class PriceTable(BaseModel):
    """Node prices, as they were looked up or written down on one day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dated: datetime.date
    note: str = ""
    sources: dict[str, str] = Field(default_factory=dict, description="Name -> address.")
    nodes: tuple[Node, ...]

    @model_validator(mode="after")
    def _check_sources(self) -> Self:
        for node in self.nodes:
            if node.source is not None and node.source not in self.sources:
                raise ValueError(f"{node.node}: no source {node.source!r} in `sources`")
            if (node.source is None) != (node.confirmed == "none"):
                raise ValueError(f"{node.node}: a confirmed price needs a source, and a source confirms one")
        return self

    def standing(self, node: Node) -> str:
        """What stands behind a node's prices, for people."""
        if node.source is None:
            return "prices NOT CONFIRMED"
        spot = "" if node.confirmed == "both" else "; spot NOT CONFIRMED"
        return f"prices looked up {self.dated}: {self.sources[node.source]}{spot}"

    def of(self, accelerator: str) -> tuple[Node, ...]:
        """The nodes with an accelerator. Raises InputError when the table has none."""
        found = tuple(node for node in self.nodes if node.accelerator == accelerator)
        if not found:
            has = sorted({node.accelerator for node in self.nodes})
            raise InputError(
                f"accelerator {accelerator!r}",
                expected=f"one of the price table's: {', '.join(has)}",
                remedy="Choose one of these, or give a table with --prices.",
            )
        return found


def read_prices(path: Path | None = None) -> PriceTable:
    """The table at `path`, or the package's own. Raises InputError naming the first field that is wrong."""
    source = path if path else files("semrec.planning") / "prices.json"
    try:
        return PriceTable.model_validate(json.loads(source.read_text("utf-8")))
    except (OSError, ValueError) as error:  # ValidationError and JSONDecodeError are ValueErrors
        what = error.errors()[0] if isinstance(error, ValidationError) else error
        where = f"{'.'.join(map(str, what['loc']))}: {what['msg']}" if isinstance(what, dict) else str(what)
        raise InputError(
            f"price table {path}: {where}",
            expected="JSON like semrec/planning/prices.json: dated, note, nodes",
            remedy="Correct the table.",
        ) from error
