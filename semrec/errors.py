"""Defines typed errors. Each says what was got, what was expected, and what to do."""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "CorruptArtefactError",
    "DeviceError",
    "EligibilityLostError",
    "EmptyResultError",
    "EncoderError",
    "IncompleteRunError",
    "InputError",
    "MissingArtefactError",
    "NoWorkersError",
    "PlanChangedError",
    "QualityLostError",
    "RunBusyError",
    "SchemaError",
    "SemrecError",
    "SettingsError",
    "SettingsNotAgreedError",
    "StoreUnavailableError",
    "TooManyRejectedError",
    "TrainingError",
    "WorkspaceError",
    "WorkspaceWriteError",
]


class SemrecError(Exception):
    """Base of every error that semrec raises on purpose.

    `got` is what was met, `expected` what should have been there, `remedy` what the reader can do now. `transient` errors
    may go away by themselves, or on another node: trying again can help. Those `of_node` stay where they were met, and another
    node may not meet them.
    """

    transient: ClassVar[bool] = False
    of_node: ClassVar[bool] = False

    def __init__(self, got: str, *, expected: str, remedy: str) -> None:
        super().__init__(got, expected, remedy)
        self.got, self.expected, self.remedy = got, expected, remedy

    def __str__(self) -> str:
        return f"{self.got}; expected {self.expected}. {self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and errors cross process borders in Ray.
        return (_rebuild, (type(self), self.got, self.expected, self.remedy))


def _rebuild(kind: type[SemrecError], got: str, expected: str, remedy: str) -> SemrecError:
    return kind(got, expected=expected, remedy=remedy)


class WorkspaceError(SemrecError):
    """The workspace is absent, or is not one."""


class WorkspaceWriteError(WorkspaceError):
    """The workspace, or a node's temporary folder, cannot be written: full disk, quota, permissions."""

    transient = True  # a worker meets it where the driver wrote: on its own node's disk, or on one that can be freed


class StoreUnavailableError(WorkspaceError):
    """An object store does not answer, or says that it cannot now."""

    transient = True


class SchemaError(SemrecError):
    """An artefact has a schema that this build does not read."""


class MissingArtefactError(SemrecError):
    """A stage needs the result of an earlier stage that is not there."""


class CorruptArtefactError(SemrecError):
    """An artefact's bytes do not match its recorded digest."""


class InputError(SemrecError):
    """An argument or a user's input is impossible."""


class SettingsError(InputError):
    """A setting of the workspace, or an option that replaces it for one call, is unknown or impossible."""


class SettingsNotAgreedError(SemrecError):
    """A release has settings that neither the workspace nor the live release has."""


class TooManyRejectedError(SemrecError):
    """The share of quarantined rows exceeds its limit."""


class PlanChangedError(SemrecError):
    """A run was asked to resume under another plan."""


class RunBusyError(SemrecError):
    """Another process works on the same thing, or did meanwhile."""


class IncompleteRunError(SemrecError):
    """Parts are missing or bad; the result may not be used."""


class EmptyResultError(SemrecError):
    """A table or a run became empty, and nobody said that it may."""


class EligibilityLostError(SemrecError):
    """A release limits what users may see less than the live one, and nobody said that it may."""


class QualityLostError(SemrecError):
    """A release whose recommendations were measured worse than they must be, or not measured."""


class NoWorkersError(SemrecError):
    """No worker became available, or a part failed on too many workers."""


class EncoderError(SemrecError):
    """The encoder cannot be loaded, or is not the one that was promised."""

    of_node = True  # the files of one node may be missing or damaged


class DeviceError(SemrecError):
    """The requested device does not exist, cannot hold the work or multiplies wrongly."""

    of_node = True


class TrainingError(SemrecError):
    """A model's training diverged, or its data does not hold what it needs."""
