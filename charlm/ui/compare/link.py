"""What an address asks of Compare: models, prompt and settings by name, as the page writes them into it (address.js).

`?runs=a,b&prompt=Holmes&seed=3&temperature=0.5`. Anyone can write anything into a link, so every part is checked by
itself: what cannot be had is named in a sentence, and the rest is shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from charlm.config import SampleConfig, unescape_lines
from charlm.errors import CharLMError, ConfigError
from charlm.files import is_utf8, parsed
from charlm.ui.compare.ranking import LOOKED_AT, MOST
from charlm.ui.formatting import listed
from charlm.ui.html import TABS

LONGEST_PROMPT = 2000  # characters, as in the prompt's field
MOST_NAMED = 3  # of the runs that are missing; a link may name thousands
MOST_SHOWN = 60  # characters of a value in a sentence


@dataclass(frozen=True)
class Linked:
    """What of an address's wishes can be had.

    Attributes:
        runs: ids of runs to compare; empty: it names none that is here.
        prompt: None: it names none.
        settings: those that it names, by name.
        problems: what cannot be had, in clauses.
    """

    runs: Sequence[str] = ()
    prompt: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    problems: Sequence[str] = ()


def linked(asked: Mapping[str, str], store: Any, reach: Mapping[str, tuple[float, float, float]]) -> Linked:
    """What a page is to show at first.

    Args:
        asked: the address's parameters; those of other parts of the page, and of gradio, are passed over.
        store: of the runs.
        reach: low, high and step of the settings that have a slider, by name.
    """
    runs, problems = linked_runs(asked.get("runs", ""), store)
    problems += linked_runs(asked.get("understand", ""), store)[1]
    if asked.get("tab", TABS[0].lower()) not in map(str.lower, TABS):
        problems.append(f"there is no tab {_shown(asked['tab'])}, only {listed([tab.lower() for tab in TABS])}")
    prompt = asked.get("prompt")
    if prompt is not None and (len(prompt) > LONGEST_PROMPT or not is_utf8(prompt)):
        problems.append(f"the prompt {_shown(prompt)} is not a text of at most {LONGEST_PROMPT:,} characters")
        prompt = None
    config, named = SampleConfig(), []
    for name in SampleConfig.names():
        try:
            if name in asked:
                config = _changed(config, name, asked[name], reach)
                named.append(name)
        except ConfigError as error:
            problems.append(str(error))
    return Linked(runs, prompt, {name: getattr(config, name) for name in named}, problems)


def linked_runs(ids: str, store: Any) -> tuple[list[str], list[str]]:
    """The runs of a list in an address that can be compared, and what is to be said of the others."""
    found: list[str] = []
    missing: list[str] = []
    for run_id in list(dict.fromkeys(filter(None, ids.split(","))))[:LOOKED_AT]:
        try:
            usable = store.get(run_id).has_learned
        except CharLMError:
            usable = False
        (found if usable else missing).append(run_id)
    problems = []
    if missing:
        names = [_shown(run_id) for run_id in missing[:MOST_NAMED]] + ["several more"] * (len(missing) > MOST_NAMED)
        problems.append(f"not here, or not trained: {listed(names)}")
    if len(found) > MOST:
        problems.append(f"no more than {MOST} models can be compared")
    return found[:MOST], problems


def sentence(linked: Linked) -> str:
    """What a visitor is told of a link's problems; empty if there are none."""
    if not linked.problems:
        return ""
    said = "; ".join(linked.problems)
    return f"{said[0].upper()}{said[1:]}. The rest is as the link says."


def _changed(
    config: SampleConfig, name: str, text: str, reach: Mapping[str, tuple[float, float, float]]
) -> SampleConfig:
    """The config with a setting as the address writes it.

    Raises:
        ConfigError: it is none, or the page's slider does not reach it.
    """
    usual: Any = SampleConfig.field(name).default
    value: Any = unescape_lines(text) if isinstance(usual, tuple) else _read(text)
    changed = replace(config, **{name: value})
    low, high, _ = reach.get(name, (0, 0, 0))
    if name in reach and not low <= getattr(changed, name) <= high:
        raise ConfigError(f"{name} {getattr(changed, name):,g} is outside {low:,g} to {high:,g}, which the page offers")
    return changed


def _read(text: str) -> Any:
    """A number or a truth value; a text that is neither stays one, and the config says so."""
    try:
        return parsed(text, MOST_SHOWN)
    except ValueError:
        return text[:MOST_SHOWN]


def _shown(text: str) -> str:
    """A stranger's text in a sentence."""
    return repr(text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…")
