"""The lexicon of semantic primitives: which words are about which of nine, as a table that one pass over bytes follows.

A word is a run of letters, in lower case and without accents. It is about the primitive of the longest entry that fits: a
stem, which begins it, or a whole word. All else is about none.

Axes: S states of the table, A letters, P primitives.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Final

import numpy as np

from semrec.workspace.digests import sha256_hex

__all__ = ["LANGUAGES", "PRIMITIVES", "SKIPPED", "START", "Lexicon", "WordTable", "letters_of_bytes", "read_lexicon"]

PRIMITIVES: Final = ("RELATE", "MODAL", "EXIST", "EVAL", "COMM", "CAUSE", "ITER", "DECIDE", "FEEL")
LANGUAGES: Final = ("en", "fr")
START: Final = 1  # the state before a word; state 0 fits no entry any more
SKIPPED: Final = 255  # what `letters_of_bytes` has for a byte that is no letter of its own and ends no word

_FILE: Final = "primitives.toml"
_OTHER_LETTER: Final = "*"  # of an alphabet like ours, but in no entry
_ALPHABET: Final = " abcdefghijklmnopqrstuvwxyzœ" + _OTHER_LETTER  # the blank ends a word
_MARKS: Final = range(0x300, 0x370)  # accents that stand behind their letters
_LETTERS: Final = range(0xC0, 0x180)  # letters of Western Europe, accents included
_ENTRY: Final = re.compile(r"[a-z]+-?")


@dataclass(frozen=True, eq=False)
class WordTable:
    """The entries as a trie: letter by letter from START to the states of `primitive_S`.

    `next_SA` int16: the state after a letter; a word ends with letter 0. `primitive_S` uint8: 1 + the primitive of the entry
    that ends in the state, 0 in others. `num_letters`: those of the longest entry, its end included.
    """

    next_SA: np.ndarray
    primitive_S: np.ndarray
    num_letters: int


@dataclass(frozen=True)
class Lexicon:
    """`entries`: (primitive, language) -> its entries as the file has them. `sha256` is that of the file."""

    version: int
    sha256: str
    entries: dict[tuple[str, str], tuple[str, ...]]

    @cached_property
    def primitive_of(self) -> dict[str, int]:
        """The primitive, by its place in PRIMITIVES, of the beginning of a word; whole words end with a blank."""
        number_of_spelling: dict[str, int] = {}
        for (primitive, _), entries in self.entries.items():
            for entry in entries:
                beginning = entry[:-1] if entry.endswith("-") else f"{entry} "
                for spelling in {beginning, beginning.replace("oe", "œ")}:
                    number = PRIMITIVES.index(primitive)
                    if number_of_spelling.setdefault(spelling, number) != number:
                        raise ValueError(
                            f"{entry!r} is about {PRIMITIVES[number_of_spelling[spelling]]} and {primitive}"
                        )
        return number_of_spelling

    @cached_property
    def table(self) -> WordTable:
        """The same as a trie."""
        transitions, primitives = [[0] * len(_ALPHABET), [0] * len(_ALPHABET)], [0, 0]
        for beginning, primitive in self.primitive_of.items():
            state = START
            for letter in map(_ALPHABET.index, beginning):
                if not transitions[state][letter]:
                    transitions[state][letter] = len(transitions)
                    transitions.append([0] * len(_ALPHABET))
                    primitives.append(0)
                state = transitions[state][letter]
            primitives[state] = 1 + primitive
        longest = max(map(len, self.primitive_of))
        return WordTable(np.array(transitions, np.int16), np.array(primitives, np.uint8), longest)

    def plain_counts(self, text: str) -> list[int]:
        """How many words of a text are about each primitive, one word after the other: what faster ways must equal."""
        counts, primitive_of, longest = [0] * len(PRIMITIVES), self.primitive_of, self.table.num_letters
        for word in "".join(map(_folded, text)).split():
            ended = f"{word} "[:longest]
            fitting = (ended[:length] for length in range(len(ended), 0, -1))
            primitive = next((primitive_of[part] for part in fitting if part in primitive_of), None)
            if primitive is not None:
                counts[primitive] += 1
        return counts


@cache
def read_lexicon() -> Lexicon:
    """Reads the lexicon of this package. Raises ValueError for an entry that is no word, or is about two primitives."""
    data = files("semrec.encoders").joinpath(_FILE).read_bytes()
    stored = tomllib.loads(data.decode())
    entries = {(p, language): tuple(stored[p][language].split()) for p in PRIMITIVES for language in LANGUAGES}
    wrong = [entry for words in entries.values() for entry in words if not _ENTRY.fullmatch(entry)]
    if wrong:
        raise ValueError(f"{_FILE}: {wrong[0]!r} is no word or stem in lower case")
    return Lexicon(stored["version"], sha256_hex(data), entries)


@cache
def letters_of_bytes() -> np.ndarray:
    """What a byte of UTF-8 is after another: uint8 [65536], at 256 * the byte before it + itself.

    0 where it ends a word, SKIPPED, or the letter's place in `WordTable.next_SA`. Letters of two bytes are had at the second.
    """
    letters = np.zeros((256, 256), np.uint8)
    for byte in range(128):
        letters[:, byte] = _ALPHABET.index(_folded(chr(byte)))
    leads = {chr(code).encode()[0] for code in (*_LETTERS, *_MARKS)}
    letters[:, sorted(leads)] = SKIPPED
    for lead in leads:
        for code in range((lead & 0x1F) << 6, ((lead & 0x1F) + 1) << 6):
            folded = _folded(chr(code))
            letters[lead, chr(code).encode()[1]] = _ALPHABET.index(folded) if folded else SKIPPED
    return letters.reshape(-1)


@cache
def _folded(character: str) -> str:
    """The letter of a character in lower case without accents; nothing for an accent, and a blank for what is no letter."""
    lower, code = character.lower(), ord(character)
    if code in _MARKS or lower == "œ":
        return "" if code in _MARKS else lower
    base = "".join(part for part in unicodedata.normalize("NFKD", lower) if ord(part) not in _MARKS)
    if code < 128 or code in _LETTERS:
        if len(base) == 1 and "a" <= base <= "z":
            return base
        return _OTHER_LETTER if code >= 128 and character.isalpha() else " "
    return " "
