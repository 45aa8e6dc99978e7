"""Defines every setting of a workspace once, with its default, meaning and check. `settings_file` keeps them.

A section is a frozen model and one field of `Settings`. To add a section, write its class and its field here: the file,
`semrec config`, the options of the commands and their defaults follow from that. A setting shapes results and belongs to
the workspace. Where work is done (address, workers, devices) is chosen for each call and is no setting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from semrec.limits import MAX_K

if TYPE_CHECKING:
    pass

__all__ = [
    "BESIDE_KINDS",
    "DEFAULT_ELIGIBILITY",
    "DEFAULT_HALF_LIFE_DAYS",
    "DEFAULT_IMAGE_MODEL",
    "DEFAULT_MODEL",
    "EncoderSettings",
    "ModelsSettings",
    "PublishSettings",
    "QuarantineSettings",
    "ReleaseSettings",
    "ScoreSettings",
    "Settings",
    "VerifySettings",
]

#: The encoder whose weights are checked against the official SHA-256 and come with the extra `demo`.
DEFAULT_MODEL: Final = "all-MiniLM-L6-v2"
#: The encoder of images whose weights come with the extra `images`, and are checked likewise.
DEFAULT_IMAGE_MODEL: Final = "efficientnet-lite0"
#: These clauses need not exist among the attributes: they ask nothing of anybody until a user states them.
DEFAULT_ELIGIBILITY: Final = ("platform",)
DEFAULT_HALF_LIFE_DAYS: Final = 180.0

#: What may stand beside another encoder: each has a model of its own in `semrec.models.beside`.
BESIDE_KINDS: Final = ("image", "document", "primitives")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EncoderSettings(_Section):
    """How items become vectors."""

    kind: str = Field(
        "text",
        min_length=1,
        description="Kind of encoder, by what it reads of an item: text, or a kind of content that was imported beside it.",
    )
    model: str = Field(
        DEFAULT_MODEL,
        min_length=1,
        description="Name of a sentence-transformers model, or for kind static of a static one: an id on the model hub "
        "(owner/name), or a local folder.",
    )
    image_model: str = Field(
        DEFAULT_IMAGE_MODEL,
        min_length=1,
        description="Model of kind image: the default, a timm model's id on the model hub (timm/name), or its local folder.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="Type of weights and activations. auto: bfloat16 on GPUs and on CPUs that multiply it natively, else "
        "float32. Vectors are stored as float32 either way.",
    )
    backend: Literal["torch", "openvino"] = Field(
        "torch",
        description="What computes a text's vector: torch, or openvino (an extra), which on CPUs without bfloat16 takes about "
        "half the time and always computes in float32.",
    )
    ocr: bool = Field(
        False,
        description="Whether pages of PDFs without text, such as scans, are read by OCR (an extra), for kind document.",
    )
    max_tokens: int = Field(
        256,
        ge=8,
        le=8192,
        description="Longest text, in tokens of the model, special ones included; what stands behind is cut off.",
    )
    beside: tuple[str, ...] = Field(
        (),
        description="Further kinds of encoders, image, document or primitives, whose vectors stand beside those of kind, each "
        "in a model with a weight of its own.",
    )

    @field_validator("beside")
    @classmethod
    def _check_beside(cls, beside: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not set(beside) <= {*BESIDE_KINDS} - {info.data.get("kind")} or len(set(beside)) < len(beside):
            raise ValueError(f"{' or '.join(BESIDE_KINDS)}, each once, and another than encoder.kind")
        return beside


class ReleaseSettings(_Section):
    """What shapes a release beyond its inputs. Every field is part of the release's fingerprint."""

    eligibility: tuple[str, ...] = Field(
        DEFAULT_ELIGIBILITY,
        description="Attributes that a user's and an item's values must share, where the user states any.",
    )
    half_life_days: float = Field(
        DEFAULT_HALF_LIFE_DAYS,
        gt=0,
        description="Days after which an event counts half, relative to the user's newest event.",
    )
    as_of: int | None = Field(
        None, ge=0, description="Seconds since 1970 UTC; later events are left out. Not set: the newest event."
    )

    relations_from: tuple[str, ...] = Field(
        (),
        description="Attributes whose values count as relations beside the imported ones: items that share one are related.",
    )

    coarse_format: str = Field(
        "auto",
        min_length=1,
        description="Format of the items in the cpu engine. auto: the fastest here. pq: an eighth of the memory of float32, "
        "slower by far. It changes no list.",
    )

    @field_validator("eligibility", "relations_from")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not all(names) or len(set(names)) < len(names):
            raise ValueError("names of attributes must not be empty or repeated")
        return names


class ModelsSettings(_Section):
    """Which models rank items for users, and how they are learned. What is not set is chosen on held-out likes."""

    kinds: tuple[str, ...] = Field(
        ("auto",),
        min_length=1,
        description="Models of a release, side by side. auto: content_ridge, nsvd, ials, popularity and hubness where there "
        "are min_interactions, else content, and those of encoder.beside either way. Or their names.",
    )
    min_interactions: int = Field(
        5_000, ge=1, description="Number of interactions below which auto learns nothing and takes the content model."
    )
    search: bool = Field(
        True,
        description="Whether what is not set here is searched on held-out likes, the first time and when quality falls; "
        "false: each model's defaults.",
    )
    search_users: int = Field(
        20_000,
        ge=100,
        description="About how many users to search and to measure on; of more, whole user buckets are left out.",
    )
    max_fall: float = Field(
        0.1,
        gt=0,
        lt=1,
        description="Share of nDCG@10 on held-out likes that may be lost before settings are searched again.",
    )
    content_regularization: float | None = Field(
        None,
        gt=0,
        description="Ridge of content_ridge, in mean eigenvalues of the embeddings' Gram matrix. Not set: searched.",
    )
    graph_regularization: float | None = Field(
        None,
        gt=0,
        description="Ridge of graph, in mean eigenvalues of the Gram matrix of its item vectors. Not set: searched.",
    )
    nsvd_dimension: int | None = Field(None, ge=1, le=4096, description="Dimensions of nsvd. Not set: searched.")
    nsvd_degree_exponent: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Power of users' and items' numbers of likes that nsvd divides by. Not set: searched.",
    )
    ials_dimension: int | None = Field(None, ge=1, le=4096, description="Dimensions of ials. Not set: searched.")
    ials_regularization: float | None = Field(
        None,
        gt=0,
        description="Regularisation of ials, times a row's likes plus its share of the rest. Not set: searched.",
    )
    ials_unobserved_weight: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Weight of a pair that nobody liked, where a like has 1, in ials. Not set: searched.",
    )

    @field_validator("kinds")
    @classmethod
    def _check_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        if not all(kinds) or len(set(kinds)) < len(kinds) or ("auto" in kinds and len(kinds) > 1):
            raise ValueError("auto alone, or names of models, each once")
        return kinds

    def by_kind(self) -> dict[str, dict[str, Any]]:
        """Returns the settings of models that are set: kind -> setting -> value, as `ModelSpec.settings` has them."""
        named = {
            "content_ridge": {"regularization": self.content_regularization},
            "graph": {"regularization": self.graph_regularization},
            "nsvd": {"dimension": self.nsvd_dimension, "degree_exponent": self.nsvd_degree_exponent},
            "ials": {
                "dimension": self.ials_dimension,
                "regularization": self.ials_regularization,
                "unobserved_weight": self.ials_unobserved_weight,
            },
        }
        return {
            kind: {name: value for name, value in values.items() if value is not None} for kind, values in named.items()
        }


class ScoreSettings(_Section):
    """What shapes a run beyond its release."""

    k: int = Field(20, ge=1, le=MAX_K, description="Recommendations per user.")
    approximate: bool = Field(
        False,
        description="Whether lists are approximate: chosen among ten times K items that codes put first. For a release with "
        "release.coarse_format = pq alone; to be published only with --allow-approximate.",
    )


class VerifySettings(_Section):
    """How a finished run is checked before it may be published."""

    num_sampled_users: int = Field(8, ge=0, description="Users whose lists are computed again by the reference engine.")


class PublishSettings(_Section):
    """What follows when a run goes live."""

    export: tuple[str, ...] = Field(
        (),
        description="Places where the release's item vectors are then exported: EXPORTER=LOCATION, as "
        "qdrant=http://127.0.0.1:6333. Only what changed is written.",
    )
    export_users: bool = Field(False, description="Whether users' vectors are exported there, too.")

    @field_validator("export")
    @classmethod
    def _check_places(cls, places: tuple[str, ...]) -> tuple[str, ...]:
        if not all(exporter and location for exporter, _, location in (place.partition("=") for place in places)):
            raise ValueError("EXPORTER=LOCATION, each with both")
        if len(set(places)) < len(places):
            raise ValueError("each place once")
        return places


class QuarantineSettings(_Section):
    """How many bad rows an import or an embedding takes before it fails."""

    max_share: float = Field(
        0.01, ge=0, le=1, description="Share of the rows, or of the texts to embed, that may be rejected."
    )


class Settings(_Section):
    """All settings of a workspace, by section."""

    encoder: EncoderSettings = EncoderSettings()
    release: ReleaseSettings = ReleaseSettings()
    models: ModelsSettings = ModelsSettings()
    score: ScoreSettings = ScoreSettings()
    verify: VerifySettings = VerifySettings()
    publish: PublishSettings = PublishSettings()
    quarantine: QuarantineSettings = QuarantineSettings()
