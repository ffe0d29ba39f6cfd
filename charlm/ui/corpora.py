"""The texts the tabs choose from: the catalog's, and the one a visitor brought along."""

from collections.abc import Mapping
from typing import Any

from charlm.catalog import data_dir, entries, load_corpus, recall
from charlm.config import CorpusConfig
from charlm.corpus import Corpus, corpus_from_text
from charlm.errors import CorpusError

# What BrowserState holds of a chosen text: {"key" or "sha256", "name", "config": CorpusConfig fields that were set}.
Chosen = Mapping[str, Any]


def corpus_choices(chosen: Chosen | None) -> list[tuple[str, str]]:
    """(title, value) for a picker: the catalog, and in front the visitor's own text, if there is one."""
    own = [(str(chosen.get("name", "Your text")), str(chosen["sha256"]))] if _is_own(chosen) and chosen else []
    return own + [(entry.title, entry.key) for entry in entries()]


def chosen_value(chosen: Chosen | None) -> str:
    """The picker's value for what was chosen in the Corpus tab."""
    if chosen and _is_own(chosen):
        return str(chosen["sha256"])
    known = [entry.key for entry in entries()]
    return str(chosen["key"]) if chosen and chosen.get("key") in known else known[0]


def chosen_options(chosen: Chosen | None) -> dict[str, Any]:
    """The cleaning and splitting that was set in the Corpus tab: only what differs from the defaults."""
    config = (chosen or {}).get("config") or {}
    if not isinstance(config, Mapping):
        return {}
    plain = CorpusConfig().to_dict()
    return {name: value for name, value in config.items() if name in plain and value != plain[name]}


def open_corpus(value: str, config: CorpusConfig) -> Corpus:
    """The text behind a picker's value, cleaned as `config` says.

    Raises:
        CorpusError: it is not at hand and cannot be downloaded, or a remembered text is gone.
    """
    if value in [entry.key for entry in entries()]:
        return load_corpus(value, config)
    corpus = recall(value, data_dir())
    if corpus is None:
        raise CorpusError("this text is no longer here; load it again in the Corpus tab")
    return corpus_from_text(corpus.text, corpus.name, config)


def _is_own(chosen: Chosen | None) -> bool:
    return bool(chosen and not chosen.get("key") and chosen.get("sha256"))
