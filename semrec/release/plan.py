"""Plans a release: fixes its inputs and id, and plans its user parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from semrec.contracts import CONTRACT_VERSION
from semrec.encoders.facets import facets_of
from semrec.errors import SchemaError
from semrec.models.base import model_class
from semrec.scoring.formats import get_format
from semrec.settings import ReleaseSettings
from semrec.workspace.digests import fingerprint
from semrec.workspace.folder import Workspace
from semrec.workspace.ledger import Plan, PlannedPart
from semrec.workspace.manifests import (
    CatalogueManifest,
    EmbeddingManifest,
    InteractionsManifest,
    InteractionsPart,
    ItemMatrix,
    ModelSpec,
    OntologyManifest,
    RelationsManifest,
    ReleaseInputs,
    UsersManifest,
)
from semrec.workspace.storage import Storage

__all__ = ["ReleaseJob", "plan_release", "plan_user_parts"]


@dataclass(frozen=True)
class ReleaseJob:
    """The inputs of the workers of one release; small, and the same on every host."""

    release_id: str
    num_parts: int
    inputs: ReleaseInputs
    catalogue: CatalogueManifest = field(repr=False)
    embedding: EmbeddingManifest = field(repr=False)
    interactions: InteractionsManifest | None = field(repr=False)
    users: UsersManifest | None = field(repr=False)
    relations: RelationsManifest | None = field(repr=False, default=None)
    ontology: OntologyManifest | None = field(repr=False, default=None)
    beside: Mapping[str, EmbeddingManifest] = field(repr=False, default_factory=dict)

    @property
    def folder(self) -> str:
        return f"releases/{self.release_id}"


def plan_release(
    workspace: Workspace,
    embedding_name: str,
    settings: ReleaseSettings,
    *,
    models: Sequence[ModelSpec] = (),
    beside: Mapping[str, str] | None = None,
) -> ReleaseJob:
    """Fixes the inputs of a release; its id is their fingerprint. Without `models` it has the content model.

    `beside`: modality -> name of the embedding of it; one that no model reads is left out.
    Raises MissingArtefactError when a stage before was not done, SchemaError when the embedding is of another catalogue,
    InputError for an unknown coarse format.
    """
    storage = workspace.storage
    catalogue = CatalogueManifest.read(storage)
    embedding = _embedding(storage, embedding_name, catalogue)
    read = {model_class(spec.kind).modality for spec in models}
    others = {kind: _embedding(storage, name, catalogue) for kind, name in (beside or {}).items() if kind in read}
    interactions, users = InteractionsManifest.read_if_there(storage), UsersManifest.read_if_there(storage)
    relations, ontology = RelationsManifest.read_if_there(storage), OntologyManifest.read_if_there(storage)
    facets = facets_of(each.encoder for each in (embedding, *others.values()))
    newest_timestamp = interactions.newest_timestamp if interactions else None
    inputs = ReleaseInputs(
        as_of=settings.as_of if settings.as_of is not None else newest_timestamp,
        catalogue=catalogue.fingerprint,
        embedding=embedding.fingerprint,
        embedding_name=embedding_name,
        half_life_days=settings.half_life_days,
        eligibility=settings.eligibility,
        neutral_value=interactions.neutral_value if interactions else 0.0,
        repeats=interactions.repeats if interactions else "sum",
        **({"models": tuple(models)} if models else {}),
        **({"beside": {kind: other.fingerprint for kind, other in others.items()}} if others else {}),
        **({"relations": relations.fingerprint} if relations else {}),
        **({"ontology": ontology.fingerprint} if ontology else {}),
        **({"relations_from": settings.relations_from} if settings.relations_from else {}),
        **({"coarse_format": get_format(settings.coarse_format).name} if settings.coarse_format != "auto" else {}),
        **({"facets": {facet.name: facet.version for facet in facets}} if facets else {}),
    )
    sources = [table.fingerprint if table else None for table in (interactions, users)]
    release_id = fingerprint([CONTRACT_VERSION, inputs.to_json(), *sources])[:16]
    return ReleaseJob(
        release_id,
        workspace.num_buckets,
        inputs,
        catalogue,
        embedding,
        interactions,
        users,
        relations,
        ontology,
        others,
    )


def plan_user_parts(job: ReleaseJob, matrix: ItemMatrix) -> Plan:
    """Plans a release's user parts, whose item matrix is there.

    A part's fingerprint covers what its bytes depend on: the events and attributes of its users, and of the items their
    ids, words and vectors, with what else the models go by. Titles are not among it, nor attributes that eligibility does
    not go by, nor a later as_of that leaves out the same events of the part: such a change takes the part over as it is.
    Nor is an ontology among it, but for the hierarchies of the attributes that eligibility goes by.
    """
    models = [[model.fingerprint, model.exponent, model.weights] for model in matrix.models]
    layout = [clause.to_json() for clause in matrix.layout]
    shared = [CONTRACT_VERSION, matrix.fingerprint, layout, models, job.inputs.repeats, job.inputs.neutral_value]
    hierarchies = {name: matrix.subclasses[name] for name in job.inputs.eligibility if name in matrix.subclasses}
    if hierarchies:
        shared.append(hierarchies)
    parts = []
    for part in range(job.num_parts):
        events = job.interactions.parts[part] if job.interactions else None
        sources = [
            events.digest if events else None,
            job.users.parts[part].content_digest if job.users else None,
        ]
        cut = job.inputs.as_of if _is_cut(events, job.inputs.as_of) else None
        parts.append(PlannedPart(part, fingerprint([*shared, cut, *sources]), events.num_events if events else 0))
    return Plan("release", job.inputs.to_json(), tuple(parts))


def _embedding(storage: Storage, name: str, catalogue: CatalogueManifest) -> EmbeddingManifest:
    embedding = EmbeddingManifest.read(storage, name)
    if embedding.catalogue != catalogue.fingerprint:
        raise SchemaError(
            f"{embedding.path(name)} was made from catalogue {embedding.catalogue[:12]}",
            expected=f"the present one, {catalogue.fingerprint[:12]}",
            remedy="Run `semrec embed`: only changed texts are embedded.",
        )
    return embedding


def _is_cut(events: InteractionsPart | None, as_of: int | None) -> bool:
    """Returns whether `as_of` leaves out some of a part's events."""
    newest = events.newest_timestamp if events else None
    return newest is not None and as_of is not None and newest > as_of
