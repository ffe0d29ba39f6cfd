"""The texts that stand in Compare's columns, as a page reads them off itself; to be gone on with, or changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from charlm.bounded_json import parsed
from charlm.config import SampleConfig
from charlm.errors import ConfigError
from charlm.serving import Begun, Draft

# What of a browser's message is looked at: bytes, texts of one model, characters of one text.
MOST_MESSAGE, MOST_SAMPLES, LONGEST = 4_000_000, 8, 20_000
Present = Mapping[str, Sequence[Begun]]


def texts_in(message: Any, runs: Sequence[Any]) -> dict[str, list[Begun]]:
    """What a page says stands in the columns of these runs.

    Args:
        message: JSON text or what it says, {run id: [[prompt, text], ..]}; null in place of a text that is none.
        runs: those of other runs are passed over.
    """
    try:
        told = parsed(message or "{}", MOST_MESSAGE, 4) if isinstance(message, str | None) else message
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    present = {run.run_id: _begun(told.get(run.run_id)) for run in runs}
    return {run_id: texts for run_id, texts in present.items() if texts}


def _begun(listed: Any) -> list[Begun]:
    """The texts of one run; empty if there is none to go on with."""
    pairs = filter(_is_text, listed[:MOST_SAMPLES]) if isinstance(listed, list) else ()
    return [Begun(_clean(prompt), _clean(text), place) for place, (prompt, text) in enumerate(pairs)]


def _is_text(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)


def _clean(text: str) -> str:
    """A text as UTF-8 can hold it: half characters become question marks."""
    return text.encode("utf-8", "replace").decode()


def check_room(present: Present, config: SampleConfig) -> None:
    """Refuse to go on with texts that are as long as they may be.

    Raises:
        ConfigError: there is none, or one has grown so long that it would exceed its room.
    """
    if not present:
        raise ConfigError("there is nothing to go on with; press Generate")
    longest = max(len(one.prompt) + len(one.text) for texts in present.values() for one in texts)
    if longest + config.length > LONGEST:
        raise ConfigError(f"a text has {longest:,} characters and can have {LONGEST:,}; Generate begins a new one")


def still(present: Present) -> dict[str, Draft]:
    """Drafts of texts that nobody writes at."""
    drafts: dict[str, Draft] = {}
    for run_id, texts in present.items():
        first, *more = (Draft(one.prompt, one.text, done=True) for one in texts)
        drafts[run_id] = replace(first, more=tuple(more))
    return drafts


def gone_on(present: Present, begun: Present, drafts: Iterator[Mapping[str, Draft]]) -> Iterator[dict[str, Draft]]:
    """All that stands in the columns, while some of it is gone on with.

    Args:
        present: what stands there.
        begun: what of it is written on.
        drafts: of what is written, as it grows, by run id; the samples in the order of `begun`.
    """
    resting = still(present)
    for told in drafts:
        state = {**told, **resting}
        for run_id, texts in begun.items():
            samples = list(resting[run_id].samples)
            for one, draft in zip(texts, told[run_id].samples, strict=False):
                samples[one.sample] = replace(draft, more=())
            state[run_id] = replace(samples[0], more=tuple(samples[1:]))
        yield state
