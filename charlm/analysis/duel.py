"""A duel: several models write with the same random numbers, and it is looked up where their texts part.

Every text of one seed is written with the same numbers, one uniform u in [0, 1) a token whatever the settings: the
token chosen is the first, in the order of ids, at which the cumulative probability exceeds u (see
`charlm.generation.sampling.sample_token`). This is inverse transform sampling with common random numbers: two models
that have read the same choose the same token, unless u falls where their distributions differ. So ids must mean the
same tokens.
"""

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import NamedTuple

from charlm.analysis.measurement import listed
from charlm.errors import ConfigError
from charlm.tokenizers import Tokenizer


class Written(NamedTuple):
    """One model's text of a duel, as far as it is written.

    Attributes:
        text: what the model wrote, without the prompt.
        done: no more will come.
        failed: there is no text to compare.
    """

    text: str
    done: bool = True
    failed: bool = False


def check_same_tokens(tokenizers: Mapping[str, Tokenizer]) -> None:
    """Refuse a duel of models whose ids do not mean the same tokens.

    Args:
        tokenizers: of each model, by what it is called.

    Raises:
        ConfigError: names those that differ from the first.
    """
    first = next(iter(tokenizers), "")
    differing = [name for name, one in tokenizers.items() if not same_tokens(tokenizers[first], one)]
    if differing:
        raise ConfigError(
            f"a duel needs models with the same tokens in the same order, and {listed(differing)} "
            f"{'differs' if len(differing) == 1 else 'differ'} from {first}; choose models that were trained on the "
            "same text with the same tokens, or switch duel off"
        )


def same_tokens(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether two tokenizers give the same text the same ids, and each id the same text."""
    return one.level == other.level and one.tokens == other.tokens and one.to_file() == other.to_file()


def parted_after(first: Written, other: Written) -> int | None:
    """How many characters two texts both begin with before they differ; None: they do not differ so far."""
    if first.failed or other.failed:
        return None
    pairs = enumerate(zip(first.text, other.text, strict=False))
    if (differs := next((place for place, (one, two) in pairs if one != two), None)) is not None:
        return differs
    short, long = sorted((first, other), key=lambda one: len(one.text))
    return len(short.text) if short.done and len(short.text) < len(long.text) else None


def partings(texts: Sequence[Written]) -> list[int | None]:
    """Where each model's text parts from the first one's, in characters; the first one's where another leaves it.

    Args:
        texts: one of each model, of the same sample.

    Returns:
        For each text, the characters before the place; None: it has not parted.
    """
    at = next((place for place, one in enumerate(texts) if not one.failed), 0)
    found = [None if place == at else parted_after(texts[at], one) for place, one in enumerate(texts)]
    known = [one for one in found if one is not None]
    return [min(known, default=None) if place == at else one for place, one in enumerate(found)]


def duel_sentence(called: Sequence[str], samples: Sequence[Sequence[Written]]) -> str:
    """Where the models part, in a sentence; empty with fewer than two texts.

    Args:
        called: the models' names.
        samples: of each sample, a text of each model.
    """
    usable = [all(not sample[at].failed for sample in samples) for at in range(len(called))]
    if sum(usable) < 2 or not samples:
        return ""
    names = list(compress(called, usable))
    rows = [list(compress(sample, usable)) for sample in samples]
    places = list(zip(*(partings(row)[1:] for row in rows), strict=True))  # of each model but the first, (samples,)
    writing = not all(one.done for row in rows for one in row)
    if len(names) == 2:
        [only] = places
        return f"{names[0]} and {names[1]} {_part(only, '', writing)}."
    said = [f"{name} {_part(where, 's', writing)}" for name, where in zip(names[1:], places, strict=True)]
    return f"Against {names[0]}: {'; '.join(said)}."


def _part(places: Sequence[int | None], ending: str, writing: bool) -> str:
    """What one model does in its samples, its verbs with this ending."""
    known = [place for place in places if place is not None]
    if not known:
        return f"agree{ending} so far" if writing else "wrote the same"
    if not any(places) and len(known) == len(places):
        return f"part{ending} at once"
    after = listed([f"{place:,}" for place in known])
    never = f", and not in {len(places) - len(known)} of {len(places)} samples" if len(known) < len(places) else ""
    return f"part{ending} after {after} {'character' if known == [1] else 'characters'}{never}"
