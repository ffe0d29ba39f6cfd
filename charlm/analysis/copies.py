"""Memorised or invented: how much of a text stands word for word in what a model learned from.

Both texts are compared in the form that the model's tokens can write, `decode(encode(text))`: for characters and
subwords that is the text itself; words may be in lower case, are spaced anew, and rare ones are `<unk>`. Lengths and
offsets are in characters of that form, whatever the tokens, so that models of different tokens can be compared.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

import numpy as np

from charlm.analysis.matching import Ints, Matcher
from charlm.analysis.measurement import Measured, Progress, Subject, listed
from charlm.analysis.settings import LARGEST_N, CopiesSettings
from charlm.config import SampleConfig
from charlm.errors import MeasurementError
from charlm.generation.generate import decoder_for
from charlm.generation.streams import Stream
from charlm.tokenizers import Tokenizer
from charlm.tokenizers.base import without_halves

Settings = CopiesSettings

STEPS = 8  # tokens written between two reports of progress
FIRST_PART = 4  # of the texts of the first temperature, one such part of their length is compared first
MOST_PASTED = 100_000  # characters
MOST_LISTED = 10  # of the longest copies
USUAL = 0.8  # the temperature that the finding is about, or the nearest one
TOKENS_A_CHARACTER = 4  # at most: bytes of UTF-8
Done = TypeVar("Done")


class Row(TypedDict):
    """The n-grams of one length: how many there are, and the share that stands nowhere in the training text."""

    n: int
    ngrams: int
    unseen: float | None


class Curve(TypedDict):
    """What was found of some texts together.

    `temperature` is None of what no model wrote; `copied` is the share of characters in copies of `shortest` or more.
    """

    temperature: float | None
    characters: int
    longest: int
    copied: float
    rows: list[Row]


class Text(TypedDict):
    """One text; its copies are [start, end) of all pieces of `shortest` or more that cannot be extended."""

    temperature: float | None
    seed: int | None
    text: str
    longest: int
    copies: list[tuple[int, int]]


class Copy(TypedDict):
    """One of the longest copies: its place in a text of `texts`, and where the training text first has it."""

    temperature: float | None
    text: int
    start: int
    end: int
    length: int
    quote: str
    training_offset: int


class Copies(TypedDict):
    """What `measure` finds; `held_out` is None where there is no human text beside the model's."""

    source: str
    training_characters: int
    ngram: int
    shortest: int
    curves: list[Curve]
    held_out: Curve | None
    texts: list[Text]
    longest_copies: list[Copy]


def measure(subject: Subject, settings: Settings) -> Generator[Progress[Copies], None, None]:
    """Compare a model's texts, or a text of one's own, with what the model learned from.

    The texts of the temperature nearest to USUAL come first, at a quarter of their length and then at all of it, and as
    much of the held-out text with them.

    Args:
        subject: its text is the one to compare with `source` pasted, else the held-out one beside the model's.
        settings: see Settings.

    Yields:
        How far it is, after each temperature with what was found.

    Raises:
        MeasurementError: there is no training text, nothing to compare with it, or the model's numbers are not finite.

    Source:
        The share of n-grams that are new is that of McCoy et al. (2023), RAVEN; by characters instead of words.
    """
    if not subject.training_text:
        raise MeasurementError(
            "the text that this model learned from is not at hand, so that its copies cannot be found; give that text "
            "again (in the Corpus tab, or by resume --corpus), or train or fork a run on a text of your own"
        )
    is_pasted = settings.source == "pasted"
    human = _pasted(subject) if is_pasted else _held_out(subject, settings)
    training = yield from _scaled(_normal_form(subject.tokenizer, subject.training_text), 0.0, 0.1)
    result = Copies(
        source=settings.source, training_characters=len(training), ngram=settings.ngram, shortest=settings.shortest,
        curves=[], held_out=None, texts=[], longest_copies=[],
    )  # fmt: skip
    if is_pasted:
        compared = yield from _scaled(_compare([(None, None, human[0])], training, settings.shortest), 0.1, 0.89)
        yield Progress(1.0, _extended(result, compared, training))
        return
    temperatures = sorted(settings.numbers(), key=lambda temperature: abs(temperature - USUAL))
    part = 0.9 / len(temperatures)
    for place, temperature in enumerate(temperatures):
        writer, before, done = _Writer(subject, temperature, settings), result, 0.1 + place * part
        for length in [settings.length] if place else [settings.length // FIRST_PART, settings.length]:
            end = 0.1 + (place + length / settings.length) * part
            texts = yield from _scaled(writer.write(length), done, 0.9 * (end - done))
            new = [(temperature, settings.seed + at, text) for at, text in enumerate(texts)]
            beside = [] if place else [(None, None, text[:length]) for text in human]
            work = _compare([*new, *beside], training, settings.shortest)
            compared = yield from _scaled(work, done + 0.9 * (end - done), 0.09 * (end - done))
            result = _extended(before, compared[: len(new)], training)
            if beside:
                result["held_out"] = _curve(compared[len(new) :])
            is_last = place + 1 == len(temperatures) and length == settings.length
            yield Progress(1.0 if is_last else end, result)
            done = end


def finding(found: Sequence[Measured[Copies]]) -> str:
    """The longest copies and the shares of new n-grams in a sentence; empty before the first are known."""
    shown = [(one.name, usual(one.result), one.result) for one in found if one.result["curves"]]
    if not shown:
        return ""
    [_, first, result], n = shown[0], shown[0][2]["ngram"]
    labels = [label for label, _, _ in shown]
    longest, shares = [curve["longest"] for _, curve, _ in shown], [_unseen(curve, n) for _, curve, _ in shown]
    if result["source"] == "pasted":
        start = f"The longest copy is {_counted(longest[0], 'character')} from {labels[0]}'s training text"
        start += "".join(f", {more} from {label}'s" for label, more in zip(labels[1:], longest[1:], strict=True))
        new = f"; of the text's {n}-grams, {_joined(shares)} are not in it" if None not in shares else ""
        return f"{start}{new if len(shown) == 1 else new.replace('not in it', 'new')}."
    start = f"At temperature {first['temperature']:g} {labels[0]}'s longest copy is "
    start += _counted(longest[0], "character")
    start += "".join(f", {label}'s {more}" for label, more in zip(labels[1:], longest[1:], strict=True))
    if None in shares:
        return f"{start}."
    humans = [_unseen(one["held_out"], n) for _, _, one in shown if one["held_out"]]
    same = list(dict.fromkeys(share for share in humans if share is not None))
    beside = f" (held-out text: {_joined(same)})" if same else ""
    whose = "its" if len(shown) == 1 else "their"
    return f"{start}; {_joined(shares)} of {whose} {n}-grams do not occur in the training text{beside}."


def rows(result: Copies) -> list[dict[str, Any]]:
    """The curves as a table: a row for each temperature and n; that of the held-out text has no temperature."""
    curves = [("text" if result["source"] == "pasted" else "generated", curve) for curve in result["curves"]]
    curves += [("held out", result["held_out"])] if result["held_out"] else []
    return [
        {
            "text": kind, "temperature": curve["temperature"], "n": row["n"], "ngrams": row["ngrams"],
            "unseen": row["unseen"], "longest": curve["longest"], "copied": curve["copied"],
        }
        for kind, curve in curves
        for row in curve["rows"]
    ]  # fmt: skip


def usual(result: Copies) -> Curve:
    """The curve that the finding is about: that of the temperature nearest to USUAL; there must be one."""
    return min(result["curves"], key=lambda curve: abs((curve["temperature"] or USUAL) - USUAL))


def _pasted(subject: Subject) -> list[str]:
    text = subject.tokenizer.decode(subject.ids.tolist())
    if not text.strip():
        raise MeasurementError("the text holds nothing that this model knows; paste some sentences")
    if len(text) > MOST_PASTED:
        raise MeasurementError(
            f"the text has {len(text):,} characters, and at most {MOST_PASTED:,} are compared; paste a part of it"
        )
    return [text]


def _held_out(subject: Subject, settings: Settings) -> list[str]:
    """As many pieces of the held-out text as the model writes at one temperature, as long; evenly spaced.

    None where it is a part of the training text, as that of a very short one is.
    """
    if not subject.text or subject.text in subject.training_text:
        return []
    text = subject.tokenizer.decode(subject.ids.tolist())
    if len(text) <= settings.samples * settings.length:
        return [text] if text else []
    starts = np.linspace(0, len(text) - settings.length, settings.samples).astype(int).tolist()
    return [text[start : start + settings.length] for start in starts]


def _scaled(work: Generator[float, None, Done], start: float, size: float) -> Generator[Progress[Any], None, Done]:
    """Report work as a part of a longer one, and return what it returns.

    Args:
        work: yields the share of it that is done.
        start: share of the longer work before it.
        size: its own share.
    """
    while True:
        try:
            share = next(work)
        except StopIteration as done:
            value: Done = done.value
            return value
        yield Progress(start + size * share)


def _normal_form(tokenizer: Tokenizer, text: str) -> Generator[float, None, str]:
    """A text as its tokens write it."""
    text = without_halves(text)
    if tokenizer.unk_id is None and not tokenizer.unknown(text):  # characters or bytes, which lose nothing
        return text
    take, parts, length = tokenizer.speller().take, [], 0
    for block in tokenizer.encode_blocks(text, skip_unknown=True):
        parts.append("".join(map(take, block.tolist())))
        length += len(parts[-1])
        yield min(1.0, length / len(text))
    return "".join(parts)


class _Writer:
    """The texts of a model at one temperature, equally many characters of each, whatever the tokens.

    Args:
        subject: the model and its tokenizer.
        temperature: to draw with.
        settings: how many texts, and the first one's seed.
    """

    def __init__(self, subject: Subject, temperature: float, settings: Settings) -> None:
        config = SampleConfig(length=TOKENS_A_CHARACTER * settings.length, temperature=temperature)
        seeds = range(settings.seed, settings.seed + settings.samples)
        self._decoder = decoder_for(subject.model)
        self._streams = [Stream.start(subject.tokenizer, "", config, seed) for seed in seeds]
        self._texts = [""] * settings.samples

    def write(self, length: int) -> Generator[float, None, list[str]]:
        """Write on up to so many characters of each text; yields the share of this that is done."""
        start = sum(map(len, self._texts))
        while writing := [
            at for at, stream in enumerate(self._streams) if not stream.done and len(self._texts[at]) < length
        ]:
            pieces = self._decoder.decode([self._streams[at] for at in writing], STEPS)
            for at, piece in zip(writing, pieces, strict=True):
                self._texts[at] += piece
                if self._streams[at].error:
                    raise MeasurementError(self._streams[at].error)
            now = sum(min(len(text), length) for text in self._texts)
            yield max(0.0, (now - start) / (length * len(self._texts) - start))
        return [text[:length] for text in self._texts]


def _compare(
    texts: Sequence[tuple[float | None, int | None, str]], training: str, shortest: int
) -> Generator[float, None, list["_Compared"]]:
    """Find what of some texts stands in the training text.

    Args:
        texts: each with its temperature and seed.
        training: the large text.
        shortest: length of the copies to keep.
    """
    matcher = Matcher([text for _, _, text in texts])
    yield from matcher.read(training)
    return [
        _Compared(
            Text(
                temperature=temperature, seed=seed, text=text, longest=int(lengths.max(initial=0)),
                copies=_maximal(lengths, shortest),
            ),
            lengths,
        )
        for (temperature, seed, text), lengths in zip(texts, matcher.lengths(), strict=True)
    ]  # fmt: skip


@dataclass(frozen=True)
class _Compared:
    """A text, and for each of its characters the length of the longest copy that ends with it, (L,)."""

    text: Text
    lengths: Ints


def _maximal(lengths: Ints, shortest: int) -> list[tuple[int, int]]:
    """[start, end) of the copies of `shortest` or more that can be extended to neither side, in their order."""
    extended = np.append(lengths[1:] > lengths[:-1], False) if len(lengths) else np.zeros(0, bool)
    ends = np.flatnonzero((lengths >= shortest) & ~extended)
    return [(int(end + 1 - lengths[end]), int(end + 1)) for end in ends]


def _curve(compared: Sequence[_Compared]) -> Curve:
    """What was found of some texts of one temperature, together; n-grams do not reach from one into the next."""
    characters = sum(len(one.lengths) for one in compared)
    table: list[Row] = []
    for n in range(1, LARGEST_N + 1):
        ngrams = sum(max(0, len(one.lengths) - n + 1) for one in compared)
        unseen = sum(int((one.lengths[n - 1 :] < n).sum()) for one in compared)
        table.append(Row(n=n, ngrams=ngrams, unseen=round(unseen / ngrams, 5) if ngrams else None))
    copied = sum(len({at for span in one.text["copies"] for at in range(*span)}) for one in compared)
    return Curve(
        temperature=compared[0].text["temperature"], characters=characters,
        longest=max(one.text["longest"] for one in compared), copied=round(copied / max(characters, 1), 5), rows=table,
    )  # fmt: skip


def _extended(result: Copies, compared: Sequence[_Compared], training: str) -> Copies:
    """A result with the texts of one more temperature; curves and texts stay in the order of temperatures.

    Args:
        result: so far; not changed.
        compared: the new texts.
        training: the large text.
    """
    texts = [*result["texts"], *(one.text for one in compared)]
    order = sorted(range(len(texts)), key=lambda at: texts[at]["temperature"] or 0.0)
    places = {at: place for place, at in enumerate(order)}
    known = [(copy["text"], copy["start"], copy["end"]) for copy in result["longest_copies"]]
    new = [
        (at, start, end)
        for at, one in enumerate(compared, len(result["texts"]))
        for start, end in _maximal(one.lengths, 2)
    ]
    curves = sorted([*result["curves"], _curve(compared)], key=lambda curve: curve["temperature"] or 0.0)
    longest = [
        Copy(
            temperature=texts[at]["temperature"], text=places[at], start=start, end=end, length=end - start,
            quote=texts[at]["text"][start:end], training_offset=training.find(texts[at]["text"][start:end]),
        )
        for at, start, end in _longest([*known, *new], texts)
    ]  # fmt: skip
    return {**result, "curves": curves, "texts": [texts[at] for at in order], "longest_copies": longest}


def _longest(copies: Sequence[tuple[int, int, int]], texts: Sequence[Text]) -> list[tuple[int, int, int]]:
    """The MOST_LISTED longest copies, the longest first: none overlaps another, none says the same.

    Args:
        copies: text, start and end of each.
        texts: that they are in.
    """
    chosen: list[tuple[int, int, int]] = []
    quotes: set[str] = set()
    for at, start, end in sorted(copies, key=lambda copy: (copy[1] - copy[2], copy)):
        quote = texts[at]["text"][start:end]
        if quote not in quotes and not any(
            at == other and start < stop and begin < end for other, begin, stop in chosen
        ):
            chosen.append((at, start, end))
            quotes.add(quote)
            if len(chosen) == MOST_LISTED:
                break
    return chosen


def _unseen(curve: Curve, n: int) -> str | None:
    """The share of n-grams that are new, in per cent; None where the text is too short for one."""
    share = curve["rows"][n - 1]["unseen"]
    return None if share is None else f"{100 * share:.1f} %"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _joined(words: Sequence[str | None]) -> str:
    """Words as a list in a sentence."""
    return listed([word for word in words if word is not None])
