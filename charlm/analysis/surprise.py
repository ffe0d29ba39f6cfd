"""Surprise: the bits that each token of a text cost a model, what it expected instead, and where the bits go."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch

from charlm.analysis.labels import WORD
from charlm.analysis.measurement import Measured, Progress, Subject, listed
from charlm.analysis.settings import SurpriseSettings
from charlm.errors import MeasurementError
from charlm.tokenizers import Tokenizer

Settings = SurpriseSettings

LIKELIEST = 5  # tokens kept of each place
BLOCK, MOST_NUMBERS = 512, 4_000_000  # tokens read at a time; and tokens times vocabulary
FIRST = 1000  # tokens after which the first picture stands
LONGEST_WORD = 64  # characters; the passage ends before a word that it would cut in two, unless that is longer
QUOTES = frozenset("\"'“”„‟‘’‚‛«»‹›「」『』")
KINDS = (
    "start of a word",
    "inside a word",
    "after the third letter",
    "capital",
    "space",
    "line end",
    "quote",
    "digit",
    "other sign",
)

Array = np.ndarray[Any, Any]


class KindTotal(TypedDict):
    """The places of one kind.

    Attributes:
        kind: one of KINDS.
        tokens: how many there are.
        bits: their mean, per token; None without any.
    """

    kind: str
    tokens: int
    bits: float | None


class Surprise(TypedDict):
    """What a text cost a model.

    Attributes:
        characters: of the text that the predicted tokens stand for; the first token is not predicted.
        tokens: that were predicted.
        bits_per_character: over all of them.
        unknown: characters that were left out, because the model does not know them.
        pieces: what each token adds to the text, (N,).
        bits: what each of them cost, (N,); None for the first.
        names: tokens that are among the most likely somewhere.
        likeliest: for each token the places in `names` of those that were most likely in its stead, best first.
        chances: their probabilities; empty for the first token, as is `likeliest`.
        kinds: totals by kind of place, in the order of KINDS.
    """

    characters: float
    tokens: int
    bits_per_character: float
    unknown: int
    pieces: list[str]
    bits: list[float | None]
    names: list[str]
    likeliest: list[list[int]]
    chances: list[list[float]]
    kinds: list[KindTotal]


class Block(NamedTuple):
    """Some predicted tokens: their bits (B,), the most likely ones (B, 5) and the probabilities of those (B, 5)."""

    bits: Array
    tokens: Array
    chances: Array


def measure(subject: Subject, settings: Settings) -> Iterator[Progress[Surprise]]:
    """The bits of each token at the beginning of a text, in one pass from the zero state.

    Args:
        subject: a model of any architecture.
        settings: how many characters.

    Yields:
        The passage so far after about FIRST tokens, and the whole of it at the end.

    Raises:
        MeasurementError: nothing to predict, or logits that are no finite numbers.
    """
    text = passage(subject.text, settings.characters)
    ids = subject.tokenizer.encode(text, skip_unknown=True).astype(np.int64)
    if len(ids) < 2:
        raise MeasurementError(
            f"surprise needs at least 2 tokens that the model knows, and this text has {len(ids)}; paste a longer one"
        )
    per_token = 1.0 if subject.tokenizer.level == "char" else len(text) / len(ids)
    unknown = len(text) - len(ids) if subject.tokenizer.level == "char" else 0
    read: list[Block] = []
    done, early = 0, len(ids) > 2 * FIRST
    for block in _blocks(subject, ids):
        read.append(block)
        done += len(block.bits)
        if done == len(ids) - 1 or (early and done >= FIRST):
            early = False
            yield Progress(done / (len(ids) - 1), _result(subject.tokenizer, ids[: done + 1], read, per_token, unknown))
        else:
            yield Progress(done / (len(ids) - 1))


def passage(text: str, characters: int) -> str:
    """The beginning of a text, up to the last whole word within so many characters."""
    if len(text) <= characters or text[characters].isspace():
        return text[:characters]
    ends = [place for place in range(max(1, characters - LONGEST_WORD), characters) if text[place].isspace()]
    return text[: ends[-1] if ends else characters]


def kinds_of(pieces: Sequence[str]) -> Array:
    """Which kinds each token of a text is of: (N, K) of bool, in the order of KINDS.

    What counts is a token's first character that is no space. A capital is a letter of a word, too; all other kinds
    exclude each other. An apostrophe between letters is a part of its word.
    """
    text = "".join(pieces)
    letter = np.zeros(len(text) + 1, np.int64)  # which of its word's letters a character is, from 1 on
    for word in WORD.finditer(text):
        letter[word.start() : word.end()] = np.arange(1, len(word[0]) + 1)
    found, start = np.zeros((len(pieces), len(KINDS)), bool), 0
    for place, piece in enumerate(pieces):
        if piece:  # those of an incomplete character are of no kind
            first = len(piece) - len(piece.lstrip(" "))
            first = first if first < len(piece) else 0
            found[place] = _kinds(piece[first], int(letter[start + first]))
        start += len(piece)
    return found


def _kinds(sign: str, letter: int) -> list[bool]:
    """The kinds of a character that is so manieth in its word; 0: in none."""
    inside = [letter == 1, 1 < letter <= 3, letter > 3]
    signs = [sign.isspace() and sign != "\n", sign == "\n", sign in QUOTES, sign.isdigit()]
    signs = [letter == 0 and one for one in signs]
    return [*inside, sign.isupper(), *signs, not any(inside) and not any(signs)]


@torch.no_grad()
def _blocks(subject: Subject, ids: Array) -> Iterator[Block]:
    """What the ids (N,) cost but for the first, a block at a time."""
    model, state = subject.model, None
    size = max(1, min(BLOCK, MOST_NUMBERS // subject.tokenizer.vocab_size))
    everything = torch.from_numpy(ids).to(model.device)
    model.eval()
    for inputs, targets in zip(everything[:-1].split(size), everything[1:].split(size), strict=True):
        logits, state = model(inputs[None], state)
        logs = torch.log_softmax(logits[0].double(), dim=1)
        if not bool(torch.isfinite(logs).all()):
            raise MeasurementError(
                "the model's logits are no finite numbers: its training diverged; measure an earlier run, or train it "
                "again with a smaller learning_rate"
            )
        best, tokens = logs.topk(min(LIKELIEST, logs.shape[1]), dim=1)
        bits = -logs.gather(1, targets[:, None])[:, 0] / math.log(2)
        yield Block(bits.cpu().numpy(), tokens.cpu().numpy(), best.exp().cpu().numpy())


def _result(tokenizer: Tokenizer, ids: Array, read: Sequence[Block], per_token: float, unknown: int) -> Surprise:
    """The result of a passage.

    Args:
        tokenizer: the model's.
        ids: (N,).
        read: blocks of N - 1 tokens in all.
        per_token: characters that a token stands for, on average.
        unknown: characters that were left out.
    """
    pieces = list(map(tokenizer.speller().take, ids.tolist()))
    bits = np.concatenate([block.bits for block in read])
    known, places = np.unique(np.concatenate([block.tokens for block in read]), return_inverse=True)
    chances = np.concatenate([block.chances for block in read])
    of_kind = kinds_of(pieces)[1:]
    sums, counts = bits @ of_kind, of_kind.sum(0)
    return Surprise(
        characters=round(per_token * len(bits), 1),
        tokens=len(bits),
        bits_per_character=round(float(bits.mean()) / per_token, 4),
        unknown=unknown,
        pieces=pieces,
        bits=[None, *np.round(bits, 3).tolist()],
        names=[tokenizer.tokens[token] for token in known.tolist()],
        likeliest=[[], *places.reshape(len(bits), -1).tolist()],
        chances=[[], *np.round(chances, 4).tolist()],
        kinds=[
            KindTotal(kind=kind, tokens=int(count), bits=round(float(total / count), 4) if count else None)
            for kind, total, count in zip(KINDS, sums, counts, strict=True)
        ],
    )


def finding(found: Sequence[Measured[Surprise]]) -> str:
    """What the passage cost each model; and what the start of a word did, where their tokens are the same."""
    first, *others = found
    costs = [f"{one.result['bits_per_character']:.2f}" for one in found]
    told = [f"{first.name} pays {costs[0]} bits per character"]
    told += [f"{one.name} {cost}" for one, cost in zip(others, costs[1:], strict=True)]
    is_same = len({"".join(one.result["pieces"]) for one in found}) == 1
    several = "On the same passage" if is_same else "On passages of their own"
    where = several if others else f"Over {first.result['tokens']:,} {first.unit}"
    starts = [one.result["kinds"][0]["bits"] for one in found]
    known = [f"{bits:.2f}" for bits in starts if bits is not None]
    same = len({one.unit for one in found}) == 1 and len(known) == len(found)
    return f"{where} {listed(told)}{f'; at the start of a word {listed(known)}' if same else ''}."


def rows(result: Surprise) -> list[dict[str, Any]]:
    """One row a kind of place: `kind`, `tokens`, `bits` (the mean per token)."""
    return [dict(total) for total in result["kinds"]]
