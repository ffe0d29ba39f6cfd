"""How often each character occurs."""

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
