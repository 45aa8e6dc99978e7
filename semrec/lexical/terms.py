"""Split texts into terms: what an index of words counts, and what a query looks up."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["Fields", "fields_of", "joined", "occurrences", "terms_of"]

#: Accents, once they stand behind their letters. Not all marks: those of Indian scripts are vowels.
_ACCENTS: Final = r"[\x{300}-\x{36f}]+"
#: Scripts that set no blanks between words: each of their characters is a term.
_UNSPACED: Final = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"
_BETWEEN: Final = r"[^\p{L}\p{N}\p{M}]+"
_BETWEEN_ASCII: Final = r"[^a-z0-9]+"  # the same in texts of ASCII; the other takes a millisecond to be made ready


class Fields(NamedTuple):
    """What is indexed of documents: titles and texts, string arrays of one length."""

    titles: pa.Array
    texts: pa.Array


def fields_of(titles: pa.Array | pa.ChunkedArray, texts: pa.Array | pa.ChunkedArray) -> Fields:
    """Returns what is indexed of items: their titles, and their texts without the title that a text begins with."""
    own_titles, own_texts = titles.to_pylist(), texts.to_pylist()
    bodies = [text.removeprefix(title) for title, text in zip(own_titles, own_texts, strict=True)]
    return Fields(pa.array(own_titles, pa.string()), pa.array(bodies, pa.string()))


def joined(fields: Fields) -> Fields:
    """Returns the same documents without titles, which their texts begin with instead."""
    texts = pc.binary_join_element_wise(fields.titles, fields.texts, "\n")
    return Fields(pa.array([""] * len(texts), pa.string()), texts)


def occurrences(texts: pa.Array) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """Finds every term of every text, in their order.

    Returns the place of the text of each, int64 [N]; the place of the term among the distinct ones, int64 [N]; and those,
    ascending. A term is a run of letters and digits in lower case, without accents and without the ending of an English
    plural; in scripts that set no blanks it is a character.
    """
    words, text_N = _words(texts)
    encoded = words.dictionary_encode()
    singular = pa.array([_singular(word) for word in encoded.dictionary.to_pylist()], pa.string()).dictionary_encode()
    order = pc.sort_indices(singular.dictionary).to_numpy()
    place_of_term = np.empty(len(order), np.int64)
    place_of_term[order] = np.arange(len(order))
    term_of_word = place_of_term[singular.indices.to_numpy()]
    return text_N, term_of_word[encoded.indices.to_numpy()], singular.dictionary.take(pa.array(order))


def terms_of(text: str) -> list[str]:
    """Returns the terms of one text, in their order. Raises UnicodeEncodeError for a text with lone surrogates."""
    _, terms_N, distinct = occurrences(pa.array([text], pa.string()))
    terms: list[str] = distinct.take(pa.array(terms_N)).to_pylist()
    return terms


def _words(texts: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The words of all texts, end to end, and the place of the text of each, int64."""
    plain = pc.replace_substring_regex(pc.utf8_normalize(pc.utf8_lower(texts), "NFKD"), _ACCENTS, "")
    if pc.all(pc.string_is_ascii(plain)).as_py():
        split = pc.split_pattern_regex(plain, _BETWEEN_ASCII)
    else:
        split = pc.split_pattern_regex(pc.replace_substring_regex(plain, _UNSPACED, r" \1 "), _BETWEEN)
    words, text_N = pc.list_flatten(split), pc.list_parent_indices(split)
    is_word = pc.not_equal(words, "")
    return words.filter(is_word), text_N.filter(is_word).to_numpy().astype(np.int64)


def _singular(word: str) -> str:
    """The word without the ending of an English plural (Harman, How effective is suffixing?, 1991, the S stemmer)."""
    if not word.endswith("s") or len(word) < 4:
        return word
    if word.endswith("ies"):
        return word if word.endswith(("eies", "aies")) else word[:-3] + "y"
    if word.endswith("es"):
        return word if word.endswith(("aes", "ees", "oes")) else word[:-1]
    return word if word.endswith(("us", "ss")) else word[:-1]
