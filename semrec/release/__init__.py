"""The release: an immutable, fingerprinted set of everything that scoring and serving need."""

from semrec.release.build import UserPartWorker, finish_release
from semrec.release.clauses import eligibility_warnings, lost_clauses
from semrec.release.coarse_format import choose_format, describe_choice
from semrec.release.matrix import build_matrix
from semrec.release.plan import ReleaseJob, plan_release, plan_user_parts
from semrec.release.reader import Release, newest_release
from semrec.settings import ReleaseSettings

__all__ = [
    "Release",
    "ReleaseJob",
    "ReleaseSettings",
    "UserPartWorker",
    "build_matrix",
    "choose_format",
    "describe_choice",
    "eligibility_warnings",
    "finish_release",
    "lost_clauses",
    "newest_release",
    "plan_release",
    "plan_user_parts",
]
