"""Matching statistics: how much of some texts stands word for word in a large one.

The small texts become a suffix automaton (Blumer et al. 1985), which the large one passes once, in time proportional to
its length (Chang and Lawler 1994): nothing as large as the large text is built or kept. Compiled where numba is at
hand, else the same loops run in Python, slower.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from charlm.models.kernels.jit import compiled, inlined

BLOCK = 1 << 20  # characters of the large text that are read at a time
ABSENT = -1  # no state, no edge, or a character that none of the small texts has
Ints = np.ndarray[Any, np.dtype[np.int32]]


@inlined
def _edge(state: int, code: int, starts: Any, edges: Any, first: Any) -> int:
    """The edge of a state with this character; ABSENT if there is none.

    Args:
        state: its number; 0 is the empty text.
        code: of the character.
        starts: (S,), the edge of state 0 for each character, which has too many of them for a list.
        edges: (3, E), each edge's character, the state that it leads to, and the next edge of the same state.
        first: (N,), the first edge of each state.
    """
    if state == 0:
        return int(starts[code])
    edge = first[state]
    while edge >= 0 and edges[0, edge] != code:
        edge = edges[2, edge]
    return int(edge)


@inlined
def _add_edge(state: int, code: int, target: int, starts: Any, edges: Any, first: Any, count: int) -> int:
    """Append an edge to a state; returns how many edges there are. Arguments as of `_edge`."""
    edges[0, count], edges[1, count] = code, target
    if state == 0:
        starts[code] = count
    else:
        edges[2, count], first[state] = first[state], count
    return count + 1


@compiled
def _build(codes: Any, starts: Any, edges: Any, first: Any, links: Any, lengths: Any, ends: Any) -> int:
    """The suffix automaton of a text, built online.

    Args:
        codes: (C,), the text.
        starts, edges, first: filled, see `_edge`.
        links: (N,), filled with the state of each state's longest suffix that is another state's.
        lengths: (N,), filled with the length of each state's longest text.
        ends: (C,), filled with the state of the whole text up to each place.

    Returns:
        How many states there are.
    """
    last, states, count = 0, 1, 0
    for place in range(len(codes)):
        code = codes[place]
        new = states
        states += 1
        lengths[new] = lengths[last] + 1
        at = last
        while at != -1 and _edge(at, code, starts, edges, first) < 0:
            count = _add_edge(at, code, new, starts, edges, first, count)
            at = links[at]
        if at == -1:
            links[new] = 0
        else:
            edge = _edge(at, code, starts, edges, first)
            old = edges[1, edge]
            if lengths[old] == lengths[at] + 1:
                links[new] = old
            else:
                copy = states
                states += 1
                lengths[copy], links[copy] = lengths[at] + 1, links[old]
                other = first[old]
                while other >= 0:
                    count = _add_edge(copy, edges[0, other], edges[1, other], starts, edges, first, count)
                    other = edges[2, other]
                links[old] = links[new] = copy
                while at != -1:
                    edge = _edge(at, code, starts, edges, first)
                    if edge < 0 or edges[1, edge] != old:
                        break
                    edges[1, edge] = copy
                    at = links[at]
        ends[place] = last = new
    return states


@compiled
def _pass(codes: Any, starts: Any, edges: Any, first: Any, links: Any, lengths: Any, longest: Any, where: Any) -> None:
    """Lead a piece of the large text through the automaton.

    Args:
        codes: (C,), the piece; ABSENT for characters that the small texts do not have.
        starts, edges, first, links, lengths: see `_build`.
        longest: (N,), raised to the longest piece of the large text that ended in each state.
        where: (2,), the state and the length of the match that the piece continues; those at its end.
    """
    state, length = where[0], where[1]
    for place in range(len(codes)):
        code = codes[place]
        if code < 0:
            state, length = 0, 0
            continue
        edge = _edge(state, code, starts, edges, first)
        while edge < 0 and state != 0:
            state = links[state]
            length = lengths[state]
            edge = _edge(state, code, starts, edges, first)
        if edge < 0:
            length = 0
        else:
            state = edges[1, edge]
            length += 1
            longest[state] = max(longest[state], length)
    where[0], where[1] = state, length


class Matcher:
    """Finds for each place of some texts the longest piece ending there that stands in a large text.

    Args:
        texts: the small ones; about 100 bytes of memory a character.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._sizes = [len(text) for text in texts]
        points = [code_points(text) for text in texts]
        known = np.unique(np.concatenate([np.empty(0, np.uint32), *points]))
        separator = len(known)  # after each text; no piece reaches across it, as the large text has none
        codes = np.concatenate([np.empty(0, np.int32), *(
            np.append(np.searchsorted(known, text), separator).astype(np.int32) for text in points
        )])  # fmt: skip
        self._codes = np.full(0x110000, ABSENT, np.int32)
        self._codes[known] = np.arange(separator)
        states = 2 * len(codes) + 1
        self._starts = np.full(separator + 1, ABSENT, np.int32)
        self._edges = np.full((3, 3 * len(codes) + 1), ABSENT, np.int32)
        self._first, self._links = np.full(states, ABSENT, np.int32), np.full(states, ABSENT, np.int32)
        self._lengths, self._ends = np.zeros(states, np.int32), np.zeros(len(codes), np.int32)
        graph = self._starts, self._edges, self._first, self._links, self._lengths
        self._states = _build(codes, *graph, self._ends)
        self._graph, self._longest = graph, np.zeros(states, np.int32)

    def read(self, text: str) -> Iterator[float]:
        """Pass the large text, a BLOCK at a time; yields the share of it that has been passed."""
        where = np.zeros(2, np.int32)
        for start in range(0, len(text), BLOCK):
            _pass(self._codes[code_points(text[start : start + BLOCK])], *self._graph, self._longest, where)
            yield min(1.0, (start + BLOCK) / len(text))

    def lengths(self) -> list[Ints]:
        """For each small text, (L,): the characters of the longest piece that ends with each of its characters."""
        order = np.argsort(self._lengths[: self._states], kind="stable")
        links, lengths, found = self._links, self._lengths, self._longest.copy()
        for state in order[:0:-1]:  # what stands there stands there with all its suffixes
            if found[state]:
                found[links[state]] = lengths[links[state]]
        for state in order[1:]:
            if not found[state]:
                found[state] = found[links[state]]
        at_ends = found[self._ends]
        starts = np.cumsum([0, *(size + 1 for size in self._sizes)])
        return [at_ends[start : start + size] for start, size in zip(starts, self._sizes, strict=False)]


def code_points(text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """The code points of a text, (L,)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
