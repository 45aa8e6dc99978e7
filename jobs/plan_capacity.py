"""Estimate memory, devices, minutes and money of a run or of a service, and what breaks first.

semrec plan --items 62423 --users 162541 --accelerator l4
semrec plan -w W --accelerator cpu --calibrate          # measures this machine; later runs print predicted against actual
semrec plan --items 1e8 --users 1e9 --accelerator h100 --plot plan.png
semrec plan --items 1e8 --users 1e9 --accelerator h100 --budget 2000 --spot
semrec plan --kernel --items 62423 --users 162541
semrec plan --serve --qps 1e5 --items 62423 --accelerator cpu --measured serving.json --soak soak.json
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jobs.cli_common import exit_on_error, run_as_program
from jobs.printing import say, show_table
from semrec.settings_file import read_settings

if TYPE_CHECKING:
    from semrec.planning import Calibration, Estimate, MeasuredService, Node, PriceTable, Rates, ServingPlan, Workload
    from semrec.planning.serving_simulation import Simulated

__all__ = ["main"]

_DEVICE_THREADS = 4  # a device of a cpu node, as the price table counts them
_K_WITHOUT_WORKSPACE = 100
_WIDTH = 128  # of the table, also where the output is no terminal


def _count(text: str) -> int:
    """Parses a whole number, also 1e8 or 1_000."""
    value = float(text.replace("_", ""))
    if value != int(value):
        raise typer.BadParameter(f"{text} is not a whole number")
    return int(value)


@exit_on_error
def main(
    items: Annotated[int | None, typer.Option(parser=_count, help="Items (default: those of the workspace).")] = None,
    users: Annotated[int | None, typer.Option(parser=_count, help="Users (default: those of the workspace).")] = None,
    workspace: Annotated[
        str | None, typer.Option("--workspace", "-w", help="Takes the newest release as the workload.")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="cpu, l4, a100 or h100.")] = "l4",
    devices: Annotated[int | None, typer.Option(min=1, help="Devices (default: a curve from 1 to 256).")] = None,
    budget: Annotated[
        float | None, typer.Option(min=0.0, help="US dollars: the fastest run that costs no more.")
    ] = None,
    spot: Annotated[bool, typer.Option("--spot", help="Hold the budget in spot prices.")] = False,
    cloud: Annotated[str | None, typer.Option(help="aws, gcp or azure (default: all).")] = None,
    dimension: Annotated[int, typer.Option(min=1, help="Dimensions of a vector.")] = 384,
    k: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"Recommendations per user (default: the workspace's setting, else {_K_WITHOUT_WORKSPACE})."
        ),
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Measure scoring and embedding on this machine, for a minute.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=1.0, help="How long to measure.")] = 60.0,
    prices: Annotated[Path | None, typer.Option(help="Price table to use instead of the package's.")] = None,
    plot: Annotated[
        str | None, typer.Option(help="Draw minutes and dollars over devices into this .png or .svg.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all estimates there.")] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Plan a service instead of a run.")] = False,
    qps: Annotated[float | None, typer.Option(help="With --serve: answers per second.")] = None,
    measured: Annotated[
        Path | None, typer.Option(help="With --serve: a replica, by `semrec bench serving --json FILE`.")
    ] = None,
    soak: Annotated[
        Path | None, typer.Option(help="With --serve: hold the simulation against `semrec bench soak --json FILE`.")
    ] = None,
    kernel: Annotated[
        bool, typer.Option("--kernel", help="The least that each pass of the cuda engine takes, on five kinds of GPU.")
    ] = False,
    zones: Annotated[int, typer.Option(min=2, help="With --serve: zones, of which one may be lost.")] = 3,
) -> None:
    """Say what a run or a service takes before it is launched, and what breaks first as it grows."""
    from semrec import planning as capacity

    if kernel:
        if serve or calibrate or plot or budget is not None or devices is not None:
            raise typer.BadParameter("--kernel takes a workload and --json alone")
        _plan_kernels(_workload(workspace, items, users, dimension, k or _k_of(workspace)), json_file)
        return
    if plot:
        if devices is not None or budget is not None:
            raise typer.BadParameter("--plot draws the curve: leave --devices and --budget out")
        capacity.check_plot_path(plot)
    table = capacity.read_prices(prices)
    nodes = [node for node in table.of(accelerator) if cloud in (None, node.cloud)]
    if not nodes:
        raise typer.BadParameter(f"the price table has no {accelerator} on {cloud}")
    if serve:
        if qps is None or measured is None or items is None:
            raise typer.BadParameter("--serve needs --qps, --items and --measured (semrec bench serving --json FILE)")
        _plan_service(
            qps, nodes, table, measured_file=measured, soak_file=soak, num_items=items, dimension=dimension,
            num_zones=zones, json_file=json_file,
        )  # fmt: skip
        return
    work = _workload(workspace, items, users, dimension, k or _k_of(workspace))
    rates = _rates(workspace, accelerator, work, seconds if calibrate else None)
    _show_assumptions(work, rates)
    say((table.note, "dim"))
    estimates = [each for node in nodes for each in _estimates(work, node, rates, devices, budget, spot)]
    _show(estimates, table)
    if plot:
        capacity.plot_curve(estimates, plot)
        say(f"drawn in {plot}")
    if json_file:
        json_file.write_text(json.dumps([_record(estimate) for estimate in estimates], indent=2) + "\n")


def _plan_kernels(work: Workload, json_file: Path | None) -> None:
    from semrec.planning.kernels import kernel_rows, kernel_table

    rows = kernel_rows(work.num_items, work.num_users, work.dimension, work.k)
    say(f"{work.num_users:,} users x {work.num_items:,} items x {work.dimension}, K = {work.k}: at least so many ms")
    show_table(kernel_table(rows), width=_WIDTH)
    say("a model of data sheets, not a measurement: python -m semrec.bench.gpu compares it with a GPU")
    if json_file:
        json_file.write_text(json.dumps(rows, indent=2) + "\n")


def _show_assumptions(work: Workload, rates: Rates) -> None:
    """Prints the workload, and the rates that the estimates are made from."""
    from semrec.planning import NODE_START_S

    say((f"{work.num_users:,} users x {work.num_items:,} items", "bold"), f" x {work.dimension}, K = {work.k}")
    say(f"item matrix {work.matrix_bytes / 1e9:,.2f} GB, {work.num_parts:,} parts (user buckets)")
    say(f"users to read {work.input_bytes / 1e9:,.2f} GB, lists to write {work.output_bytes / 1e9:,.2f} GB")
    say(f"scoring: {rates.source}")
    say(f"embedding: {rates.texts_per_s:,.0f} texts/s and device; {rates.embed_source}")
    say(f"minutes are of a run from nothing, with {NODE_START_S / 60:.0f} for nodes to come up")


def _k_of(workspace: str | None) -> int:
    from semrec.workspace.folder import Workspace

    return read_settings(Workspace.open(workspace).storage).score.k if workspace else _K_WITHOUT_WORKSPACE


def _workload(workspace: str | None, items: int | None, users: int | None, dimension: int, k: int) -> Workload:
    from semrec.planning import Workload
    from semrec.release.reader import Release, newest_release
    from semrec.workspace.folder import Workspace

    if workspace is not None and (items is None or users is None):
        storage = Workspace.open(workspace).storage
        release = Release(storage, newest_release(storage))
        events = release.manifest.counts.get("events", 0)
        num_users = users or release.manifest.num_users
        return Workload(
            items or release.num_items, num_users, release.dimension, k, events / num_users, release.num_words, 0
        )
    if items is None or users is None:
        raise typer.BadParameter("give --items and --users, or a --workspace that has a release")
    return Workload(items, users, dimension, k)


def _rates(workspace: str | None, accelerator: str, work: Workload, budget_s: float | None) -> Rates:
    """Returns rates measured now, measured before, or projected: in this order. A cpu device is four threads."""
    from dataclasses import replace

    from semrec.planning import projected_rates, read_calibration, with_embedding, write_calibration
    from semrec.workspace.folder import Workspace

    storage = Workspace.open(workspace).storage if workspace else None
    engine = "cpu" if accelerator == "cpu" else "cuda"
    measured = read_calibration(storage, engine) if storage else None
    if budget_s is not None:
        measured = _calibration(engine, work, budget_s)
        if storage:
            write_calibration(storage, measured)
    if measured is None or (measured.rates.dimension, measured.rates.k) != (work.dimension, work.k):
        return projected_rates(accelerator, dimension=work.dimension, k=work.k)
    rates, share = with_embedding(measured.rates), measured.num_threads / _DEVICE_THREADS if engine == "cpu" else 1.0
    taken_for = f" taken for {_DEVICE_THREADS}" if share != 1 else ""
    return replace(rates.slowed(share), source=f"{rates.source}, {measured.num_threads} threads{taken_for}")


def _calibration(engine: str, work: Workload, budget_s: float) -> Calibration:
    """Measures on generated vectors and the demo's texts."""
    from semrec.bench.workloads import generated_vectors
    from semrec.demo import film_items
    from semrec.planning import CALIBRATION_VECTORS, calibrate

    vectors_ND = generated_vectors(CALIBRATION_VECTORS, work.dimension, seed=11)
    texts = [film.text for film in film_items()]
    return calibrate(vectors_ND, texts, engine=engine, num_threads=_threads(), k=work.k, budget_s=budget_s)


def _threads() -> int:
    import torch

    return min(_DEVICE_THREADS, torch.get_num_threads())


def _estimates(
    work: Workload, node: Node, rates: Rates, devices: int | None, budget: float | None, spot: bool
) -> list[Estimate]:
    from semrec.planning import DEVICE_COUNTS, curve, estimate, fastest_within, fewest_devices

    if devices is not None:
        return [estimate(work, node, rates, devices)]
    if budget is not None:
        return [fastest_within(budget, work, node, rates, spot=spot)]
    fewest = fewest_devices(work, node)
    return curve(work, node, rates, sorted({fewest, *DEVICE_COUNTS}))


def _show(estimates: list[Estimate], prices: PriceTable) -> None:
    for node in dict.fromkeys(estimate.node for estimate in estimates):
        say(f"\n{node.node} ({node.cloud}), {node.devices} x {node.accelerator} of {node.memory_gb:g} GB")
        say((prices.standing(node), "dim"))
        show_table(_curve_table([estimate for estimate in estimates if estimate.node == node]), width=_WIDTH)
    _show_limits(estimates[-1])


def _curve_table(estimates: list[Estimate]) -> Table:
    from semrec.planning import limits

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    headings = (
        "devices", "shards x\nreplicas", "users/s", "minutes\nembed", "minutes\nrelease", "minutes\nscore", "minutes\nin all",
        "network\nGB", "store\nrequests", "dollars\non demand", "dollars\nspot",
    )  # fmt: skip
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("limited by", no_wrap=True)
    for row in estimates:
        first = limits(row)[0]
        table.add_row(
            str(row.num_devices), f"{row.topology.num_shards} x {row.topology.num_replicas}",
            f"{row.users_per_s:,.0f}", f"{row.embed_s / 60:,.2f}", f"{row.release_s / 60:,.1f}",
            f"{row.score_s / 60:,.1f}", f"{row.total_s / 60:,.1f}",
            f"{row.network_bytes / 1e9:,.0f}", f"{row.store_requests:,}",
            f"{row.on_demand_usd:,.2f}", f"{row.spot_usd:,.2f}", first.name + (" BREAKS" if first.use > 1 else ""),
        )  # fmt: skip
    return table


def _show_limits(largest: Estimate) -> None:
    """Prints how much of each limit the largest plan uses, and which breaks first as it grows."""
    from semrec.planning import limits

    ranked = limits(largest)
    say(f"\nat {largest.num_devices} devices of {largest.node.node}, in use:")
    for limit in ranked:
        say(f"  {limit.use:7.1%}  {limit.name:<13} {limit.until} ({limit.meaning})")
    broken = [limit.name for limit in ranked if limit.use > 1]
    after = next(limit for limit in ranked if limit.name not in ("devices", "network"))
    said = f"{', '.join(broken)}: it cannot be done so" if broken else f"{after.name}, which {after.until}"
    say(f"what breaks first: {said}")


def _record(estimate: Estimate) -> dict[str, Any]:
    from semrec.planning import limits

    names = ("num_nodes", "users_per_s", "score_s", "total_s", "node_hours", "on_demand_usd", "spot_usd")
    body = {**asdict(estimate), **{name: getattr(estimate, name) for name in names}}
    return {**body, "node": estimate.node.model_dump(), "limits": [asdict(limit) for limit in limits(estimate)]}


def _plan_service(
    qps: float,
    nodes: list[Node],
    prices: PriceTable,
    *,
    measured_file: Path,
    soak_file: Path | None,
    num_items: int,
    dimension: int,
    num_zones: int,
    json_file: Path | None,
) -> None:
    """Prints replicas, nodes and dollars of each kind of node, the failure budget and what breaks first; writes them as JSON.

    Raises InputError for files that the benches did not write, and for what `plan_serving` refuses.
    """
    from semrec.planning import plan_serving, read_measured, simulate_peak

    measured = read_measured(measured_file)
    plans = [
        plan_serving(measured, node, qps, num_items=num_items, dimension=dimension, num_zones=num_zones)
        for node in nodes
    ]
    say((f"{qps:,.0f} answers/s", "bold"), f" of {num_items:,} items x {dimension}, over {num_zones} zones")
    say(f"a replica: {measured.answers_per_s:,.0f} answers/s, measured on {measured.machine}")
    say("a device of a cpu node is four cores; what they answer beyond the measured cores is not counted")
    if soak_file:
        _show_soak(measured, soak_file)
    show_table(_plans_table(plans), width=_WIDTH)
    for node in nodes:
        say((f"{node.cloud}: {prices.standing(node)}", "dim"))
    _show_usual(qps)
    calm, lost = simulate_peak(plans[0])
    say(
        f"\nsimulated, {plans[0].num_replicas} replicas: {_times(calm)}; a zone lost: {_times(lost)}, failed {lost.num_failed}"
    )
    for plan in plans:
        _show_failures(plan)
    if json_file:
        json_file.write_text(json.dumps([_service_record(plan) for plan in plans], indent=2) + "\n")


def _plans_table(plans: list[ServingPlan]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in (
        "node", "replicas", "shards", "GPUs", "nodes", "busy", "busy, a\nzone lost", "Gbit/s\na node",
        "dollars a month\non demand", "spot", "on demand, per\n1,000 answers/s",
    ):  # fmt: skip
        table.add_column(heading, justify="right", no_wrap=True)
    for plan in plans:
        num_gpus = 0 if plan.node.accelerator == "cpu" else plan.num_replicas * plan.num_shards
        table.add_row(
            f"{plan.node.cloud} {plan.node.node}", str(plan.num_replicas), str(plan.num_shards), str(num_gpus),
            str(plan.num_nodes), f"{plan.busy:.0%}", f"{plan.busy_without_a_zone:.0%}",
            f"{plan.gbit_per_s:.2f}", f"{plan.on_demand_usd:,.0f}", f"{plan.spot_usd:,.0f}",
            f"{plan.on_demand_usd / plan.answers_per_s * 1000:,.2f}",
        )  # fmt: skip
    return table


def _show_usual(qps: float) -> None:
    """Prints the price for an approximate search of its own at the same rate, in whole machines."""
    from semrec.planning import USUAL_SERVICES

    for usual in USUAL_SERVICES:
        usd = math.ceil(qps / usual.answers_per_s) * usual.usd_per_month
        per_thousand = usual.usd_per_month / usual.answers_per_s * 1000
        say(f"a customer's own, {usual.machines}: {usd:,.0f} dollars a month, {per_thousand:,.2f} per 1,000 answers/s")


def _show_failures(plan: ServingPlan) -> None:
    from semrec.planning import AVAILABILITY, failures, lost_share, serving_limits

    budget = 1 - AVAILABILITY
    say(
        f"\n{plan.node.cloud} {plan.node.node}: of the {budget:.1%} that may fail, {lost_share(plan) / budget:.2%} is used by"
    )
    for failure in failures(plan):
        say(
            f"  {failure.per_month:6.2f} a month  {failure.lost_answers:10,.0f} answers each  {failure.name}: {failure.why}"
        )
    say("  not counted: a wrong release, a change of the cluster, a cloud that has no nodes to give")
    ranked = serving_limits(plan)
    for limit in ranked:
        say(f"  {limit.use:7.1%}  {limit.name:<13} {limit.meaning}; {limit.until}")
    said = ", ".join(limit.name for limit in ranked if limit.use > 1)
    say(f"  what breaks first: {f'{said}: it cannot be done so' if said else ranked[0].name}")


def _show_soak(measured: MeasuredService, soak_file: Path) -> None:
    """Prints the simulation beside a measured soak, which shows how far its figures for more replicas can be trusted."""
    from semrec.planning import read_soak, simulate_soak

    soak = read_soak(soak_file)
    again = simulate_soak(measured, soak)
    was = f"p50 {soak['p50_ms']:.0f}, p95 {soak['p95_ms']:.0f}, p99 {soak['p99_ms']:.0f} ms"
    say(f"the measured soak: {was}, failed {soak['errors']:.0f}, sent again {soak['retried']:,.0f}")
    say(f"        simulated: {_times(again)}, failed {again.num_failed}, sent again {again.num_resent:,}")


def _times(simulated: Simulated) -> str:
    return f"p50 {simulated.p50_ms:.0f}, p95 {simulated.p95_ms:.0f}, p99 {simulated.p99_ms:.0f} ms"


def _service_record(plan: ServingPlan) -> dict[str, Any]:
    from semrec.planning import failures, lost_share, serving_limits

    names = ("busy", "gbit_per_s", "on_demand_usd", "spot_usd")
    return {
        **asdict(plan),
        **{name: getattr(plan, name) for name in names},
        "node": plan.node.model_dump(),
        "failures": [asdict(failure) for failure in failures(plan)],
        "lost_share": lost_share(plan),
        "limits": [asdict(limit) for limit in serving_limits(plan)],
    }


if __name__ == "__main__":
    run_as_program(main)
