"""Explanations name what an item and the liked things are both about, where an encoder's dimensions have names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from cluster.compute import InProcess
from cluster.stages.embed import embed_catalogue
from cluster.stages.learn import build_learned_release
from semrec.bench.generated import write_embedding
from semrec.changes.overlay import OverlayView
from semrec.data import ItemRow, import_interactions, import_items
from semrec.encoders.settings import EmbedSettings
from semrec.online.explain import explain
from semrec.online.release import OnlineRelease
from semrec.online.users import rank_query_of
from semrec.progress import NoProgress
from semrec.settings import Settings
from semrec.workspace.folder import Workspace

TEXTS = {
    "both": "They vote, decide and love.",
    "same": "A choice of love: she decides, and is happy.",
    "talk": "A letter says what was told.",
    "again": "Again and again, every day.",
    "none": "A tree.",
}


def test_an_explanation_names_the_primitives_that_both_are_about(tmp_path: Path) -> None:
    workspace = Workspace.create(str(tmp_path), num_buckets=1)
    import_items(workspace, [ItemRow(item_id, item_id, text) for item_id, text in TEXTS.items()])
    rng = np.random.default_rng(3)
    write_embedding(workspace, {item: rng.standard_normal(4).astype(np.float32) for item in TEXTS}, "texts")
    import_interactions(workspace, [pa.table({"user_id": ["ann"], "item_id": ["both"]})])
    where = {"compute": InProcess("cpu"), "progress": NoProgress()}
    primitives = embed_catalogue(workspace, EmbedSettings(kind="primitives", device="cpu"), **where)
    _, released = build_learned_release(
        workspace, Settings(), embedding="texts", beside={"primitives": primitives.name}, **where
    )
    served = OnlineRelease(workspace.storage, released.release_id)
    state = served.user("ann")
    assert state is not None
    (ranked,) = served.rank([rank_query_of(state, k=4)], OverlayView.empty())
    explained = explain(served, served.profile("ann"), ranked.hits, OverlayView.empty())
    themes = {explanation.item_id: explanation.themes for explanation in explained}
    assert set(themes["same"]) == {"DECIDE", "FEEL"}
    assert not {"DECIDE", "FEEL"} & {*themes["talk"], *themes["again"]}
    assert "primitives_ridge" in {part.component for part in explained[0].parts}
