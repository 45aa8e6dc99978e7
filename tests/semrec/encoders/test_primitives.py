"""The encoder of semantic primitives counts as its plain loop does, on every device, and its numbers mean what they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.encoder_contract import EncoderContract
from semrec.encoders.lexicon import LANGUAGES, PRIMITIVES, read_lexicon
from semrec.encoders.primitive_counts import (
    MAX_EXPONENT,
    _Bytes,
    _count_by_torch,
    count_primitives,
    signatures,
)
from semrec.encoders.primitives import PrimitivesEncoder
from semrec.encoders.settings import EmbedSettings

TEXTS = [
    "They decide to love again.",
    "Ils décident d’aimer encore.",
    "She decided; she must FEEL joy, joy and fear.",
    "A letter explains why he died.",
    "Un cœur brisé",
    "zzz",
]


class TestPrimitivesEncoder(EncoderContract):
    settings = EmbedSettings(kind="primitives", device="cpu")
    bad_content = " \n"

    @pytest.fixture(scope="class")
    def contents(self, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
        return [*TEXTS[:1], *TEXTS[2:], "They say so."]


def found(text: str) -> dict[str, int]:
    counts = dict(zip(PRIMITIVES, count_primitives([text], read_lexicon())[0].tolist(), strict=True))
    return {name: count for name, count in counts.items() if count}


def test_words_are_counted_by_the_longest_entry_that_fits() -> None:
    assert found(TEXTS[0]) == {"DECIDE": 1, "FEEL": 1, "ITER": 1}
    assert found(TEXTS[1]) == found(TEXTS[0])  # in French, with accents and a typographic apostrophe
    assert found(TEXTS[2]) == {"DECIDE": 1, "MODAL": 1, "FEEL": 4}
    assert found(TEXTS[4]) == found("Un coeur brisé") == found("UN CŒUR brise\u0301") == {"FEEL": 1}
    assert found("dictate dictionary") == {"DECIDE": 1, "COMM": 1}  # dictat- is longer than dict-
    assert found("may mayor May") == {"MODAL": 2}  # a word is no stem
    assert found("la Décision, décidée") == {"DECIDE": 2}
    assert found("ßdecide 愛love") == {"FEEL": 1}  # a letter is part of the word, a character of another script none


@pytest.mark.parametrize("primitive", PRIMITIVES)
def test_every_primitive_has_60_entries_in_each_language(primitive: str) -> None:
    entries = read_lexicon().entries
    assert all(len(set(entries[primitive, language])) >= 60 for language in LANGUAGES)


_SPELLINGS = st.sampled_from(sorted(read_lexicon().primitive_of))
_PIECES = st.one_of(_SPELLINGS, st.text(alphabet="aeosz ÉéÇœŒßİſĳ×\u0301\u0377Ω愛🎬'-.9\n", max_size=4))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(_PIECES, max_size=8).map("".join), max_size=6))
def test_all_ways_count_alike(texts: list[str]) -> None:
    lexicon = read_lexicon()
    expected = np.array([lexicon.plain_counts(text) for text in texts], np.int32).reshape(-1, len(PRIMITIVES))
    for num_threads in (1, 3):
        np.testing.assert_array_equal(count_primitives(texts, lexicon, num_threads=num_threads), expected)
    np.testing.assert_array_equal(_count_by_torch(_Bytes.of_texts(texts), lexicon, "cpu"), expected)


def test_a_gpu_takes_some_texts_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = count_primitives(TEXTS, read_lexicon())
    monkeypatch.setattr("semrec.encoders.primitive_counts._BYTES_PER_CALL", 40)  # less than one has, and more
    np.testing.assert_array_equal(_count_by_torch(_Bytes.of_texts(TEXTS), read_lexicon(), "cpu"), whole)


def test_a_vector_holds_the_square_roots_of_shares() -> None:
    kind, chosen = PrimitivesEncoder, EmbedSettings(kind="primitives", device="cpu")
    encoder = kind.load(kind.plan(chosen), chosen)
    vectors_NP, _ = encoder.embed([TEXTS[2], "zzz"])
    words = {"DECIDE": 1, "MODAL": 1, "FEEL": 4}
    expected = [((words.get(name, 0) + 1 / 9) / 7) ** 0.5 for name in PRIMITIVES]
    np.testing.assert_allclose(vectors_NP, [expected, [1 / 3] * 9], rtol=1e-6)
    assert encoder.metadata(TEXTS[2]) == {"primitives": words, "signature": str(3 * 19 * 23**2)}


def test_a_signature_is_divided_by_what_it_has() -> None:
    counts_NP = np.array([[0] * 9, [1] * 9, [0, 0, 0, 0, 0, 0, 0, 1, 7], [1000] * 9], np.int32)
    found_N = signatures(counts_NP)
    assert found_N.tolist() == [1, 223_092_870, 19 * 23**2, 223_092_870**MAX_EXPONENT]
    decides_and_feels, feels_twice = signatures(np.array([[0] * 7 + [1, 1], [0] * 8 + [2]]))
    assert (found_N % decides_and_feels == 0).tolist() == [False, True, True, True]
    assert (found_N % feels_twice == 0).tolist() == [False, False, True, True]
