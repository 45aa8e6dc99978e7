"""Embeds texts by the sum of a vector for each token: the static models that `semrec distill` and model2vec write.

A text costs a look-up for each token instead of a transformer's layers, so the tokeniser is what takes time. Where a blank
always ends a word, each distinct word of a call is tokenised once.

Axes: N texts, D dimensions, M words of all texts, W distinct words, T tokens of all distinct words, V tokens of the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from semrec.compiled import compiled
from semrec.encoders.base import Encoder, folder_name
from semrec.encoders.devices import DeviceKind
from semrec.encoders.settings import EmbedSettings
from semrec.encoders.sources import ModelSource, check_weights, resolve_model
from semrec.encoders.vectors import empty_texts, finish_vectors
from semrec.errors import EncoderError
from semrec.ranges import in_ranges
from semrec.workspace.digests import fingerprint, sha256_hex

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["StaticEncoder", "StaticIdentity"]

_WEIGHTS: Final = "model.safetensors"
_TOKENIZER: Final = "tokenizer.json"
_MOST_KNOWN_BYTES: Final = 200_000_000  # of words whose token ids are kept; then they are forgotten
_BYTES_OF_WORD: Final = 200  # about what its objects take, besides 4 bytes at most for each character and token id


@dataclass(frozen=True)
class StaticIdentity:
    """All that a text's vector depends on besides the text."""

    kind: ClassVar[str] = "static"
    model: str
    weights_sha256: str
    tokenizer_sha256: str
    max_tokens: int
    dimension: int
    device_kind: DeviceKind = "cpu"  # whatever else a machine has

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.to_json())

    @property
    def name(self) -> str:
        """The embedding's folder name: the model's short name and 8 digits of the fingerprint."""
        return folder_name(self.model, self.fingerprint, unnamed="static")

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, **asdict(self)}


class StaticEncoder(Encoder):
    """A static model. Raises EncoderError when its files are not those of the identity, or not a static model's.

    A vector is the sum of the vectors of the first max_tokens tokens, less unknown ones, at length 1: summed in float64, in
    their order. It is the same on all machines.
    """

    kind: ClassVar[str] = "static"
    modality: ClassVar[str] = "text"

    def __init__(self, identity: StaticIdentity, source: ModelSource, *, num_threads: int | None = None) -> None:
        from tokenizers import Tokenizer

        check_weights(source.path, source.weights_sha256, identity.weights_sha256)
        self.identity, self._num_threads = identity, num_threads or 1
        self._vectors_VD = _token_vectors(source)
        path = source.folder / _TOKENIZER
        rules = path.read_bytes()
        check_weights(str(path), sha256_hex(rules), identity.tokenizer_sha256, what="a tokenizer")
        try:
            self._tokenizer: Tokenizer = Tokenizer.from_buffer(rules)
        except ValueError as error:
            raise _damaged(path, error, expected="a tokenizer") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(identity.max_tokens)
        largest_id = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        if largest_id >= len(self._vectors_VD):  # compiled code would read behind the vectors
            raise EncoderError(
                f"token {largest_id} of {identity.model}, which has {len(self._vectors_VD)} vectors",
                expected="a vector for each token",
                remedy="Distil the model again.",
            )
        self._words_stand_alone, self._unknown_id = _about_tokenizer(self._tokenizer)
        self._ids_of_word: dict[str, np.ndarray] = {}
        self._known_bytes = 0

    @classmethod
    def plan(cls, settings: EmbedSettings, *, device_kind: DeviceKind | None = None) -> StaticIdentity:
        source = resolve_model(settings.model)
        dimension = _token_vectors(source).shape[1]
        tokenizer = sha256_hex((source.folder / _TOKENIZER).read_bytes())
        return StaticIdentity(source.name, source.weights_sha256, tokenizer, settings.max_tokens, dimension)

    @classmethod
    def load(
        cls, identity: StaticIdentity, settings: EmbedSettings, *, num_threads: int | None = None
    ) -> StaticEncoder:
        return cls(identity, resolve_model(settings.model), num_threads=num_threads)

    @classmethod
    def limits(cls, identity: Mapping[str, Any]) -> dict[str, int]:
        return {"max_tokens": int(identity["max_tokens"])}

    @classmethod
    def settings_of(cls, identity: Mapping[str, Any]) -> dict[str, Any]:
        return {name: identity[name] for name in ("model", "max_tokens")}

    @property
    def device_name(self) -> str:
        return "cpu"

    def embed(self, contents: Sequence[str]) -> tuple[np.ndarray, list[tuple[int, str]]]:
        """Embeds texts; see `Encoder.embed`. Reasons: "empty text", "no tokens", "zero vector", "non-finite vector"."""
        texts = pa.array(contents, pa.large_string())
        rejected = empty_texts(contents)
        words = (
            pc.split_pattern(texts, " ")
            if self._words_stand_alone
            else pa.array([[text] for text in contents], pa.list_(pa.large_string()))
        )
        encoded = words.flatten().dictionary_encode()
        token_starts, tokens_T = self._tokens(encoded.dictionary.to_pylist())
        word_starts, word_M = words.offsets.to_numpy(), encoded.indices.to_numpy()
        sums_ND = np.zeros((len(contents), self.identity.dimension), np.float32)
        num_tokens_N = np.zeros(len(contents), np.int64)

        def add(start: int, stop: int) -> None:
            _sum_tokens(
                word_starts[start : stop + 1], word_M, token_starts, tokens_T, self._vectors_VD,
                self.identity.max_tokens, self._unknown_id, sums_ND[start:stop], num_tokens_N[start:stop],
            )  # fmt: skip

        in_ranges(add, len(contents), self._num_threads)
        for row in np.flatnonzero(num_tokens_N == 0).tolist():
            rejected.setdefault(row, "no tokens")
        return finish_vectors(sums_ND, rejected)

    def _tokens(self, words: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """The token ids of distinct words, int32 [T], and where each word's begin, int64 [W + 1]."""
        ids_of_word = self._ids_of_word
        unknown_words = [word for word in words if word not in ids_of_word]
        encodings = self._tokenizer.encode_batch_fast(unknown_words, add_special_tokens=False)
        for word, encoding in zip(unknown_words, encodings, strict=True):
            ids_of_word[word] = np.array(encoding.ids, np.int32)
            self._known_bytes += _BYTES_OF_WORD + 4 * (len(word) + len(encoding.ids))
        of_words = [ids_of_word[word] for word in words]
        if not self._words_stand_alone or self._known_bytes > _MOST_KNOWN_BYTES:
            self._ids_of_word, self._known_bytes = {}, 0
        starts = np.concatenate([[0], np.cumsum([len(ids) for ids in of_words], dtype=np.int64)])
        return starts, np.concatenate([np.zeros(0, np.int32), *of_words])


def _token_vectors(source: ModelSource) -> np.ndarray:
    """The vector of each token, float32 [V, D]. Raises EncoderError for a model that is not static, or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = source.folder / _WEIGHTS
    try:
        stored = load_file(path) if path.exists() and (source.folder / _TOKENIZER).exists() else {}
        vectors_VD = _unfold(stored) if "embeddings" in stored else None
    except (SafetensorError, IndexError, ValueError) as error:
        raise _damaged(path, error, expected="a vector for each token") from error
    if vectors_VD is None:
        raise EncoderError(
            f"{source.name} is no static model",
            expected=f"a vector for each token in {_WEIGHTS}, and {_TOKENIZER}, in {source.path}",
            remedy="Make one with `semrec distill`, or set encoder.kind to text.",
        )
    return vectors_VD


def _unfold(stored: Mapping[str, np.ndarray]) -> np.ndarray:
    """The vectors by token, of arrays as model2vec 0.10 stores them. Raises ValueError or IndexError for other shapes."""
    vectors_VD = stored["embeddings"].astype(np.float32)
    if "mapping" in stored:  # tokens share vectors
        vectors_VD = vectors_VD[stored["mapping"]]
    if vectors_VD.ndim != 2:
        raise ValueError(f"embeddings of {vectors_VD.ndim} axes")
    if "weights" in stored:
        vectors_VD = vectors_VD * stored["weights"].astype(np.float32)[:, None]
    return np.ascontiguousarray(vectors_VD)


def _damaged(path: Path, error: Exception, *, expected: str) -> EncoderError:
    return EncoderError(
        f"{path} is damaged: {error}", expected=expected, remedy="Distil the model again, or copy it again."
    )


def _about_tokenizer(tokenizer: Tokenizer) -> tuple[bool, int]:
    """Whether the tokens of a text are those of its words between blanks, one after the other; and the unknown token's id.

    The first is known of BERT's rules, by which a blank ends a word and nothing else depends on it. The id is -1 where
    there is no unknown token.
    """
    rules = json.loads(tokenizer.to_str())
    kinds = [(rules.get(name) or {}).get("type") for name in ("normalizer", "pre_tokenizer", "model")]
    has_blank = any(" " in token["content"] for token in rules.get("added_tokens", ()))
    is_known = kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"] and not has_blank
    name = rules["model"].get("unk_token")
    unknown_id = tokenizer.token_to_id(name) if name else rules["model"].get("unk_id")  # Unigram has the id alone
    return is_known, -1 if unknown_id is None else unknown_id


@compiled
def _sum_tokens(  # type: ignore[no-untyped-def]
    word_starts, word_M, token_starts, tokens_T, vectors_VD, max_tokens, unknown_id, sums_ND, num_tokens_N
):
    total_D = np.empty(vectors_VD.shape[1])
    for n in range(len(word_starts) - 1):
        total_D[:] = 0
        num_left = max_tokens
        for m in range(word_starts[n], word_starts[n + 1]):
            first = token_starts[word_M[m]]
            last = min(token_starts[word_M[m] + 1], first + num_left)
            num_left -= last - first
            for t in range(first, last):
                token = tokens_T[t]
                if token != unknown_id:
                    num_tokens_N[n] += 1
                    for d in range(len(total_D)):
                        total_D[d] += np.float64(vectors_VD[token, d])
        for d in range(len(total_D)):
            sums_ND[n, d] = total_D[d]
