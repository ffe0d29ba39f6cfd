"""History: what a model wrote and what surprised it at the steps whose weights were kept, and what it learned when."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypedDict

import numpy as np

from charlm.analysis import surprise
from charlm.analysis.labels import WORD
from charlm.analysis.measurement import Measured, Progress, Subject, capital, listed
from charlm.analysis.settings import HistorySettings
from charlm.config import SampleConfig
from charlm.errors import JobError, MeasurementError
from charlm.generation import generate
from charlm.tokenizers import Tokenizer

Settings = HistorySettings

# What is learned, from frequent to rare; a token may be of several kinds, and of none.
KINDS = (
    "letters", "spaces", "short words", "word endings", "names", "capitals", "line ends", "quotes", "other signs",
    "digits",
)  # fmt: skip
SHORT = 3  # letters of a short word, at most
TOLD = ("spaces", "short words", "names", "quotes")  # the kinds that the finding is about
SHARE = 0.9  # of the way from frequencies to the last step, which is gone when a kind is learned
LEAST_PLACES, LEAST_GAIN = 20, 0.25  # tokens of a kind, and bits it must have gained, to say when it was learned

Array = np.ndarray[Any, Any]


class Kind(TypedDict):
    """The tokens of one kind.

    Attributes:
        kind: one of KINDS.
        tokens: how many there are.
        frequency: mean bits per token of one who knows how frequent each token of the passage is, and nothing else;
            None without any.
        learned: the first kept step at which at least 90 % of the way from there to the last step's mean bits is gone;
            None where there are fewer than 20 tokens, or less than 0.25 bits were gained.
    """

    kind: str
    tokens: int
    frequency: float | None
    learned: int | None


class Moment(TypedDict):
    """The model at one kept step.

    Attributes:
        step: of the training.
        bits_per_character: of the passage.
        text: what it wrote after the prompt.
        bits: what each shown token cost, (N,); None for the first.
        kinds: mean bits per token by kind, in the order of KINDS; None without any.
    """

    step: int
    bits_per_character: float
    text: str
    bits: list[float | None]
    kinds: list[float | None]


class History(TypedDict):
    """A training in some of its steps.

    Attributes:
        prompt: what each text began with.
        tokens: that were predicted.
        pieces: what each shown token adds to the passage, (N,).
        kinds: in the order of KINDS.
        moments: by step.
    """

    prompt: str
    tokens: int
    pieces: list[str]
    kinds: list[Kind]
    moments: list[Moment]


def measure(subject: Subject, settings: Settings) -> Iterator[Progress[History]]:
    """Write the same text and read the same passage at each kept step.

    Args:
        subject: with snapshots.
        settings: of the text and the passage.

    Yields:
        What was found so far, after each step from the second on: the first and the last ones come first.

    Raises:
        MeasurementError: no weights were kept along its training, or they give no finite numbers.
        CheckpointError: the weights of a step are damaged.
    """
    if subject.at is None or not subject.snapshots:
        raise MeasurementError(
            "this model kept no weights along its training: choose small-lstm, small-gru or small-rnn, which did, or "
            "train a network here with snapshots above 0"
        )
    steps = [*sorted({subject.snapshots[0], subject.snapshots[-1]}), *subject.snapshots[1:-1]]
    moments: list[Moment] = []
    for done, step in enumerate(steps):
        then = replace(subject, model=subject.at(step))
        read: surprise.Surprise | None = None
        for progress in surprise.measure(then, surprise.Settings(characters=settings.characters)):
            read = progress.result or read
            yield Progress((done + progress.share / 2) / len(steps))
        assert read is not None
        of_kind = kinds_of(read["pieces"])[1:]
        written: list[str] = []
        try:
            for place, piece in enumerate(
                generate(then.model, subject.tokenizer, *_order(subject.tokenizer, settings))
            ):
                written.append(piece)
                if place % 16 == 0:
                    yield Progress((done + 0.5 + 0.5 * min(1.0, place / settings.length)) / len(steps))
        except JobError as error:
            raise MeasurementError(f"at step {step:,}: {error}") from error
        moments.append(_moment(step, read, of_kind, "".join(written), settings.shown))
        if len(moments) > 1 or len(steps) == 1:
            result = _history(moments, read, of_kind, _order(subject.tokenizer, settings)[0], settings.shown)
            yield Progress((done + 1) / len(steps), result)


def _order(tokenizer: Tokenizer, settings: Settings) -> tuple[str, SampleConfig]:
    """The prompt, without what the tokenizer does not know, and how the text is sampled."""
    prompt = settings.prompt
    if unknown := tokenizer.unknown(prompt):
        prompt = "".join(sign for sign in prompt if sign not in unknown)
    return prompt, SampleConfig(length=settings.length, temperature=settings.temperature, seed=settings.seed)


def kinds_of(pieces: Sequence[str]) -> Array:
    """Which kinds each token of a text is of: (N, K) of bool, in the order of KINDS.

    What counts is a token's first character that is no space. All letters of a word of at most three are short words';
    word endings are letters after the third one. A name is a word with a capital within a sentence: after a letter, a
    digit, a comma or a semicolon, and a space; a single letter is none.
    """
    text = "".join(pieces)
    short, name = np.zeros(len(text) + 1, bool), np.zeros(len(text) + 1, bool)
    for word in WORD.finditer(text):
        start, end = word.span()
        short[start:end] = end - start <= SHORT
        before = text[max(0, start - 2) : start]
        within = len(before) == 2 and before[1] == " " and (before[0].isalnum() or before[0] in ",;")
        name[start:end] = within and word[0][0].isupper() and end - start > 1
    basic = dict(zip(surprise.KINDS, surprise.kinds_of(pieces).T, strict=True))
    letters = basic["start of a word"] | basic["inside a word"] | basic["after the third letter"]
    firsts = _firsts(pieces)
    columns = {
        "letters": letters,
        "spaces": basic["space"],
        "short words": letters & short[firsts],
        "word endings": basic["after the third letter"],
        "names": letters & name[firsts],
        "capitals": basic["capital"],
        "line ends": basic["line end"],
        "quotes": basic["quote"],
        "other signs": basic["other sign"],
        "digits": basic["digit"],
    }
    return np.stack([columns[kind] for kind in KINDS], axis=1)


def _firsts(pieces: Sequence[str]) -> list[int]:
    """Where in the text each token's first character is that is no space; of one of spaces only, its first."""
    places, start = [], 0
    for piece in pieces:
        spaces = len(piece) - len(piece.lstrip(" "))
        places.append(start + (spaces if spaces < len(piece) else 0))
        start += len(piece)
    return places


def _moment(step: int, read: surprise.Surprise, of_kind: Array, text: str, shown: int) -> Moment:
    means = _means(np.array(read["bits"][1:], float), of_kind)
    return Moment(
        step=step, bits_per_character=read["bits_per_character"], text=text, bits=read["bits"][:shown], kinds=means
    )


def _history(moments: Sequence[Moment], read: surprise.Surprise, of_kind: Array, prompt: str, shown: int) -> History:
    ordered = sorted(moments, key=lambda one: one["step"])
    steps, kinds = [one["step"] for one in ordered], list[Kind]()
    for place, (kind, start) in enumerate(zip(KINDS, _means(frequency_bits(read["pieces"]), of_kind), strict=True)):
        count, means = int(of_kind[:, place].sum()), [one["kinds"][place] for one in ordered]
        kinds.append(Kind(kind=kind, tokens=count, frequency=start, learned=learned(steps, means, start, count)))
    return History(prompt=prompt, tokens=read["tokens"], pieces=read["pieces"][:shown], kinds=kinds, moments=ordered)


def _means(costs: Array, of_kind: Array) -> list[float | None]:
    """The mean of the costs (N,) of each kind, given which kinds they are of, (N, K); None without any."""
    sums, counts = costs @ of_kind, of_kind.sum(0)
    return [round(float(total / count), 4) if count else None for total, count in zip(sums, counts, strict=True)]


def frequency_bits(pieces: Sequence[str]) -> Array:
    """What each token but the first costs one who knows how frequent each of them is, and nothing else, (N - 1,)."""
    _, places, counts = np.unique(np.array(pieces[1:]), return_inverse=True, return_counts=True)
    costs: Array = -np.log2(counts / counts.sum())[places.ravel()]
    return costs


def learned(steps: Sequence[int], means: Sequence[float | None], start: float | None, tokens: int) -> int | None:
    """The first step at which a kind of token is learned; see `Kind`.

    Args:
        steps: ascending.
        means: mean bits of the kind at each of them.
        start: mean bits of one who knows frequencies only.
        tokens: that the means are over.
    """
    last = means[-1]
    if start is None or last is None or tokens < LEAST_PLACES or start - last < LEAST_GAIN or len(steps) < 2:
        return None
    enough = start - SHARE * (start - last)
    return next(step for step, mean in zip(steps, means, strict=True) if mean is not None and mean <= enough)


def finding(found: Sequence[Measured[History]]) -> str:
    """By which step each model had learned what: spaces, short words, names, quotes."""
    return f"{capital('; '.join(map(_told, found)))}."


def _told(one: Measured[History]) -> str:
    """`the LSTM has learned spaces by step 40, short words by 300, quotes not before 2,400`."""
    steps = {kind["kind"]: kind["learned"] for kind in one.result["kinds"] if kind["kind"] in TOLD}
    known = sorted(((step, kind) for kind, step in steps.items() if step is not None), key=lambda pair: pair[0])
    first, last = one.result["moments"][0], one.result["moments"][-1]
    if not known:
        return (
            f"{one.name} went from {first['bits_per_character']:.2f} bits per character at step {first['step']:,} "
            f"to {last['bits_per_character']:.2f} at {last['step']:,}"
        )
    groups: list[tuple[int, list[str]]] = []
    for step, kind in known:
        if groups and groups[-1][0] == step:
            groups[-1][1].append(kind)
        else:
            groups.append((step, [kind]))
    parts = [
        f"{listed(kinds)} "
        f"{'not before' if place and place == len(groups) - 1 else 'by'} {'' if place else 'step '}{step:,}"
        for place, (step, kinds) in enumerate(groups)
    ]
    return f"{one.name} has learned {', '.join(parts)}"


def rows(result: History) -> list[dict[str, Any]]:
    """One row a kept step: `step`, `bits_per_character`, the mean bits of each kind, `text`."""
    return [
        {
            "step": one["step"],
            "bits_per_character": one["bits_per_character"],
            **dict(zip(KINDS, one["kinds"], strict=True)),
            "text": one["text"],
        }
        for one in result["moments"]
    ]
