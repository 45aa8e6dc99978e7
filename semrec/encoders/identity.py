"""Computes the identity of a text encoder, which makes two vectors comparable and repeatable, without loading the model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from semrec.encoders.base import folder_name
from semrec.encoders.devices import DeviceKind, Dtype, device_kind_of, resolve_device, resolve_dtype
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.sources import ModelSource, resolve_model
from semrec.errors import EncoderError, InputError
from semrec.workspace.digests import fingerprint, sha256_hex

__all__ = [
    "Backend",
    "TextIdentity",
    "call_shapes",
    "caller_shapes",
    "dtype_of_backend",
    "identity_of",
    "text_identity",
]

Backend = Literal["torch", "openvino"]  # what computes the vectors

_LENGTHS = (16, 32, 48, 64, 80, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
_LENGTHS_OF_CALLERS = (16, 32, 64, 128, 256)
# Padded tokens of one call. Measured on 2 cores with AMX: 2,048 and 4,096 tokens run at 20,000 to 32,000 tokens/s, 1,024 a
# fifth slower, and a part that does not fill a call pays for the whole of it. A GPU needs far more to be busy.
_TOKENS_PER_CALL: dict[DeviceKind, int] = {"cpu": 2048, "cuda": 65_536}


@dataclass(frozen=True)
class TextIdentity:
    """All that a text's vector depends on besides the text, the build and the make of the device."""

    kind: ClassVar[str] = "text"  # not in the JSON: it was the only kind when the first embeddings were made
    model: str
    weights_sha256: str
    pipeline_sha256: (
        str  # tokenizer, pooling and further modules: the same weights pooled otherwise are another encoder
    )
    max_tokens: int
    dtype: Dtype
    device_kind: DeviceKind
    shapes: tuple[tuple[int, int], ...]  # (rows, padded tokens) of every call, ascending in tokens
    dimension: int
    normalised: bool = True  # vectors have length 1
    backend: Backend = "torch"

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.to_json())

    @property
    def name(self) -> str:
        """The embedding's folder name: the model's short name and 8 digits of the fingerprint."""
        return folder_name(self.model, self.fingerprint, unnamed="encoder")

    def to_json(self) -> dict[str, Any]:
        stored = {**asdict(self), "shapes": [list(shape) for shape in self.shapes]}
        if self.backend == "torch":  # not in the JSON: it was the only one when the first embeddings were made
            del stored["backend"]
        return stored

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TextIdentity:
        return cls(**{**value, "shapes": tuple((rows, tokens) for rows, tokens in value["shapes"])})


def text_identity(settings: EmbedSettings, *, device_kind: DeviceKind | None = None) -> TextIdentity:
    """Computes the identity of the text encoder that `settings` name.

    `device_kind` is that of the machines which will do the work; None stands for this one. Reads and hashes the model's
    files, never loads them. Raises EncoderError, DeviceError, and InputError when the model is too short for max_tokens or
    the backend cannot compute as asked.
    """
    kind = device_kind or device_kind_of(resolve_device(settings.device))
    dtype = dtype_of_backend(settings.backend, settings.dtype, kind)
    identity = identity_of(resolve_model(settings.model), max_tokens=settings.max_tokens, device_kind=kind, dtype=dtype)
    return replace(identity, backend=settings.backend)


def dtype_of_backend(backend: Backend, dtype: str, kind: DeviceKind) -> Dtype:
    """Resolves a number type, auto among them, for what computes it. Raises InputError for what it cannot compute."""
    if backend == "torch":
        return resolve_dtype(dtype, kind)
    if kind == "cuda" or dtype == "bfloat16":
        raise InputError(
            f"backend openvino for {'a GPU' if kind == 'cuda' else dtype}",
            expected="a CPU, and dtype auto or float32",
            remedy="Take the backend torch there.",
        )
    return "float32"


def identity_of(source: ModelSource, *, max_tokens: int, device_kind: DeviceKind, dtype: Dtype) -> TextIdentity:
    """Computes the identity of the model in `source`, run by torch on a kind of device. Raises EncoderError and InputError."""
    first, modules = _modules(source.folder)
    config = _read_json(first / "config.json")
    return TextIdentity(
        model=source.name,
        weights_sha256=source.weights_sha256,
        pipeline_sha256=_pipeline_sha256(first, modules),
        max_tokens=max_tokens,
        dtype=dtype,
        device_kind=device_kind,
        shapes=call_shapes(max_tokens, device_kind, num_positions=config.get("max_position_embeddings")),
        dimension=_dimension(first, config, modules),
    )


def call_shapes(
    max_tokens: int, device_kind: DeviceKind, *, num_positions: int | None = None
) -> tuple[tuple[int, int], ...]:
    """Lists the (rows, padded tokens) of every call that the encoder may make for texts of up to `max_tokens` tokens.

    A text of n tokens goes to the shortest shape with MORE than n: at least one column is padding, so no call ever has a
    mask of all ones, for which transformers drops the mask and torch takes another kernel with other bytes on a GPU.
    Raises InputError when the model's `num_positions` leave no room for that.
    """
    # RoBERTa and its kin keep two positions for themselves and write 514: rounding down to a multiple of 8 takes them off.
    limit = num_positions // 8 * 8 if num_positions else None
    if limit is not None and max_tokens >= limit:
        raise InputError(
            f"max_tokens {max_tokens} for a model of {num_positions} positions",
            expected=f"at most {limit - 1}",
            remedy="Lower max_tokens: one position stays free, so that a vector does not depend on its neighbours.",
        )
    budget = _TOKENS_PER_CALL[device_kind]
    return tuple((max(1, budget // length), length) for length in _lengths_for(max_tokens, _LENGTHS))


def caller_shapes(max_tokens: int) -> tuple[tuple[int, int], ...]:
    """Lists calls of one row, (1, padded tokens): who brings one text shall not wait for a call of many.

    Ascending; a text of n tokens goes to the shortest with more than n.
    """
    return tuple((1, length) for length in _lengths_for(max_tokens, _LENGTHS_OF_CALLERS))


def _lengths_for(max_tokens: int, lengths: tuple[int, ...]) -> list[int]:
    """Those of `lengths` that texts of up to `max_tokens` tokens need, ascending, with one for the longest."""
    last = (max_tokens // 8 + 1) * 8
    return [*(length for length in lengths if length < last - 8), last]


def _modules(folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """The transformer's folder, and the sentence-transformers modules after it: {"type", and the module's own config}."""
    listed = _parsed(folder / "modules.json")
    if not listed:
        return folder, [{"type": "Pooling"}]  # what sentence-transformers adds to a plain transformer
    later = [
        {**_read_json(_below(folder, m["path"]) / "config.json"), "type": m["type"].rsplit(".", 1)[-1]}
        for m in listed[1:]
    ]
    return _below(folder, listed[0]["path"]), later


def _below(folder: Path, name: str) -> Path:
    """The folder of a module, whose name the model says itself. Raises EncoderError for one outside the model."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise EncoderError(
            f"module path {name[:200]!r} in {folder / 'modules.json'}",
            expected="a folder of the model",
            remedy="Copy the model again, from whom you trust.",
        )
    return folder / name


def _pipeline_sha256(folder: Path, modules: list[dict[str, Any]]) -> str:
    names = ("tokenizer.json", "vocab.txt", "sentencepiece.bpe.model", "spiece.model")
    tokenizer = next(
        ((name, sha256_hex((folder / name).read_bytes())) for name in names if (folder / name).exists()), None
    )
    return fingerprint({"tokenizer": tokenizer, "modules": modules})


def _dimension(folder: Path, config: dict[str, Any], modules: list[dict[str, Any]]) -> int:
    size = next((config[key] for key in ("hidden_size", "d_model", "dim") if key in config), None)
    if not isinstance(size, int):
        raise EncoderError(
            f"{folder / 'config.json'} names no width",
            expected="hidden_size, d_model or dim",
            remedy="Choose a sentence-transformers model that starts with a transformer.",
        )
    for module in modules:
        if module["type"] == "Pooling":
            size *= _num_pooling_modes(module)
        elif module["type"] == "Dense":
            size = int(module["out_features"])
    return size


def _num_pooling_modes(module: dict[str, Any]) -> int:
    """Pooled forms are laid side by side: "pooling_mode" is a name or a list, older files have one flag per form."""
    mode = module.get("pooling_mode")
    if mode is not None:
        return 1 if isinstance(mode, str) else len(mode)
    return max(1, sum(value is True for key, value in module.items() if key.startswith("pooling_mode_")))


def _read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of the model; a module without a config (Normalize) has an empty one."""
    value = _parsed(path)
    return value if isinstance(value, dict) else {}


def _parsed(path: Path) -> Any:
    """The JSON value in a file of the model, None when there is no such file. Raises EncoderError when it is not JSON."""
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EncoderError(
            f"{path} is not JSON ({error})", expected="a model's file", remedy="Copy the model again."
        ) from error
