"""Measure how good recommendations are: unsampled, with intervals, against popularity.

semrec evaluate --workspace W
semrec evaluate --workspace W --split cold-items --json evaluation.json --plot evaluation.svg
semrec evaluate --train train.txt --test test.txt --json table.json
python -m jobs.evaluate_models --workspace W
"""

from __future__ import annotations

import json as json_library
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from jobs.cli_common import ConsoleProgress, exit_on_error, run_as_program
from jobs.printing import say, show_table

if TYPE_CHECKING:
    from semrec.evaluation.report import EvaluationReport

__all__ = ["main"]

_DEFAULT_MODELS = "popularity,content,content_ridge,nsvd,ials,hubness"


@exit_on_error
def main(
    workspace: Annotated[
        str | None, typer.Option("--workspace", "-w", help="Evaluate on its interactions, items and embedding.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="leave-last-out, last-share, global-time, strong or cold-items.")
    ] = "leave-last-out",
    share: Annotated[float, typer.Option(help="Share that is held out, of what the split goes by.")] = 0.2,
    models: Annotated[
        str | None,
        typer.Option(
            help=f"Models, with commas; those that can be are blended, too. Default: {_DEFAULT_MODELS}, and those of what "
            "encoder.beside names."
        ),
    ] = None,
    liked_above: Annotated[
        float | None,
        typer.Option(help="Items with a value above it are liked (default: the workspace's neutral value)."),
    ] = None,
    k: Annotated[
        list[int] | None, typer.Option(min=1, help="List lengths; repeat for several (default 10, 20, 100).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the users or items of a split.")] = 0,
    search: Annotated[
        bool, typer.Option(help="Search settings on a validation split inside train; else the models' defaults.")
    ] = True,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A model's setting, not searched then: ials.dimension=128. Repeat."),
    ] = None,
    embedding: Annotated[str | None, typer.Option(help="Embedding to use, where there are several.")] = None,
    train: Annotated[
        Path | None, typer.Option(help="A published split instead of a workspace: its train file.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="Its test file.")] = None,
    candidates: Annotated[
        Path | None, typer.Option(help="What each test pair competes with, where the table samples negatives.")
    ] = None,
    json: Annotated[str | None, typer.Option("--json", help="Also write the report to this file.")] = None,
    plot: Annotated[str | None, typer.Option(help="Also draw the first metric: FILE.svg or FILE.png.")] = None,
) -> None:
    """Evaluate popularity, content and learned models, and their blend, on held-out items."""
    from cluster.stages.release import find_beside
    from semrec.evaluation.dataset import read_dataset, read_published
    from semrec.evaluation.learn import learn
    from semrec.evaluation.plot import plot_report
    from semrec.evaluation.report import evaluate_listed, evaluate_models
    from semrec.evaluation.splits import split_events
    from semrec.models.base import MODELS, model_class, reads_modality
    from semrec.models.beside import BESIDE_MODELS
    from semrec.models.graph import RELATIONS
    from semrec.plotting import check_plot_path
    from semrec.settings_file import read_settings
    from semrec.workspace.folder import Workspace

    if plot:
        check_plot_path(plot)
    ks, progress = tuple(sorted(set(k or (10, 20, 100)))), ConsoleProgress()
    _check_sources(workspace, train, test, candidates)
    published = None
    if train and test:
        kinds = _kinds(models or _DEFAULT_MODELS)
        published = read_published(train, test, candidates)
        dataset, divided, neutral_value = published.dataset, published.split, 0.0
    else:
        opened = Workspace.open(str(workspace))
        modalities = read_settings(opened.storage).encoder.beside
        kinds = _kinds(models or ",".join([_DEFAULT_MODELS, *(BESIDE_MODELS[modality] for modality in modalities)]))
        needed = [modality for modality in modalities if models and BESIDE_MODELS[modality] in kinds]
        beside = find_beside(opened.storage, modalities, needed=needed)
        dataset = read_dataset(
            opened, embedding=embedding, beside=beside, with_relations=reads_modality(RELATIONS, kinds)
        )
        neutral_value = dataset.neutral_value if liked_above is None else liked_above
        divided = split_events(
            dataset.events, split, num_users=dataset.num_users, num_items=dataset.num_items,
            neutral_value=neutral_value, share=share, seed=seed,
        )  # fmt: skip
    known = [model_class(kind) for kind in kinds if kind in MODELS]
    unread = [model for model in known if model.modality not in dataset.content]
    without = [model.kind for model in unread if model.is_content_only or model.modality == RELATIONS]
    if without:
        progress.note(f"no embedding, or no relations: without {', '.join(without)}")
    kinds = tuple(kind for kind in kinds if kind not in without)
    learned = learn(
        divided, dataset.content, neutral_value, kinds=kinds, settings=_settings(set_), search=search,
        half_life_days=dataset.half_life_days, progress=progress,
    )  # fmt: skip
    for note in learned.notes:
        progress.note(note)
    settings: dict[str, Any] = {
        "liked_above": neutral_value, "models": learned.settings, "weights": learned.weights,
        "trials": [vars(trial) for trial in learned.trials], "notes": learned.notes,
    }  # fmt: skip
    if published is not None and published.candidate_offsets is not None:
        report = evaluate_listed(learned.vectors, published, ks=ks, settings=settings)
    else:
        content_ID = dataset.content.get("text")
        report = evaluate_models(learned.vectors, divided, ks=ks, content_ID=content_ID, settings=settings)
    _show(report, ks)
    if plot:
        plot_report(report, plot, metric=f"ndcg@{ks[0]}")
    if json:
        Path(json).write_text(json_library.dumps(report.to_json(), indent=1) + "\n", encoding="utf-8")


def _kinds(models: str) -> tuple[str, ...]:
    """Returns ("ials", "nsvd") of "ials, nsvd"."""
    return tuple(dict.fromkeys(name.strip() for name in models.split(",") if name.strip()))


def _check_sources(workspace: str | None, train: Path | None, test: Path | None, candidates: Path | None) -> None:
    from semrec.errors import InputError

    files = train is not None and test is not None
    if (train is None) != (test is None) or (workspace is not None) == files:
        given = [name for name, value in (("--workspace", workspace), ("--train", train), ("--test", test)) if value]
        raise InputError(
            " and ".join(given) or "neither a workspace nor files",
            expected="either --workspace, or --train and --test",
            remedy="Name one of the two.",
        )
    if candidates is not None and not files:
        raise InputError("--candidates without files", expected="--train and --test", remedy="Name them, too.")


def _settings(given: list[str] | None) -> dict[str, dict[str, Any]]:
    """Returns {"ials": {"dimension": 128}} of ["ials.dimension=128"]. Raises InputError for another form."""
    from semrec.errors import InputError

    settings: dict[str, dict[str, Any]] = {}
    for text in given or []:
        name, _, value = text.partition("=")
        kind, _, key = name.partition(".")
        if not (kind and key and value):
            raise InputError(f"--set {text}", expected="MODEL.SETTING=VALUE", remedy="Write ials.dimension=128, say.")
        try:
            settings.setdefault(kind, {})[key] = json_library.loads(value)
        except ValueError:
            settings.setdefault(kind, {})[key] = value  # a word, as of nsvd.spectral_filter=smooth
    return settings


def _show(report: EvaluationReport, ks: tuple[int, ...]) -> None:
    """One line per model, and what each gains over popularity with its interval."""
    accuracy = [f"ndcg@{ks[0]}", *(f"recall@{length}" for length in ks[1:2])]
    shape = [name for name in ("top_item_reach@10", "coverage@10", "diversity@10")
             if all(name in result.means for result in report.results.values())]  # fmt: skip
    table = Table("model", *accuracy, *shape, "gain over popularity", box=None)
    for name, result in report.results.items():
        cells = [
            f"{result.means[m]:.4f} [{result.intervals[m][0]:.4f}, {result.intervals[m][1]:.4f}]" for m in accuracy
        ]
        cells += [f"{result.means[m]:.3f}" for m in shape]
        gain = report.comparisons.get(f"{name} - popularity", {}).get(accuracy[0])
        cells.append(f"{gain.difference:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]" if gain else "")
        table.add_row(name, *cells)
    show_table(table, width=160)
    protocol = report.protocol
    say(
        f"{protocol['description']}; {protocol['tested_users']:,} of {protocol['users']:,} users, {protocol['targets']:,} "
        f"targets, ranked among {protocol['ranked_among']}, seen items excluded, nothing sampled"
    )


if __name__ == "__main__":
    run_as_program(main)
