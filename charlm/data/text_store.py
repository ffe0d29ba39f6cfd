"""The texts that runs were trained on, stored in the data folder under their SHA-256."""

import contextlib
import hashlib
import json
import re
from pathlib import Path
from typing import Any

from filelock import FileLock

from charlm.config import CorpusConfig
from charlm.data.catalog import ENTRIES, folder_or_default, is_at_hand, is_kept, load_corpus
from charlm.data.corpus import Corpus, utf8_blocks
from charlm.errors import CorpusError
from charlm.files import is_count, known_fields, leftovers, one_line, read, write_atomically

ABOUT = ("name", "about", "key", "repairs", "characters", "held_out")  # the fields of the .json beside a text
MOST_ABOUT = 1 << 20  # bytes of it


def remember(corpus: Corpus, data_dir: Path | None = None) -> None:
    """Store a text that a run is trained on, once, as `texts/<sha256>.txt` and a .json that describes it.

    Raises:
        CorpusError: the folder cannot be written.
    """
    folder = folder_or_default(data_dir) / "texts"
    about = {name: getattr(corpus, name) for name in ("name", "about", "key", "repairs", "held_out")}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{_checked(corpus.sha256)}.txt"
        description = json.dumps({**about, "characters": len(corpus.text)}, indent=1).encode()
        with FileLock(folder.with_name("texts.lock")):  # so that `sweep_texts` sees that a text is being written
            if not is_kept(path, corpus.sha256):
                write_atomically(path, utf8_blocks(corpus.text))
            write_atomically(path.with_suffix(".json"), description)
    except OSError as error:
        raise CorpusError(
            f"the text cannot be kept in {folder}: {error.strerror or error}; "
            "make room there, or let CHARLM_DATA name another folder"
        ) from error


def sweep_texts(data_dir: Path | None = None) -> None:
    """Remove temporary files of killed processes, unless a text is being written at this moment."""
    folder = folder_or_default(data_dir) / "texts"
    with contextlib.suppress(OSError):  # Timeout is one
        if leftovers(folder):
            with FileLock(folder.with_name("texts.lock")).acquire(blocking=False):
                for leftover in leftovers(folder):
                    leftover.unlink(missing_ok=True)


def forget(sha256: str, data_dir: Path | None = None) -> None:
    """Remove the text stored under this fingerprint, which no run is to need any longer.

    Raises:
        CorpusError: it cannot be removed, or that is no fingerprint.
    """
    folder = folder_or_default(data_dir) / "texts"
    path = folder / f"{_checked(sha256)}.txt"
    try:
        for file in (path, path.with_suffix(".json")):
            file.unlink(missing_ok=True)
    except OSError as error:
        raise CorpusError(f"the text in {folder} cannot be removed: {error.strerror or error}") from error


def is_changed(sha256: str, data_dir: Path | None = None) -> bool:
    """Whether the text stored under this fingerprint has another content now."""
    path = folder_or_default(data_dir) / "texts" / f"{sha256}.txt"
    return _is_fingerprint(sha256) and path.is_file() and not is_kept(path, sha256)


def recall(sha256: str, data_dir: Path | None = None) -> Corpus | None:
    """The corpus with this fingerprint, from the store or the catalog; None if it is not on this machine."""
    if not _is_fingerprint(sha256):
        return None
    path = folder_or_default(data_dir) / "texts" / f"{sha256}.txt"
    if (stored := _stored(path, sha256)) is not None:
        return stored
    for entry in ENTRIES:
        if sha256 == (entry.text_sha256 or entry.sha256) and is_at_hand(entry.key, data_dir):
            return load_corpus(entry.key, CorpusConfig(), data_dir)
    return None


def _is_fingerprint(sha256: str) -> bool:
    return isinstance(sha256, str) and re.fullmatch("[0-9a-f]{64}", sha256) is not None


def _checked(sha256: str) -> str:
    """`sha256` if it is one: only a fingerprint may become a file name."""
    if not _is_fingerprint(sha256):
        raise CorpusError(f"{sha256[:80]!r} is not the SHA-256 of a text")
    return sha256


def _stored(path: Path, sha256: str) -> Corpus | None:
    """A stored text; None if it is missing, damaged or not UTF-8, however it got there."""
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
    """The sizes of a validation and a test part, if a text of so many characters can have them."""
    if isinstance(value, list) and len(value) == 2 and all(map(is_count, value)) and sum(value) <= characters:
        return value[0], value[1]
    return None
