"""What the entry modules share: options, exit codes, progress on a terminal or in a log."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jobs.printing import complain, console, one_line, say
from semrec.errors import InputError, SemrecError

__all__ = [
    "Address",
    "AllowEmpty",
    "AllowLostEligibility",
    "AsOf",
    "ConsoleProgress",
    "CpusPerWorker",
    "DeviceOption",
    "DeviceWait",
    "Eligibility",
    "HalfLife",
    "InProcessOption",
    "MaxRejected",
    "Workers",
    "WorkspaceOption",
    "compute_options",
    "reported",
    "run",
]

_LOG_EVERY_S = 5.0

WorkspaceOption = Annotated[
    str, typer.Option("--workspace", "-w", help="Folder or s3:// gs:// abfs:// prefix that holds everything.")
]
Address = Annotated[
    str | None,
    typer.Option(help="Ray cluster to work on. Default: the job's own, RAY_ADDRESS, or a local Ray for this command."),
]
InProcessOption = Annotated[bool, typer.Option("--in-process", help="Work in this process, without Ray.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Workers (default: what the cluster has room for).")]
CpusPerWorker = Annotated[
    int | None, typer.Option(min=1, help="CPU threads of a worker (default: 1, on large nodes 4).")
]
DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        help="auto (GPUs where nodes with some are up), cpu, or cuda: has the autoscaler bring a GPU node and waits for it.",
    ),
]
DeviceWait = Annotated[
    float, typer.Option(min=1.0, help="Seconds that --device cuda waits for a GPU before the job fails.")
]
MaxRejected = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="Share of rows that may go to quarantine before the stage fails.")
]

AllowEmpty = Annotated[
    bool, typer.Option("--allow-empty", help="Accept a table or a run that became empty; it is refused otherwise.")
]
AllowLostEligibility = Annotated[
    bool,
    typer.Option(
        "--allow-lost-eligibility",
        help="Accept less eligibility than the live release has: a clause less, or one that nobody states any more.",
    ),
]
Eligibility = Annotated[
    list[str] | None,
    typer.Option(
        help="Attribute that users and items must share; repeat for several, '' for none "
        "(default: those of the live release, at first platform)."
    ),
]
HalfLife = Annotated[
    float | None,
    typer.Option(help="Days after which an event counts half (default: that of the live release, at first 180)."),
]
AsOf = Annotated[
    int | None, typer.Option(help="Seconds since 1970 UTC; later events are left out (default: the newest event).")
]


def compute_options(
    in_process: bool,
    address: str | None,
    workers: int | None,
    cpus_per_worker: int | None,
    *,
    device: str = "auto",
    device_wait_s: float = 900.0,
) -> Any:
    """The options as `cluster.compute.ComputeOptions`; imported late, so that `--help` does not load Ray."""
    from cluster.compute import ComputeOptions

    return ComputeOptions(in_process, address, workers, cpus_per_worker, device, device_wait_s)


def reported(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command whose typed errors become one message and exit code 1 (failed) or 2 (wrong usage)."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        try:
            return command(*arguments, **keywords)
        except SemrecError as error:
            complain(("error", "red"), " ", (_indented(error.got), "bold"))
            complain(f"      expected: {_indented(error.expected)}\n      to do:    {_indented(error.remedy)}")
            raise typer.Exit(2 if isinstance(error, InputError) else 1) from error
        except ValidationError as error:
            for one in error.errors():
                complain(("error", "red"), f" {'.'.join(map(str, one['loc']))}: {_indented(one['msg'])}")
            raise typer.Exit(2) from error

    return wrapped


def _indented(text: str) -> str:
    """A text whose further lines stand under its first, so that none passes for a line of its own."""
    return text.replace("\n", "\n                ")


def run(command: Callable[..., Any]) -> None:
    """Runs one command as a program: `python -m jobs.<verb_noun>`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    app()


class ConsoleProgress:
    """Bars with rate and remaining time on a terminal, a plain line every five seconds elsewhere."""

    def __init__(self) -> None:
        self._live = console.is_terminal
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage, self._unit, self._total, self._done = "", "", 0, 0
        self._started_s = self._logged_s = 0.0

    def start(self, stage: str, total: int, unit: str) -> None:
        self._stage, self._total, self._unit, self._done = stage, total, unit, 0
        self._started_s = self._logged_s = time.monotonic()
        if self._live:
            text = [TextColumn(form, markup=False) for form in ("{task.description:<8}", "{task.fields[rate]}")]
            self._bar = Progress(
                SpinnerColumn(), text[0], BarColumn(), text[1], TimeElapsedColumn(), TimeRemainingColumn(),
                console=console, transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(stage, total=total or None, rate="")

    def advance(self, count: int) -> None:
        self._done += count
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=self._done, rate=self._rate())
        elif not self._live and time.monotonic() - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = time.monotonic()
            total = f"/{self._total:,}" if self._total else ""
            say(f"{self._stage}: {self._done:,}{total} {self._rate()}{self._remaining()}")

    def note(self, text: str) -> None:
        say("  ", (one_line(text), "dim"))

    def finish(self, summary: str) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = self._task = None
        took_s = time.monotonic() - self._started_s
        rate = f", {self._rate()}" if self._done else ""
        say((f"{self._stage:<8}", "green"), f" {one_line(summary)}{rate} ", (f"({took_s:.1f} s)", "dim"))

    def _rate(self) -> str:
        took_s = max(time.monotonic() - self._started_s, 1e-6)
        return f"{self._done / took_s:,.0f} {self._unit}/s"

    def _remaining(self) -> str:
        took_s = time.monotonic() - self._started_s
        if not 0 < self._done < self._total:
            return ""
        return f", {took_s * (self._total - self._done) / self._done:.0f} s to go"
