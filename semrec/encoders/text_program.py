"""Loads a sentence-transformers model as a program: its tokenizer and its forward pass, ready to be called.

Importing transformers and sentence-transformers takes several times as long as loading a small model, in every process that
embeds or searches. So a program for the CPU is traced once, compared with the model byte by byte, and kept in the user's
cache; the next process needs torch and tokenizers alone. What cannot be traced, differs, or runs on a GPU is loaded by
sentence-transformers each time.

Axes: R rows of a call, T padded tokens, D dimensions.
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, cast

import torch

from semrec.encoders.identity import TextIdentity
from semrec.encoders.openvino import openvino_vectors
from semrec.encoders.sources import ModelSource
from semrec.errors import EncoderError
from semrec.user_cache import user_cache, writable_folder
from semrec.workspace.digests import fingerprint, sha256_hex

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["TextProgram", "load_program"]

_LIBRARIES: Final = ("torch", "transformers", "sentence-transformers", "tokenizers")
_DESCRIBING: Final = ("*.json", "*.txt", "*.model")  # a model's files besides its weights
_PROGRAM: Final = "program.pt"
_DESCRIPTION: Final = "program.json"


@dataclass(frozen=True)
class TextProgram:
    """A model's tokenizer and forward pass.

    `token_ids` cuts each text to the max_tokens it was made for; it raises TypeError, UnicodeError or bare Exception for a
    text that the tokenizer cannot read. `vectors` takes int64 ids and mask [R, T] and returns sentence embeddings [R, D],
    not normalised.
    """

    token_ids: Callable[[list[str]], list[list[int]]]
    vectors: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    pad_id: int
    num_special: int  # tokens that the tokenizer adds to every text
    traced: torch.jit.ScriptModule | None = None  # for another backend to compile


def load_program(identity: TextIdentity, source: ModelSource, device: str) -> TextProgram:
    """Loads the model in `source` for `device`, from the user's cache if that has its program.

    Raises EncoderError when the files cannot be loaded or are not those of `identity`, or its backend cannot run them.
    """
    folder = _cache_folder(identity, source) if device == "cpu" else None
    program = _kept_program(folder, identity)
    if program is None:
        model = _load_model(identity, source, device)
        program = _program_of(model, identity, device)
        if folder is not None:
            with contextlib.suppress(OSError):  # a full disk: the next process loads the model as this one did
                _keep_program(folder, model, program)
            program = _kept_program(folder, identity) or program
    if identity.backend == "openvino":
        if program.traced is None:
            raise EncoderError(
                f"{identity.model} has no traced program for the backend openvino",
                expected="a model that torch can trace, and a home folder that can be written to",
                remedy="Take the backend torch, or another model.",
            )
        vectors = openvino_vectors(program.traced, num_threads=torch.get_num_threads())
        return replace(program, vectors=vectors, traced=None)
    return program


def _cache_folder(identity: TextIdentity, source: ModelSource) -> Path | None:
    """The folder of the program of these files, under these libraries; None where nothing can be written."""
    paths = sorted(path for pattern in _DESCRIBING for path in source.folder.rglob(pattern))
    described = {path.relative_to(source.folder).as_posix(): sha256_hex(path.read_bytes()) for path in paths}
    key = fingerprint(
        {
            "weights": identity.weights_sha256,
            "files": described,
            "dtype": identity.dtype,
            "libraries": {name: version(name) for name in _LIBRARIES},
            "source": sha256_hex(Path(__file__).read_bytes()),
        }
    )
    return writable_folder(f"text-{key[:16]}", user_cache())


def _kept_program(folder: Path | None, identity: TextIdentity) -> TextProgram | None:
    """The program in `folder`; None where there is none, or a part of one."""
    if folder is None:
        return None
    try:
        description = json.loads((folder / _DESCRIPTION).read_bytes())
        with _quiet():
            traced = torch.jit.load(str(folder / _PROGRAM), map_location="cpu").eval()
    except (OSError, ValueError, RuntimeError):
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(description["tokenizer"])
    tokenizer.no_padding()
    tokenizer.enable_truncation(identity.max_tokens)

    def token_ids(texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]

    def vectors(ids_RT: torch.Tensor, mask_RT: torch.Tensor) -> torch.Tensor:
        with _unfused():
            return cast(torch.Tensor, traced(ids_RT, mask_RT))

    num_special = tokenizer.num_special_tokens_to_add(is_pair=False)
    return TextProgram(token_ids, vectors, description["pad_id"], num_special, traced)


def _keep_program(folder: Path, model: SentenceTransformer, program: TextProgram) -> None:
    """Writes the model's program if it can be traced.

    Files are replaced as a whole, the description last: processes that write at once write the same.
    """
    with TemporaryDirectory(dir=folder) as written:
        if getattr(model.tokenizer, "is_fast", False) and _trace(model, program, f"{written}/{_PROGRAM}"):
            description = {"tokenizer": model.tokenizer.backend_tokenizer.to_str(), "pad_id": program.pad_id}
            Path(written, _DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")
            for name in (_PROGRAM, _DESCRIPTION):
                Path(written, name).replace(folder / name)


def _trace(model: SentenceTransformer, program: TextProgram, path: str) -> bool:
    """Writes a trace of the model to `path`; returns whether it gives the model's bytes for calls of other shapes, too."""
    with _quiet(), torch.inference_mode():
        try:
            traced = torch.jit.trace(_Forward(model), _example(4, 32), check_trace=False)
            torch.jit.save(traced, path)
            with _unfused():
                calls = (_example(1, 16), _example(3, 48))
                return all(torch.equal(traced(*call), program.vectors(*call)) for call in calls)
        except Exception:  # a model may do anything in Python that a trace cannot hold
            return False


def _example(num_rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and a mask [R, T] as the encoder makes them: rows of several lengths, each with padding at its end."""
    ids_RT = 1 + torch.arange(num_rows * length).reshape(num_rows, length) % 1000
    lengths_R = length - 1 - torch.arange(num_rows)
    return ids_RT, (torch.arange(length)[None, :] < lengths_R[:, None]).to(torch.int64)


class _Forward(torch.nn.Module):
    """All modules of a sentence-transformers model, called with tensors instead of a dictionary."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model
        self.wants_types = "token_type_ids" in model.tokenizer.model_input_names

    def forward(self, ids_RT: torch.Tensor, mask_RT: torch.Tensor) -> torch.Tensor:
        features: dict[str, Any] = {"input_ids": ids_RT, "attention_mask": mask_RT}
        if self.wants_types:
            features["token_type_ids"] = torch.zeros_like(ids_RT)
        return cast(torch.Tensor, self.model(features)["sentence_embedding"])


def _program_of(model: SentenceTransformer, identity: TextIdentity, device: str) -> TextProgram:
    """The program of a loaded model, run by the libraries that define it."""
    tokenizer, forward = model.tokenizer, _Forward(model)

    def token_ids(texts: list[str]) -> list[list[int]]:
        encoded = tokenizer(
            texts,
            truncation=True,
            max_length=identity.max_tokens,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        return cast("list[list[int]]", encoded["input_ids"])

    def vectors(ids_RT: torch.Tensor, mask_RT: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, forward(ids_RT.to(device), mask_RT.to(device)))

    return TextProgram(token_ids, vectors, tokenizer.pad_token_id or 0, tokenizer.num_special_tokens_to_add())


def _load_model(identity: TextIdentity, source: ModelSource, device: str) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    shows_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # a bar per worker in the job's log says nothing
    try:
        kwargs = {"dtype": getattr(torch, identity.dtype)}
        model = SentenceTransformer(source.path, device=device, model_kwargs=kwargs, local_files_only=True)
    except Exception as error:  # a broken model folder fails in as many ways as there are libraries below
        raise EncoderError(
            f"cannot load {source.path}: {str(error).strip() or type(error).__name__}",
            expected=f"the sentence-transformers model {source.name}",
            remedy="Copy the model again, or choose another.",
        ) from error
    finally:
        if shows_bars:
            transformers_logging.enable_progress_bar()
    _check_model(model, identity)
    return model.eval()


def _check_model(model: SentenceTransformer, identity: TextIdentity) -> None:
    modalities = getattr(model[0], "modality_config", {})
    if model.transformers_model is None or "text" not in modalities or "message" in modalities:
        raise EncoderError(
            f"{identity.model} does not start with a plain text transformer",
            expected="a sentence-transformers model that turns token ids into vectors",
            remedy=f"Choose another model, such as the default; its first module is {type(model[0]).__name__}.",
        )
    dimension = model.get_embedding_dimension()
    if dimension != identity.dimension:
        raise EncoderError(
            f"{identity.model} makes vectors of {dimension} dimensions",
            expected=f"{identity.dimension}, as its files say",
            remedy="Copy the model again, or choose another.",
        )


def _unfused() -> contextlib.AbstractContextManager[None]:
    """Runs a traced program operation by operation: fused ones would round otherwise than the model's own."""
    return cast("contextlib.AbstractContextManager[None]", torch.jit.optimized_execution(False))  # type: ignore[attr-defined]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences what tracing says: it reads deprecated properties, too, and torch.jit is deprecated itself."""
    loggers = [logging.getLogger(name) for name in ("sentence_transformers", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
