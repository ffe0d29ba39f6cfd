"""Which words of a generated text never occur in the corpus: spelling is the first thing a character model learns."""

import re

import numpy as np

_BLOCK = 1 << 22


def count_characters(text: str) -> list[tuple[str, int]]:
    """Characters with their counts, the most common first, ties in the order of their code points.

    Args:
        text: any text; lone surrogates are counted like other characters.

    Returns:
        (character, count) pairs; empty for an empty text.
    """
    counts = np.zeros(0, dtype=np.int64)
    for start in range(0, len(text), _BLOCK):
        block = text[start : start + _BLOCK].encode("utf-32-le", "surrogatepass")
        found = np.bincount(np.frombuffer(block, dtype="<u4"), minlength=len(counts))
        found[: len(counts)] += counts
        counts = found
    present = np.flatnonzero(counts)
    order = present[np.argsort(-counts[present], kind="stable")]
    return [(chr(code), int(counts[code])) for code in order]


# A word: letters with inner apostrophes or hyphens, in any script; digits and underscores are no letters.
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def lexicon(text: str) -> frozenset[str]:
    """The distinct words of `text`, in small letters; of a hyphenated word also its parts."""
    words = {match.group().lower() for match in WORD.finditer(text)}
    return frozenset(words.union(*(word.split("-") for word in words if "-" in word)))


def unknown_words(text: str, known: frozenset[str], ended: bool = True) -> tuple[list[tuple[int, int]], float]:
    """Where `text` has words that are not `known`, and their share of all words.

    Args:
        text: what a model wrote.
        known: the corpus' lexicon.
        ended: whether the text is complete; if not, a word that touches its end is not judged yet.

    Returns:
        Spans (start, end) in characters, and a share from 0 to 1; 0 where there is no word.
    """
    found = [match for match in WORD.finditer(text) if ended or match.end() < len(text)]
    spans = [match.span() for match in found if match.group().lower() not in known]
    return spans, len(spans) / len(found) if found else 0.0
