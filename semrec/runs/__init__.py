"""Runs: one all-user scoring of a release, its verification, and what is live."""

from semrec.runs.agreed_settings import settings_of_release
from semrec.runs.gates import NOTHING_ALLOWED, Allowed
from semrec.runs.health import RunHealth, measure_health, read_health
from semrec.runs.live import (
    Live,
    check_against_live,
    check_settings_for_live,
    initial_settings,
    publish,
    read_live,
    require_live,
    rollback,
)
from semrec.runs.plan import find_runs, newest_run, plan_run, reuse_parts, run_folder, run_inputs
from semrec.runs.verify import Verification, read_verification, verify_run
from semrec.runs.worker import ScoreWorker, ShardResult
from semrec.settings import ScoreSettings

__all__ = [
    "NOTHING_ALLOWED",
    "Allowed",
    "Live",
    "RunHealth",
    "ScoreSettings",
    "ScoreWorker",
    "ShardResult",
    "Verification",
    "check_against_live",
    "check_settings_for_live",
    "find_runs",
    "initial_settings",
    "measure_health",
    "newest_run",
    "plan_run",
    "publish",
    "read_health",
    "read_live",
    "read_verification",
    "require_live",
    "reuse_parts",
    "rollback",
    "run_folder",
    "run_inputs",
    "settings_of_release",
    "verify_run",
]
