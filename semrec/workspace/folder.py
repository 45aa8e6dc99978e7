"""Opens and creates workspaces: a local folder or object-store prefix that holds every artefact."""

from __future__ import annotations

from semrec.errors import InputError, WorkspaceError
from semrec.workspace.manifests import WorkspaceManifest
from semrec.workspace.storage import Storage

__all__ = ["DEFAULT_NUM_BUCKETS", "Workspace"]

DEFAULT_NUM_BUCKETS = 64


class Workspace:
    """An opened workspace.

    `storage` reads and writes its files; `num_buckets` is the number of user buckets, and so of parts, fixed at creation.
    """

    def __init__(self, storage: Storage, num_buckets: int) -> None:
        self.storage, self.num_buckets = storage, num_buckets

    def __reduce__(self) -> tuple[object, ...]:
        return (Workspace, (self.storage, self.num_buckets))

    @property
    def uri(self) -> str:
        return self.storage.uri

    @classmethod
    def create(cls, uri: str, *, num_buckets: int = DEFAULT_NUM_BUCKETS) -> Workspace:
        """Makes a workspace, or opens the one that is there. Raises WorkspaceError when it has another bucket count."""
        if not 1 <= num_buckets <= 99_999:
            raise InputError(
                f"{num_buckets} user buckets",
                expected="1 to 99999",
                remedy="Choose about one per 1,000 to 50,000 users.",
            )
        storage = Storage(uri)
        if WorkspaceManifest.exists(storage):
            workspace = cls.open(uri)
            if workspace.num_buckets != num_buckets:
                raise WorkspaceError(
                    f"{uri} has {workspace.num_buckets} user buckets",
                    expected=f"{num_buckets}",
                    remedy="The count is fixed at creation: drop the option, or use another workspace.",
                )
            return workspace
        if not storage.is_local:
            storage.check_exclusive()
        WorkspaceManifest(num_buckets=num_buckets).write(storage)
        return cls(storage, num_buckets)

    @classmethod
    def open(cls, uri: str) -> Workspace:
        """Opens a workspace. Raises WorkspaceError when there is none, SchemaError when it is too new."""
        storage = Storage(uri)
        if not WorkspaceManifest.exists(storage):
            raise WorkspaceError(
                f"no workspace at {uri}",
                expected=f"a folder with {WorkspaceManifest.PATH}",
                remedy="Check --workspace, or make one with `semrec init`.",
            )
        return cls(storage, WorkspaceManifest.read(storage).num_buckets)
