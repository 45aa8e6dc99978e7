"""A folder of documents becomes a catalogue: an item for each file, and what cannot be read in the quarantine."""

from __future__ import annotations

from pathlib import Path

import pytest

from semrec.data.documents import import_documents
from semrec.encoders.contents import read_content
from semrec.errors import InputError, TooManyRejectedError
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import CatalogueManifest
from semrec.workspace.tables import read_parts

pytest.importorskip("pypdfium2", reason="NOT TESTED: pypdfium2 is absent; pip install 'semrec[documents]'")

COLUMNS = ["item_id", "title", "text", "attributes", "content"]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(str(tmp_path / "w"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    (folder / "letters").mkdir(parents=True)
    (folder / "letters" / "a letter.md").write_text("# Dear reader\n\nAll is well.")
    (folder / "plain.txt").write_text("Plain words.")
    (folder / "page.html").write_text("<html lang=en><meta name=author content='Ann Bell'><body>A page</body></html>")
    (folder / "empty.pdf").touch()
    (folder / "picture.png").write_bytes(b"pixels")
    (folder / ".hidden.txt").write_text("nothing")
    return folder


def items(workspace: Workspace) -> dict[str, dict]:
    manifest = CatalogueManifest.read(workspace.storage)
    return {row["item_id"]: row for row in read_parts(workspace.storage, manifest.parts, COLUMNS).to_pylist()}


def test_every_file_is_an_item_or_in_the_quarantine(workspace: Workspace, folder: Path) -> None:
    report = import_documents(workspace, folder, max_rejected=0.3)
    rows = items(workspace)
    assert rows.keys() == {"letters/a letter.md", "plain.txt", "page.html"}
    letter = rows["letters/a letter.md"]
    assert (letter["title"], letter["text"]) == ("Dear reader", "Dear reader\nDear reader All is well.")
    assert dict(rows["page.html"]["attributes"]) == {"author": ["Ann Bell"], "format": ["html"], "language": ["en"]}
    content = dict(letter["content"])["document"]["value"]
    assert read_content(content, max_bytes=100) == (folder / "letters" / "a letter.md").read_bytes()
    assert "unreadable document: empty file" in str(report)
    assert "picture.png" in str(report)


def test_a_changed_file_has_other_content(workspace: Workspace, folder: Path) -> None:
    (folder / "empty.pdf").unlink()
    import_documents(workspace, folder)
    before = items(workspace)
    (folder / "plain.txt").write_text("Other words.")
    import_documents(workspace, folder)
    changed = {name for name, row in items(workspace).items() if row["content"] != before[name]["content"]}
    assert changed == {"plain.txt"}


def test_too_many_bad_files_leave_the_catalogue_alone(workspace: Workspace, folder: Path) -> None:
    with pytest.raises(TooManyRejectedError, match=r"empty\.pdf"):
        import_documents(workspace, folder)
    assert not CatalogueManifest.exists(workspace.storage)
    with pytest.raises(InputError, match="is no folder"):
        import_documents(workspace, folder / "plain.txt")
