"""The `semrec` command: every job under one name. The jobs import their stages when they are called, so `--help` is quick."""

from __future__ import annotations

import typer

from jobs import (
    bench,
    bench_content,
    bench_scoring,
    bench_search,
    bench_serving,
    build_release,
    check_parity,
    configure_workspace,
    distill_model,
    draw_map,
    embed_catalogue,
    evaluate_models,
    export_release,
    import_data,
    init_workspace,
    inspect_files,
    plan_capacity,
    publish_run,
    query_release,
    rollback_release,
    run_demo,
    run_pipeline,
    score_users,
    serve_release,
    show_archetypes,
    show_quarantine,
    show_status,
    verify_run,
)
from semrec import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Exact recommendations for every user, from a catalogue and interactions, on Ray.",
)
app.command("demo")(run_demo.main)
app.command("init")(init_workspace.main)
app.add_typer(configure_workspace.app, name="config")
app.command("inspect")(inspect_files.main)
app.add_typer(import_data.app, name="import")
app.command("quarantine")(show_quarantine.main)
app.command("run")(run_pipeline.main)
app.command("embed")(embed_catalogue.main)
app.command("distill")(distill_model.main)
app.command("evaluate")(evaluate_models.main)
app.command("release")(build_release.main)
app.command("score")(score_users.main)
app.command("verify")(verify_run.main)
app.command("publish")(publish_run.main)
app.command("rollback")(rollback_release.main)
app.command("status")(show_status.main)
app.command("map")(draw_map.main)
app.command("archetypes")(show_archetypes.main)
app.command("plan")(plan_capacity.main)
app.command("query")(query_release.main)
app.command("serve")(serve_release.main)
app.command("parity")(check_parity.main)
app.command("export")(export_release.main)
for more in (bench_content, bench_scoring, bench_search, bench_serving):
    bench.app.add_typer(more.app)  # without a name: its commands stand among the others
app.add_typer(bench.app, name="bench")


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    if version:
        typer.echo(f"semrec {__version__}")
        raise typer.Exit


def main() -> None:
    """Runs the command line: the console script."""
    app()
