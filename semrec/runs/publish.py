"""Publishes and rolls back: flips the pointer to what is live, once the gates let the new pair pass."""

from __future__ import annotations

import time

from semrec.errors import MissingArtefactError
from semrec.runs.agreed_settings import check_agreed, settings_of_release
from semrec.runs.gates import NOTHING_ALLOWED, RELEASE_GATES, RUN_GATES, Allowed, Proposal
from semrec.runs.live import Live, LivePair, read_live
from semrec.settings import ReleaseSettings, Settings
from semrec.workspace.manifests import AppliedSequences, ReleaseManifest, RunManifest
from semrec.workspace.recall import read_recall
from semrec.workspace.storage import Storage

__all__ = ["check_against_live", "check_settings_for_live", "initial_settings", "publish", "rollback"]

_MAX_HISTORY = 20


def publish(storage: Storage, run_id: str, allowed: Allowed = NOTHING_ALLOWED) -> Live:
    """Makes a verified run and its release live. Publishing what is live changes nothing, unless an import of
    the same content has replaced changes made online since: the overlay of that pair then begins after them.

    Raises IncompleteRunError for a run that is not finished, and what the gates raise (`semrec.runs.gates`).
    """
    manifest = _finished(storage, run_id)
    for gate in RUN_GATES:
        gate(storage, manifest, allowed)
    live = read_live(storage)
    if live and live.run == run_id:
        is_same = live.applied == _applied(storage, live.release)
        return live if is_same else _flip(storage, live.release, run_id, live.history)
    check_against_live(storage, manifest.release, allowed)
    history = (_pair(live), *live.history)[:_MAX_HISTORY] if live else ()
    return _flip(storage, manifest.release, run_id, history)


def check_against_live(storage: Storage, release_id: str, allowed: Allowed = NOTHING_ALLOWED) -> None:
    """Refuses a release that may not take the live one's place: see `gates.RELEASE_GATES`.

    Raises what they raise, MissingArtefactError or CorruptArtefactError when either release cannot be read.
    """
    proposal = Proposal(storage, ReleaseManifest.read(storage, release_id), _live_manifest(storage), allowed)
    for gate in RELEASE_GATES:
        gate(proposal)


def check_settings_for_live(storage: Storage, settings: ReleaseSettings) -> list[str]:
    """Checks, before anything is computed, the settings of a release that shall go live: see `agreed_settings`.

    Returns a sentence for each that differs from the live release's. Raises SettingsNotAgreedError, and MissingArtefactError
    or CorruptArtefactError when the live release cannot be read.
    """
    return check_agreed(storage, settings, _live_manifest(storage))


def initial_settings(storage: Storage) -> Settings:
    """Returns what a new settings file holds: the defaults, and the clauses and the half-life that are live already.

    So writing the file changes nothing that is shown. Raises MissingArtefactError or CorruptArtefactError when the live
    release cannot be read.
    """
    manifest = _live_manifest(storage)
    if manifest is None:
        return Settings()
    live = settings_of_release(manifest)
    return Settings(release=ReleaseSettings(eligibility=live.eligibility, half_life_days=live.half_life_days))


def rollback(storage: Storage) -> Live:
    """Makes the pair that was live before live again.

    Raises MissingArtefactError when there is none, IncompleteRunError for an approximate run whose recall is gone: no service
    would open it.
    """
    live = read_live(storage)
    if not live or not live.history:
        raise MissingArtefactError(
            "nothing was live before", expected="an earlier published run", remedy="Publish a run first."
        )
    earlier = live.history[0]
    read_recall(storage, _finished(storage, earlier.run))
    return _flip(storage, earlier.release, earlier.run, live.history[1:])


def _finished(storage: Storage, run_id: str) -> RunManifest:
    """Reads the manifest of a run whose release is there, too."""
    manifest = RunManifest.read(storage, run_id)
    ReleaseManifest.read(storage, manifest.release)
    return manifest


def _applied(storage: Storage, release_id: str) -> AppliedSequences:
    return ReleaseManifest.read(storage, release_id).applied


def _live_manifest(storage: Storage) -> ReleaseManifest | None:
    live = read_live(storage)
    return ReleaseManifest.read(storage, live.release) if live else None


def _pair(live: Live) -> LivePair:
    return LivePair(release=live.release, run=live.run, published_at_s=live.published_at_s)


def _flip(storage: Storage, release: str, run: str, history: tuple[LivePair, ...]) -> Live:
    live = Live(
        release=release,
        run=run,
        published_at_s=time.time(),
        history=history,
        applied=_applied(storage, release),
    )
    live.write(storage)
    return live
