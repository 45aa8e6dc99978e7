"""What nodes cost and hold: a dated table in the package, or one of the user's own."""

from __future__ import annotations

import datetime
import json
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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


class PriceTable(BaseModel):
    """Node prices of one day."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dated: datetime.date
    note: str = ""
    nodes: tuple[Node, ...]

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
    source = path if path else files("semrec.capacity") / "prices.json"
    try:
        return PriceTable.model_validate(json.loads(source.read_text("utf-8")))
    except (OSError, ValueError) as error:  # ValidationError and JSONDecodeError are ValueErrors
        what = error.errors()[0] if isinstance(error, ValidationError) else error
        where = f"{'.'.join(map(str, what['loc']))}: {what['msg']}" if isinstance(what, dict) else str(what)
        raise InputError(
            f"price table {path}: {where}",
            expected="JSON like semrec/capacity/prices.json: dated, note, nodes",
            remedy="Correct the table.",
        ) from error
