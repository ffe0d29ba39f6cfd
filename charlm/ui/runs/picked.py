"""What is done with several runs at once: they go to Compare, or to the trash."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from charlm.errors import CharLMError, ConfigError
from charlm.files import parsed
from charlm.public.services import RunAccess
from charlm.ui.compare.ranking import MOST, MOST_MESSAGE
from charlm.ui.formatting import count, listed
from charlm.ui.html import action
from charlm.ui.runs.listing import done_html

MOST_PICKED = 1_000
SHOWN = 3  # names in a sentence


def picked_ids(message: Any) -> list[str]:
    """The ids that a page says are selected; anything else is none."""
    try:
        ids = parsed(message, MOST_MESSAGE) if isinstance(message, str) else []
    except ValueError:
        ids = []
    given = [one for one in ids if isinstance(one, str)] if isinstance(ids, list) else []
    return list(dict.fromkeys(given))[:MOST_PICKED]


def found(store: RunAccess, ids: Sequence[str]) -> list[Any]:
    """The runs of these ids that still exist.

    Raises:
        ConfigError: none is left.
    """
    runs = []
    for run_id in ids:
        with suppress(CharLMError):  # deleted meanwhile
            runs.append(store.get(run_id))
    if not runs:
        raise ConfigError("none of the selected runs is here any longer; select others")
    return runs


def to_compare(picked: Sequence[Any], present: Sequence[str] = ()) -> list[str]:
    """What Compare is to show.

    Args:
        picked: the selected runs.
        present: ids of those that it shows and keeps.

    Raises:
        ConfigError: there would be too many, or one has no weights yet.
    """
    untrained = [run.label for run in picked if not run.has_learned]
    if untrained:
        verb = "has" if len(untrained) == 1 else "have"
        raise ConfigError(f"{names(untrained)} {verb} no weights yet; wait for a validation, or unselect")
    if len(picked) > MOST:
        raise ConfigError(f"{len(picked)} runs are selected, and Compare shows {MOST} at most; unselect some")
    ids = list(dict.fromkeys([*present, *(run.run_id for run in picked)]))
    if len(ids) > MOST:
        raise ConfigError(
            f"Compare shows {MOST} models at most: {len(present)} are chosen there, and {len(ids) - len(present)} more "
            "are selected; remove some there, or compare only these"
        )
    return ids


def delete(store: RunAccess, picked: Sequence[Any]) -> tuple[list[Any], str]:
    """Move runs to the trash, those that may be.

    Returns:
        The deleted runs; and as HTML, what was done, with a way back, and why others stay.
    """
    deleted, refusals = list[Any](), list[str]()
    for run in picked:
        try:
            store.delete(run)
            deleted.append(run)
        except CharLMError as error:
            refusals.append(str(error))
    sentences = [f"Deleted {names([run.label for run in deleted])}."] if deleted else []
    sentences += [f"{refusal}." for refusal in refusals[:SHOWN]]
    sentences += [f"{count(len(refusals) - SHOWN, 'other run')} stayed, too."] if len(refusals) > SHOWN else []
    ids = json.dumps([run.run_id for run in deleted])
    undo = action("restore", "Undo", of="the deletion", runs=ids) if deleted else ""
    return deleted, done_html(" ".join(sentences), undo)


def names(labels: Sequence[str]) -> str:
    """The labels of a few runs, else how many they are."""
    return listed(labels) if len(labels) <= SHOWN else count(len(labels), "run")
