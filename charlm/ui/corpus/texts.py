"""Texts that can be chosen: what was uploaded or pasted, and the catalog."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from charlm.config import TOKEN_SETTINGS, CorpusConfig, ModelConfig
from charlm.data.catalog import data_dir, entries, is_at_hand, load_corpus
from charlm.data.corpus import Corpus
from charlm.data.own_texts import KeptText, Upload, is_there, open_upload
from charlm.data.records import TEXT_COLUMNS
from charlm.data.text_store import recall
from charlm.errors import CorpusError
from charlm.ui.formatting import day, size

TRIED_COLUMNS = 12


def usual_column(columns: list[str]) -> str:
    """The column that is read when none is named; "" if none has a usual name, or several lists have one that does."""
    lowered = {column.strip().casefold(): column for column in reversed(columns)}
    if not any(name in lowered for name in TEXT_COLUMNS):
        deeper = {name: column for name, column in lowered.items() if name.rpartition(".")[2] in TEXT_COLUMNS}
        is_one = len({name.rpartition(".")[0] for name in deeper}) == 1
        lowered = {name.rpartition(".")[2]: column for name, column in deeper.items()} if is_one else {}
    return next((lowered[name] for name in TEXT_COLUMNS if name in lowered), "")


def wordiest_column(upload: Upload, config: CorpusConfig) -> str:
    """The column with the most text, for a table in which no column has a usual name.

    Raises:
        CorpusError: no column has a text that can be trained on.
    """
    sizes: dict[str, int] = {}
    problem = CorpusError(f"{upload.name} has no column with text in it")
    for column in upload.columns()[:TRIED_COLUMNS]:
        try:
            sizes[column] = len(upload.read(replace(config, column=column)).text)
        except CorpusError as error:
            problem = error
    if not sizes:
        raise problem
    return max(sizes, key=lambda column: sizes[column])


# What BrowserState holds of a chosen text: {"key": of the catalog or "", "source": key of an upload or "", "sha256" of
# the cleaned text, "name", "config": CorpusConfig fields, "tokens": ModelConfig fields that say what a token is, "own":
# [{"value", "name"}] of the visitor's latest uploads, "handed_over": how often a text was, see times_handed_over}.
Chosen = Mapping[str, Any]


def corpus_choices(chosen: Chosen | None, kept: Sequence[KeptText] = ()) -> list[tuple[str, str]]:
    """(title, value) for a picker: own texts, newest first, then the catalog.

    Args:
        chosen: what the browser remembers.
        kept: the user's texts.
    """
    return own_choices(chosen, kept) + [(entry.title, entry.key) for entry in entries()]


def picker_choices(chosen: Chosen | None, kept: Sequence[KeptText] = ()) -> list[tuple[str, str]]:
    """The same; what would have to be downloaded says how much that is."""
    missing = {entry.key: f" · {size(entry.size)} to download" for entry in entries() if not is_at_hand(entry.key)}
    return [(f"{title}{missing.get(value, '')}", value) for title, value in corpus_choices(chosen, kept)]


def own_choices(chosen: Chosen | None, kept: Sequence[KeptText] = ()) -> list[tuple[str, str]]:
    """(`tale.txt · 1.8 kB · yesterday`, value) of the texts that the user uploaded or pasted."""
    own = {one.key: f"{one.name} · {size(one.size)} · {day(one.added)}" for one in kept if not one.damaged}
    for value, name in remembered(chosen).items():
        own.setdefault(value, name)
    if chosen and _is_own(chosen):
        own.setdefault(chosen_value(chosen), str(chosen.get("name", "Your text")))
    return [(name, value) for value, name in own.items()]


def remembered(chosen: Chosen | None) -> dict[str, str]:
    """Names of the latest uploads that the browser remembers and that are still kept, by their keys."""
    own = (chosen or {}).get("own")
    listed = [one for one in own if isinstance(one, Mapping)] if isinstance(own, list) else []
    names = {str(one.get("value")): str(one.get("name", "Your text")) for one in listed}
    return {value: name for value, name in names.items() if is_there(value, data_dir())}


def as_own(names: Mapping[str, str]) -> list[dict[str, str]]:
    """Names of uploads by their keys, as the browser remembers them."""
    return [{"value": value, "name": name} for value, name in names.items()]


def without(chosen: Chosen | None, key: str) -> dict[str, Any]:
    """What the browser is to remember once a text was deleted: none is chosen if it was this one."""
    left = dict(chosen or {})
    if chosen and _is_own(chosen) and chosen_value(chosen) == key:
        left |= {"key": "", "source": "", "sha256": "", "name": ""}
    return {**left, "own": as_own({value: name for value, name in remembered(chosen).items() if value != key})}


def chosen_value(chosen: Chosen | None) -> str:
    """The picker's value for what was chosen in the Corpus tab."""
    if chosen and _is_own(chosen):
        return str(chosen.get("source") or chosen["sha256"])
    known = [entry.key for entry in entries()]
    return str(chosen["key"]) if chosen and chosen.get("key") in known else known[0]


def times_handed_over(chosen: Chosen | None) -> int:
    """How often `Train on this text` was pressed: by it Train knows that a text was meant once more."""
    times = (chosen or {}).get("handed_over")
    return times if isinstance(times, int) else 0


def choice_of_run(run: Any, chosen: Chosen | None) -> dict[str, Any] | None:
    """What the browser is to remember so that the text of a run is chosen, read and cut as it was there.

    Args:
        run: has been trained.
        chosen: what the browser remembers now.

    Returns:
        None if the text is not at hand any more, or was never here, as of an imported run.
    """
    key, sha256, name = (str(run.corpus.get(fact, "")) for fact in ("key", "sha256", "name"))
    is_listed = key in [entry.key for entry in entries()]
    if not (is_at_hand(key) if is_listed else recall(sha256, data_dir())):
        return None
    same = chosen is not None and chosen.get("sha256") == sha256  # maybe still as it was uploaded
    text = dict(chosen or {}) if same else {"key": key, "source": "", "sha256": sha256, "name": name}
    return {
        **text,
        "config": run.corpus_config.to_dict(),
        "tokens": {name: getattr(run.model_config, name) for name in TOKEN_SETTINGS},
        "own": as_own(remembered(chosen)),
        "handed_over": times_handed_over(chosen) + 1,
    }


def chosen_options(chosen: Chosen | None) -> dict[str, Any]:
    """The cleaning and splitting that was set in the Corpus tab: only what differs from the defaults."""
    return _unusual(chosen, "config", CorpusConfig().to_dict())


def chosen_tokens(chosen: Chosen | None) -> dict[str, Any]:
    """What the Corpus tab set a token to be: only what differs from the defaults."""
    usual = ModelConfig().to_dict()
    return _unusual(chosen, "tokens", {name: usual[name] for name in TOKEN_SETTINGS})


def _unusual(chosen: Chosen | None, part: str, usual: Mapping[str, Any]) -> dict[str, Any]:
    given = (chosen or {}).get(part) or {}
    if not isinstance(given, Mapping):
        return {}
    return {name: value for name, value in given.items() if name in usual and value != usual[name]}


def open_corpus(value: str, config: CorpusConfig) -> Corpus:
    """The text behind a picker's value.

    Args:
        value: a catalog key, the key of an upload, or the fingerprint of a text that a run used.
        config: how it is cleaned, always from the raw text; a fingerprint's text is clean already and stays as it is.

    Raises:
        CorpusError: it is not at hand and cannot be downloaded, or an upload is gone.
    """
    if value in [entry.key for entry in entries()]:
        return load_corpus(value, replace(config, column="", condition="", encoding=""))  # these belong to an upload
    if (upload := open_upload(value, data_dir())) is not None:
        return upload.read(config)
    if (corpus := recall(value, data_dir())) is not None:
        return corpus
    if is_there(value, data_dir()):
        raise CorpusError(
            "this text was changed or damaged in the data folder; delete it under Your texts in the Corpus tab, and "
            "load it again"
        )
    raise CorpusError("this text is no longer here; load it again in the Corpus tab")


def beginning(key: str, most: int) -> str:
    """The first characters of an own text, with the usual cleaning.

    Raises:
        CorpusError: it is gone or damaged.
    """
    if not is_there(key, data_dir()):
        raise CorpusError("this text is no longer here; choose another one")
    return _beginning(key, most)


@lru_cache(8)
def _beginning(key: str, most: int) -> str:
    upload, config = open_upload(key, data_dir()), CorpusConfig()
    columns = upload.columns() if upload else []
    if upload and len(columns) > 1 and not usual_column(columns):
        config = replace(config, column=wordiest_column(upload, config))
    return open_corpus(key, config).text[:most]


def _is_own(chosen: Chosen | None) -> bool:
    return bool(chosen and not chosen.get("key") and (chosen.get("source") or chosen.get("sha256")))
