"""Content to vectors: the encoder interface, the text encoder with fixed call shapes, plan and worker of an embedding run."""

from semrec.encoders.base import Encoder, EncoderIdentity, encoder_class
from semrec.encoders.identity import TextIdentity, identity_of, text_identity
from semrec.encoders.plan import EmbeddingJob, embedding_folder, embedding_schema, finish_embedding, plan_embedding
from semrec.encoders.settings import EmbedSettings, embed_settings
from semrec.encoders.sources import ModelSource, resolve_model
from semrec.encoders.text import TextEncoder
from semrec.encoders.worker import EmbedWorker

__all__ = [
    "EmbedSettings",
    "EmbedWorker",
    "EmbeddingJob",
    "Encoder",
    "EncoderIdentity",
    "ModelSource",
    "TextEncoder",
    "TextIdentity",
    "embed_settings",
    "embedding_folder",
    "embedding_schema",
    "encoder_class",
    "finish_embedding",
    "identity_of",
    "plan_embedding",
    "resolve_model",
    "text_identity",
]
