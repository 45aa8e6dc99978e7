"""Catalogue texts to vectors: settings, the encoder with fixed call shapes, and the plan and worker of an embedding run."""

from semrec.encoders.identity import EncoderIdentity, encoder_identity, identity_of
from semrec.encoders.inprocess import EmbedReport, embed_in_process, embed_report
from semrec.encoders.plan import EmbeddingJob, embedding_folder, embedding_schema, finish_embedding, plan_embedding
from semrec.encoders.settings import EmbedSettings, embed_settings
from semrec.encoders.sources import ModelSource, resolve_model
from semrec.encoders.text import Encoder
from semrec.encoders.worker import EmbedWorker

__all__ = [
    "EmbedReport",
    "EmbedSettings",
    "EmbedWorker",
    "EmbeddingJob",
    "Encoder",
    "EncoderIdentity",
    "ModelSource",
    "embed_in_process",
    "embed_report",
    "embed_settings",
    "embedding_folder",
    "embedding_schema",
    "encoder_identity",
    "finish_embedding",
    "identity_of",
    "plan_embedding",
    "resolve_model",
]
