"""Gives the commands what they share: the opened workspace with its settings, where to compute, exit codes, progress.

A command names what it works with as parameters, and decorators add the options which those need:

    @exit_on_error
    @with_workspace("score.k")   # --workspace, and --k, which replaces that setting for one call
    @with_compute(*ON_GPUS)      # --in-process, --address, --workers, --device ...
    def main(workspace: Workspace, settings: Settings, open_compute: OpenCompute) -> None:
        with open_compute() as compute:
            score_users(workspace, settings.score, compute=compute, progress=ConsoleProgress())
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, get_args

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cluster.compute_options import ComputeOptions
from jobs.printing import complain, console, one_line, say
from semrec.errors import InputError, SemrecError
from semrec.settings import Settings
from semrec.settings_file import (
    SETTINGS_FILE,
    change_settings,
    has_settings,
    read_settings,
    setting_fields,
    setting_value,
    value_text,
)

if TYPE_CHECKING:
    from cluster.compute import Compute
    from semrec.workspace.folder import Workspace

__all__ = [
    "IN_ONE_TASK",
    "ON_CPUS",
    "ON_GPUS",
    "Address",
    "AllowApproximate",
    "AllowEmpty",
    "AllowLostClause",
    "AllowWorse",
    "ConsoleProgress",
    "Engine",
    "Json",
    "MaxRejected",
    "OpenCompute",
    "Require",
    "Rounds",
    "Shards",
    "Threads",
    "WorkspaceOption",
    "exit_on_error",
    "run_as_program",
    "settings_for_call",
    "with_compute",
    "with_workspace",
]

_LOG_EVERY_S = 5.0
_Command = Callable[..., Any]
OpenCompute = Callable[[], AbstractContextManager["Compute"]]

_ADDRESS_HELP = "Ray cluster to work on. Default: the job's own, RAY_ADDRESS, or a local Ray for this command."
WorkspaceOption = Annotated[
    str, typer.Option("--workspace", "-w", help="Folder or s3:// gs:// abfs:// prefix that holds everything.")
]
Address = Annotated[str | None, typer.Option(help=_ADDRESS_HELP)]
Engine = Annotated[str | None, typer.Option(help="reference, cpu or cuda (default: by device).")]
Json = Annotated[str | None, typer.Option("--json", help="Also write the rows to this file.")]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads.")]
Rounds = Annotated[int, typer.Option(min=1, help="Rounds; the median counts.")]
Shards = Annotated[int | None, typer.Option(min=1, help="Force this many shards of the item matrix.")]
MaxRejected = Annotated[
    float | None,
    typer.Option(
        help="Share of rows that may go to quarantine before the stage fails (default: the workspace's setting, "
        f"{setting_fields()['quarantine.max_share'].default:g} where it has none)."
    ),
]
AllowEmpty = Annotated[
    bool, typer.Option("--allow-empty", help="Accept a table or a run that became empty; it is refused otherwise.")
]
AllowApproximate = Annotated[
    bool,
    typer.Option(
        "--allow-approximate", help="Accept a run of approximate lists, whose recall `semrec verify` measured."
    ),
]
AllowWorse = Annotated[
    bool,
    typer.Option(
        "--allow-worse", help="Accept recommendations that are measured worse than the live ones, or not at all."
    ),
]
Require = Annotated[
    list[str] | None,
    typer.Option(
        metavar="METRIC>=VALUE",
        help="Refuse a release that does not reach it, as ndcg@10>=0.03, or a run, as recall>=0.95 of exact lists; repeatable.",
    ),
]
AllowLostClause = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Accept that eligibility does not go by this attribute any more, or that no item or user states it; repeatable.",
    ),
]

#: The options that replace a setting for one call.
_SETTING_OPTIONS: Final = {
    "encoder.kind": "--encoder",
    "encoder.model": "--model",
    "encoder.image_model": "--image-model",
    "encoder.dtype": "--dtype",
    "encoder.backend": "--backend",
    "encoder.max_tokens": "--max-tokens",
    "encoder.beside": "--beside",
    "release.eligibility": "--eligibility",
    "release.half_life_days": "--half-life-days",
    "release.as_of": "--as-of",
    "models.kinds": "--models",
    "score.k": "--k",
    "score.approximate": "--approximate",
    "verify.num_sampled_users": "--sample",
    "quarantine.max_share": "--max-rejected",
}


class _ComputeOption(NamedTuple):
    field: str  # of ComputeOptions, which has the default
    kind: Any
    help: str
    min: int | None = None


_COMPUTE_OPTIONS: Final = {
    "in_process": _ComputeOption("in_process", bool, "Work in this process, without Ray."),
    "address": _ComputeOption("address", str | None, _ADDRESS_HELP),
    "workers": _ComputeOption("num_workers", int | None, "Workers (default: what the cluster has room for).", 1),
    "cpus_per_worker": _ComputeOption(
        "cpus_per_worker", int | None, "CPU threads of a worker (default: 1, on large nodes 4).", 1
    ),
    "device": _ComputeOption(
        "device",
        str,
        "auto (GPUs where nodes with some are up), cpu, or cuda: has the autoscaler bring a GPU node and waits for it.",
    ),
    "device_wait": _ComputeOption(
        "device_wait_s", float, "Seconds that --device cuda waits for a GPU before the job fails.", 1
    ),
}
#: Options of commands that compute one function, on many CPUs, and on CPUs or GPUs.
IN_ONE_TASK: Final = ("in_process", "address")
ON_CPUS: Final = (*IN_ONE_TASK, "workers", "cpus_per_worker")
ON_GPUS: Final = (*ON_CPUS, "device", "device_wait")


def with_workspace(*keys: str) -> Callable[[_Command], _Command]:
    """Adds --workspace and an option for each settings key of `keys`.

    The command gets the opened `workspace` and, if it has a parameter of that name, `settings`: those of the workspace, with
    the options that were given in their place. Each of these is said in a line.
    """

    def decorate(command: _Command) -> _Command:
        wants_settings = "settings" in inspect.signature(command).parameters
        options = [inspect.Parameter("workspace", inspect.Parameter.KEYWORD_ONLY, annotation=WorkspaceOption)]

        @functools.wraps(command)
        def wrapped(*, workspace: str, **values: Any) -> Any:
            from semrec.workspace.folder import Workspace

            opened = Workspace.open(workspace)
            given = {key: values.pop(_parameter_name(key)) for key in keys}
            if wants_settings:
                values["settings"] = settings_for_call(opened, given)
            return command(workspace=opened, **values)

        return _with_options(wrapped, options, ("workspace", "settings"), map(_setting_option, keys))

    return decorate


def with_compute(*names: str) -> Callable[[_Command], _Command]:
    """Adds the options of `names`, as ON_CPUS, that say where work is done.

    The command gets `open_compute`, which opens it, and, if it has a parameter of that name, the `device` as it was given.
    """

    def decorate(command: _Command) -> _Command:
        wants_device = "device" in inspect.signature(command).parameters

        @functools.wraps(command)
        def wrapped(**values: Any) -> Any:
            chosen = {_COMPUTE_OPTIONS[name].field: values.pop(name) for name in names}
            if wants_device:
                values["device"] = chosen["device"]

            def open_compute() -> AbstractContextManager[Compute]:
                from cluster import compute  # loads Ray, which --help must not

                if "device" in chosen:  # an encoder may be sent to one GPU of several, as cuda:1
                    chosen["device"] = chosen["device"].partition(":")[0]
                return compute.open_compute(ComputeOptions(**chosen))

            return command(open_compute=open_compute, **values)

        return _with_options(wrapped, [], ("open_compute", "device"), map(_compute_option, names))

    return decorate


def settings_for_call(workspace: Workspace, given: Mapping[str, Any]) -> Settings:
    """Reads the workspace's settings and replaces those whose value in `given` is not None, saying so in a line each.

    Raises SettingsError naming the option whose value is impossible.
    """
    settings = own = read_settings(workspace.storage)
    origin = f"{SETTINGS_FILE} has" if has_settings(workspace.storage) else "the default is"
    for key, value in given.items():
        if value is None:
            continue
        if isinstance(value, list):  # an empty name asks for an empty list
            value = tuple(dict.fromkeys(name for name in value if name))
        settings = change_settings(settings, {key: value}, source=_SETTING_OPTIONS[key])
        own_value, chosen = setting_value(own, key), setting_value(settings, key)
        if chosen != own_value:
            texts = [value_text(v) or "nothing" for v in (chosen, own_value)]
            say(("  ", ""), (one_line(f"for this call only: {key} = {texts[0]} ({origin} {texts[1]})"), "dim"))
    return settings


def exit_on_error(command: _Command) -> _Command:
    """Turns a command's typed errors into one message and exit code 1 (failed) or 2 (wrong usage)."""

    @functools.wraps(command)
    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        try:
            return command(*arguments, **keywords)
        except SemrecError as error:
            complain(("error", "red"), " ", (_indented(error.got), "bold"))
            complain(f"      expected: {_indented(error.expected)}\n      to do:    {_indented(error.remedy)}")
            raise typer.Exit(2 if isinstance(error, InputError) else 1) from error
        except ValidationError as error:
            for fault in error.errors():
                complain(("error", "red"), f" {'.'.join(map(str, fault['loc']))}: {_indented(fault['msg'])}")
            raise typer.Exit(2) from error

    return wrapped


def run_as_program(command: _Command) -> None:
    """Runs one command as a program: `python -m jobs.<verb_noun>`."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    app()


def _with_options(
    wrapped: _Command, first: list[inspect.Parameter], injected: tuple[str, ...], last: Iterable[inspect.Parameter]
) -> _Command:
    """Gives a wrapper the signature from which typer makes its options: `first`, the command's own, `last`.

    What the wrapper passes in by itself (`injected`) is left out.
    """
    # The types of what is injected are imported for type checkers only, and options do not need them.
    unknown = dict.fromkeys(("Workspace", "Settings", "OpenCompute"), Any)
    signature = inspect.signature(wrapped, locals=unknown, eval_str=True)
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        if name not in injected
    ]
    parameters = [*first, *own, *last]
    wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return wrapped


def _parameter_name(key: str) -> str:
    return _SETTING_OPTIONS[key].removeprefix("--").replace("-", "_")


def _setting_option(key: str) -> inspect.Parameter:
    field = setting_fields()[key]
    types = {field.annotation, *get_args(field.annotation)}
    kind: Any = next((kind for kind in (bool, int, float) if kind in types), str)
    kind = list[str] if isinstance(field.default, tuple) else kind
    repeat = " Repeat for several, '' for none." if isinstance(field.default, tuple) else ""
    flag = _SETTING_OPTIONS[key]
    option = typer.Option(
        None,
        f"{flag}/--no-{flag.removeprefix('--')}" if kind is bool else flag,
        help=f"{field.description}{repeat} Default: the workspace's setting, at first {value_text(field.default) or 'none'}.",
        rich_help_panel="Settings replaced for this call",
    )
    return inspect.Parameter(
        _parameter_name(key), inspect.Parameter.KEYWORD_ONLY, annotation=kind | None, default=option
    )


def _compute_option(name: str) -> inspect.Parameter:
    field, kind, help_text, minimum = _COMPUTE_OPTIONS[name]
    default = getattr(ComputeOptions(), field)
    flag = f"--{name.replace('_', '-')}"
    option = typer.Option(default, flag, help=help_text, min=minimum, rich_help_panel="Where it runs")
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=option)


def _indented(text: str) -> str:
    """Puts the further lines of a text under its first, so that none passes for a line of its own."""
    return text.replace("\n", "\n                ")


class ConsoleProgress:
    """Shows bars with rate and remaining time on a terminal, a plain line every five seconds elsewhere."""

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
