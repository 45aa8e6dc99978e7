"""Checks the conditions under which a release and its run go live: gates, each a function that raises when it is not met.

One more gate is one more function here and its place in RELEASE_GATES, or in RUN_GATES where it looks at the scored lists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from semrec.errors import EligibilityLostError, EmptyResultError, IncompleteRunError, InputError, QualityLostError
from semrec.release.clauses import lost_clauses
from semrec.release.metrics import EvaluationManifest, MetricValue
from semrec.runs.agreed_settings import check_release_agreed
from semrec.runs.health import read_health
from semrec.runs.plan import run_folder
from semrec.runs.verify import read_verification
from semrec.workspace.ledger import Ledger
from semrec.workspace.manifests import ReleaseManifest, RunManifest
from semrec.workspace.recall import read_recall
from semrec.workspace.storage import Storage

__all__ = ["NOTHING_ALLOWED", "RELEASE_GATES", "RUN_GATES", "Allowed", "Proposal", "check_approximate_allowed"]

_CONDITION: Final = re.compile(r"([a-z_]+(?:@\d+)?)\s*>=\s*(\d*\.?\d+)")


@dataclass(frozen=True)
class Allowed:
    """The exceptions from the gates that somebody allowed for one call."""

    #: --allow-empty: no users, or no events where the live release has some.
    empty: bool = False
    #: --allow-lost-clause: attributes that eligibility need not go by any more, or that no item or no user need state.
    lost_clauses: frozenset[str] = frozenset()
    #: --allow-worse: recommendations that are measured worse than the live release's, or not measured where those were.
    worse: bool = False
    #: --allow-approximate: a run of approximate lists, whose recall was measured.
    approximate: bool = False
    #: Settings that neither the workspace nor the live release has (`agreed_settings`). For benches; no command allows it.
    other_settings: bool = False
    #: --require: the other way round, what must be reached: ndcg@10>=0.03, recall>=0.95.
    required: tuple[str, ...] = ()

    def least_values(self) -> list[tuple[str, float]]:
        """The metrics that are required, and the least value of each. Raises InputError for what is no such condition."""
        least = []
        for condition in self.required:
            parsed = _CONDITION.fullmatch(condition)
            if not parsed or ("@" not in parsed[1] and parsed[1] not in _RUN_METRICS):
                raise InputError(
                    f"--require {condition}",
                    expected=f"a metric at a length, or {' or '.join(_RUN_METRICS)}, and the least value of it",
                    remedy="Write ndcg@10>=0.03, say.",
                )
            least.append((parsed[1], float(parsed[2])))
        return least


NOTHING_ALLOWED: Final = Allowed()


@dataclass(frozen=True)
class Proposal:
    """A release that shall go live, and the live one that it would replace: None where nothing is live."""

    storage: Storage
    release: ReleaseManifest
    live: ReleaseManifest | None
    allowed: Allowed = NOTHING_ALLOWED

    @property
    def metrics(self) -> Mapping[str, MetricValue] | None:
        """The metrics of the release by name; None where it was not evaluated."""
        return self._metrics_of(self.release)

    @property
    def live_metrics(self) -> Mapping[str, MetricValue] | None:
        """The metrics of the live release."""
        return self._metrics_of(self.live) if self.live else None

    def _metrics_of(self, release: ReleaseManifest) -> Mapping[str, MetricValue] | None:
        evaluation = EvaluationManifest.read_if_there(self.storage, release.release)
        return evaluation.metrics if evaluation else None


def require_content(proposal: Proposal) -> None:
    """Raises EmptyResultError for a release without users, or without events where the live one has some."""
    after, before = proposal.release, proposal.live
    if proposal.allowed.empty:
        return
    empty = []
    if not after.num_users:
        empty.append("users" + (f" (the live release has {before.num_users:,})" if before else ""))
    if before and before.counts.get("events") and not after.counts.get("events"):
        empty.append(f"events (the live release has {before.counts['events']:,})")
    if empty:
        raise EmptyResultError(
            f"release {after.release} has no {' and no '.join(empty)}",
            expected="users, and events where there were some",
            remedy="Look at the last imports of interactions and users; if it is meant, say --allow-empty.",
        )


def require_clauses(proposal: Proposal) -> None:
    """Raises EligibilityLostError naming the clauses by which the release limits less than the live one."""
    faults = lost_clauses(proposal.live, proposal.release)
    lost = {name: fault for name, fault in faults.items() if name not in proposal.allowed.lost_clauses}
    if lost:
        told = " ".join(f"--allow-lost-clause {name}" for name in lost)
        raise EligibilityLostError(
            f"release {proposal.release.release} limits less than it should: {'; '.join(lost.values())}",
            expected="every clause of the live release, and items that state what users do",
            remedy="Import the attribute again, or put it back into release.eligibility (`semrec config show`); if it is "
            f"meant, say {told}.",
        )


def require_agreed_settings(proposal: Proposal) -> None:
    """Raises SettingsNotAgreedError for settings that neither the workspace nor the live release has."""
    if not proposal.allowed.other_settings:
        check_release_agreed(proposal.storage, proposal.release, proposal.live)


def require_metrics(proposal: Proposal) -> None:
    """Raises QualityLostError for a release that was not found to reach what is required, InputError for no such condition."""
    for name, least in proposal.allowed.least_values():
        measured = (proposal.metrics or {}).get(name)
        if name not in _RUN_METRICS and (measured is None or measured.value < least):
            raise QualityLostError(
                f"release {proposal.release.release} has {_text(name, measured)}",
                expected=f"{name} of at least {least:g} on held-out likes",
                remedy="Keep what is live; look at models/choice.json, or import more interactions.",
            )


def require_no_loss(proposal: Proposal) -> None:
    """Raises QualityLostError where the live release was measured better by more than chance, or this one was not measured.

    By more than chance: the 95 % intervals do not meet. Each was measured on likes held out of its own interactions.
    """
    for name, live in () if proposal.allowed.worse else (proposal.live_metrics or {}).items():
        measured = (proposal.metrics or {}).get(name)
        is_below = measured is not None and None not in (measured.high, live.low) and measured.high < live.low  # type: ignore[operator]
        if measured is None or is_below:
            raise QualityLostError(
                f"release {proposal.release.release} has {_text(name, measured)}",
                expected=f"no less than the live release, which has {_text(name, live)}",
                remedy="Look at the last imports of interactions and at models.kinds; if it is meant, say --allow-worse.",
            )


def _text(name: str, measured: MetricValue | None) -> str:
    if measured is None:
        return f"no measured {name}"
    interval = "" if measured.low is None else f" [{measured.low:.4f}, {measured.high:.4f}]"
    return f"{name} {measured.value:.4f}{interval}"


def require_exact_lists(storage: Storage, run: RunManifest, allowed: Allowed) -> None:
    """Raises QualityLostError for an approximate run that is not allowed, IncompleteRunError where its recall is unknown."""
    recall = read_recall(storage, run)
    if recall is not None:
        check_approximate_allowed(f"run {run.run} is {recall}", allowed)


def check_approximate_allowed(got: str, allowed: Allowed) -> None:
    """Raises QualityLostError saying what was got, unless approximate lists are allowed."""
    if not allowed.approximate:
        raise QualityLostError(
            got,
            expected="exact lists",
            remedy="Score with score.approximate = false; if it is meant, say --allow-approximate.",
        )


def require_run_metrics(storage: Storage, run: RunManifest, allowed: Allowed) -> None:
    """Raises QualityLostError for a run that does not reach what is required of one."""
    for name, least in allowed.least_values():
        if name in _RUN_METRICS and (value := _RUN_METRICS[name](storage, run)) < least:
            raise QualityLostError(
                f"run {run.run} has {name} {value:.4f}",
                expected=f"{name} of at least {least:g}",
                remedy="Keep what is live; look at the settings that the run was scored with.",
            )


def _recall(storage: Storage, run: RunManifest) -> float:
    """The share of the items of exact lists that stand in the run's: 1 for an exact run."""
    recall = read_recall(storage, run)
    return recall.recall if recall else 1.0


#: What --require can ask of a run by its name alone; metrics of a release have a length.
_RUN_METRICS: Final[dict[str, Callable[[Storage, RunManifest], float]]] = {"recall": _recall}


def require_verification(storage: Storage, run: RunManifest, allowed: Allowed) -> None:
    """Raises IncompleteRunError unless the last verification found the run good as it stands."""
    verification = read_verification(storage, run.run)
    if verification is None or not verification.ok or verification.content_digest != run.content_digest:
        state = "was never verified" if verification is None else "has bad parts or changed since it was verified"
        raise IncompleteRunError(
            f"run {run.run} {state}", expected="a run that `semrec verify` found good", remedy="Run `semrec verify`."
        )


def require_health(storage: Storage, run: RunManifest, allowed: Allowed) -> None:
    """Raises IncompleteRunError unless the run's health was measured as it stands, and it shows no user an excluded item."""
    health = read_health(storage, run.run)
    if health is None or health.content_digest != run.content_digest:
        raise IncompleteRunError(
            f"the health of run {run.run} was not measured" + (" since it changed" if health else ""),
            expected="a run whose lists were held against what users may see",
            remedy="Run `semrec verify`.",
        )
    if health.num_excluded:
        raise IncompleteRunError(
            f"run {run.run} shows {health.num_excluded:,} items to users who may not see them",
            expected="none",
            remedy="Keep what is live, and report this: no repair of the run can help.",
        )


def require_parts(storage: Storage, run: RunManifest, allowed: Allowed) -> None:
    """Raises IncompleteRunError when a part of the run was lost or cut since it was finished."""
    ledger = Ledger(storage, run_folder(run.run))
    ledger.finished_records(ledger.plan())


#: Of a release, asked before hours of scoring and again when its run is published.
RELEASE_GATES: Final[tuple[Callable[[Proposal], None], ...]] = (
    require_content,
    require_clauses,
    require_agreed_settings,
    require_metrics,
    require_no_loss,
)
#: Of a finished run. Bytes altered since they were verified are for another `verify` to find.
RUN_GATES: Final[tuple[Callable[[Storage, RunManifest, Allowed], None], ...]] = (
    require_verification,
    require_health,
    require_exact_lists,
    require_run_metrics,
    require_parts,
)
