"""Exports a release that just went live to the places that `publish.export` names. What fails undoes no publishing."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from semrec.errors import IncompleteRunError, InputError
from semrec.export.base import EXPORTERS
from semrec.export.release import export_release
from semrec.progress import NoProgress, Progress
from semrec.release.reader import Release
from semrec.settings import PublishSettings
from semrec.workspace.manifest import Manifest
from semrec.workspace.records import Record
from semrec.workspace.storage import Storage

__all__ = ["ExportedPlace", "PublishedExports", "check_exports", "export_places", "export_published"]

_log = logging.getLogger(__name__)


class ExportedPlace(Record):
    """What became of one place: rows put, deleted and unchanged, or the `error` that ended it."""

    exporter: str
    location: str
    num_put: int = 0
    num_deleted: int = 0
    num_unchanged: int = 0
    error: str | None = None

    def __str__(self) -> str:
        place = f"export to {self.exporter} at {self.location}"
        if self.error:
            return f"{place} FAILED: {self.error}"
        return f"{place}: {self.num_put:,} put, {self.num_deleted:,} deleted, {self.num_unchanged:,} unchanged"


class PublishedExports(Manifest):
    """The exports that the last publishing made, of a release."""

    KIND = "published-exports"
    PATH = "exports/published.json"
    REMEDY = "Publish with places in publish.export."

    release: str
    places: tuple[ExportedPlace, ...] = ()


def export_places(settings: PublishSettings) -> list[tuple[str, str]]:
    """Exporter and location of each of `publish.export`. Raises InputError for an exporter that does not exist."""
    places = [tuple(place.split("=", 1)) for place in settings.export]
    for exporter, location in places:
        if exporter not in EXPORTERS:
            raise InputError(
                f"publish.export: {exporter}={location}",
                expected=f"{' or '.join(EXPORTERS)}, =, and a place",
                remedy="Correct it with `semrec config set publish.export`.",
            )
    return [(exporter, location) for exporter, location in places]


def export_published(
    storage: Storage, release_id: str, settings: PublishSettings, progress: Progress | None = None
) -> PublishedExports:
    """Exports a release to every place, as `export_release` does, and stores what became of each.

    A place that fails keeps none of the others back: its error is in the result, whatever it was. Raises InputError as
    `export_places` does.
    """
    places, progress = export_places(settings), progress or NoProgress()
    release = Release(storage, release_id)
    done = PublishedExports(
        release=release_id, places=tuple(_export(release, *place, settings.export_users, progress) for place in places)
    )
    if places:
        done.write(storage)
    return done


def check_exports(done: PublishedExports) -> None:
    """Raises IncompleteRunError naming the places that failed."""
    failed: Sequence[ExportedPlace] = [place for place in done.places if place.error]
    if failed:
        raise IncompleteRunError(
            f"release {done.release} is live, but: {'; '.join(map(str, failed))}",
            expected="the release at every place of publish.export",
            remedy="See to the place, then publish or run again: only what is missing there is exported.",
        )


def _export(release: Release, exporter: str, location: str, with_users: bool, progress: Progress) -> ExportedPlace:
    try:
        reports = [export_release(release, exporter, location, progress=progress)]
        if with_users:
            reports.append(export_release(release, exporter, location, kind="users", progress=progress))
    except Exception as error:  # of a package and a place that are not ours
        _log.warning("export to %s at %s failed", exporter, location, exc_info=True)
        return ExportedPlace(exporter=exporter, location=location, error=f"{type(error).__name__}: {error}"[:500])
    return ExportedPlace(
        exporter=exporter,
        location=location,
        num_put=sum(report.num_put for report in reports),
        num_deleted=sum(report.num_deleted for report in reports),
        num_unchanged=sum(report.num_unchanged for report in reports),
    )
