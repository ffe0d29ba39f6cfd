"""Texts that can be chosen: what visitors uploaded or pasted, kept as it came, and the catalog."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from charlm.config import TOKEN_SETTINGS, CorpusConfig, ModelConfig
from charlm.data.catalog import data_dir, entries, is_at_hand, load_corpus
from charlm.data.corpus import MAX_BYTES, Corpus, corpus_from_text, read_corpus, table_columns
from charlm.data.tables import TEXT_COLUMNS
from charlm.data.text_store import recall
from charlm.errors import CorpusError
from charlm.files import known_fields, read, write_atomically
from charlm.ui.formatting import size

# Of all visitors together; the oldest are evicted.
MOST_FILES = 200
MOST_BYTES = 2_000_000_000
MOST_ABOUT = 1 << 16  # of the .json beside one
TRIED_COLUMNS = 12
PASTED = "Pasted text"


@dataclass(frozen=True)
class Upload:
    """A file, or a pasted text as UTF-8, before anything was done to it."""

    name: str
    data: bytes = field(repr=False)
    pasted: bool = False
    most_bytes: int = MAX_BYTES  # that it may unpack to

    @property
    def key(self) -> str:
        """Its fingerprint, name included: what the browser keeps, and the file's name here."""
        digest = hashlib.sha256(f"{self.pasted} {self.name}\n".encode("utf-8", "replace"))
        digest.update(self.data)
        return digest.hexdigest()

    def columns(self) -> list[str]:
        """The columns to choose from; none if it is not a table."""
        return [] if self.pasted else table_columns(self.data, self.name, self.most_bytes)

    def read(self, config: CorpusConfig) -> Corpus:
        """The text, cleaned as `config` says.

        Raises:
            CorpusError: see `charlm.data.corpus.read_corpus`.
        """
        if self.pasted:
            return replace(corpus_from_text(self.data.decode(), self.name, config), about="Pasted here.")
        return replace(read_corpus(self.data, self.name, config, self.most_bytes), about="Your own file.")


def pasted_text(text: str) -> Upload:
    """A pasted text as an upload."""
    return Upload(PASTED, text.encode("utf-8", "replace"), pasted=True)


def usual_column(columns: list[str]) -> str:
    """The column that is read when none is named; "" if none has a usual name."""
    lowered = {column.strip().casefold(): column for column in reversed(columns)}
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


def keep_upload(upload: Upload, data_dir: Path) -> str:
    """Keep it as `uploads/<key>.bin` and a .json with its name; its key.

    Raises:
        CorpusError: the folder cannot be written.
    """
    folder, key = data_dir / "uploads", upload.key
    about = json.dumps({"name": upload.name, "pasted": upload.pasted})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / f"{key}.bin").is_file():
            write_atomically(folder / f"{key}.bin", upload.data)
        write_atomically(folder / f"{key}.json", about.encode())
        _evict(folder)
    except OSError as error:
        raise CorpusError(f"the text cannot be kept in {folder}: {error.strerror or error}") from error
    return key


def open_upload(key: str, data_dir: Path) -> Upload | None:
    """What was kept under `key`; None if nothing was, or no longer."""
    if not isinstance(key, str) or not re.fullmatch("[0-9a-f]{64}", key):
        return None
    path = data_dir / "uploads" / f"{key}.bin"
    try:
        about = known_fields(read(path.with_suffix(".json"), MOST_ABOUT), ("name", "pasted"))
        path.with_suffix(".json").touch()
        upload = Upload(str(about["name"]), path.read_bytes(), about["pasted"] is True)
    except (OSError, ValueError, KeyError):
        return None
    return upload if upload.key == key else None


def _evict(folder: Path) -> None:
    """Delete the least recently opened ones."""
    kept = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    total = 0
    for place, about in enumerate(kept):
        data = about.with_suffix(".bin")
        total += data.stat().st_size if data.is_file() else 0
        if place >= MOST_FILES or total > MOST_BYTES:
            about.unlink(missing_ok=True)
            data.unlink(missing_ok=True)


# What BrowserState holds of a chosen text: {"key": of the catalog or "", "source": key of an upload or "", "sha256" of
# the cleaned text, "name", "config": CorpusConfig fields, "tokens": ModelConfig fields that say what a token is, "own":
# [{"value", "name"}] of the visitor's latest uploads}.
Chosen = Mapping[str, Any]


def corpus_choices(chosen: Chosen | None) -> list[tuple[str, str]]:
    """(title, value) for a picker: the visitor's own texts, newest first, then the catalog."""
    return own_texts(chosen) + [(entry.title, entry.key) for entry in entries()]


def picker_choices(chosen: Chosen | None) -> list[tuple[str, str]]:
    """The same; what would have to be downloaded says how much that is."""
    missing = {entry.key: f" · {size(entry.size)} to download" for entry in entries() if not is_at_hand(entry.key)}
    return [(f"{title}{missing.get(value, '')}", value) for title, value in corpus_choices(chosen)]


def own_texts(chosen: Chosen | None) -> list[tuple[str, str]]:
    """(name, value) of the texts that the visitor uploaded or pasted."""
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
