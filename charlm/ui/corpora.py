"""The texts the tabs choose from: the catalog's, and the one a visitor brought along."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from charlm.catalog import data_dir, entries, load_corpus, recall
from charlm.config import TOKEN_SETTINGS, CorpusConfig, ModelConfig
from charlm.corpus import Corpus
from charlm.errors import CorpusError
from charlm.ui.uploads import open_upload

# What BrowserState holds of a chosen text: {"key": of the catalog or "", "source": key of an upload or "", "sha256" of
# the cleaned text, "name", "config": CorpusConfig fields, "tokens": ModelConfig fields that say what a token is, "own":
# [{"value", "name"}] of the visitor's latest uploads}.
Chosen = Mapping[str, Any]


def corpus_choices(chosen: Chosen | None) -> list[tuple[str, str]]:
    """(title, value) for a picker: the visitor's own texts, newest first, then the catalog."""
    return own_texts(chosen) + [(entry.title, entry.key) for entry in entries()]


def own_texts(chosen: Chosen | None) -> list[tuple[str, str]]:
    """(name, value) of the texts that the visitor brought along."""
    kept = (chosen or {}).get("own")
    listed = [one for one in kept if isinstance(one, Mapping)] if isinstance(kept, list) else []
    own = {str(one["value"]): str(one.get("name", "Your text")) for one in listed if one.get("value")}
    if chosen and _is_own(chosen):
        own.setdefault(chosen_value(chosen), str(chosen.get("name", "Your text")))
    return [(name, value) for value, name in own.items()]


def chosen_value(chosen: Chosen | None) -> str:
    """The picker's value for what was chosen in the Corpus tab."""
    if chosen and _is_own(chosen):
        return str(chosen.get("source") or chosen["sha256"])
    known = [entry.key for entry in entries()]
    return str(chosen["key"]) if chosen and chosen.get("key") in known else known[0]


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
        return load_corpus(value, replace(config, column=""))  # a column belongs to an upload
    if (upload := open_upload(value, data_dir())) is not None:
        return upload.read(config)
    if (corpus := recall(value, data_dir())) is not None:
        return corpus
    raise CorpusError("this text is no longer here; load it again in the Corpus tab")


def _is_own(chosen: Chosen | None) -> bool:
    return bool(chosen and not chosen.get("key") and (chosen.get("source") or chosen.get("sha256")))
