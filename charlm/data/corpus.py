"""A corpus: text ready for training, with its name, its fingerprint and what was repaired on the way."""

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Protocol

from charlm.config import CorpusConfig
from charlm.data import tables
from charlm.data.decoding import clean, decode, join_rows, join_surrogates
from charlm.errors import CorpusError
from charlm.files import one_line

TEXT_SUFFIXES = (".txt", ".md")
SUFFIXES = (*TEXT_SUFFIXES, *tables.KINDS)
MAX_BYTES = 1 << 30  # of a file, and of what a .gz may unpack to
MOST_NAME = 100  # characters of a file's name
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Corpus:
    """A text to train on.

    Attributes:
        name: title for people.
        text: what is trained on; always has at least two distinct characters and fits UTF-8.
        sha256: of the text as UTF-8, in hexadecimal.
        repairs: what was changed, a short sentence each.
        about: origin, for people; may be empty.
        key: its key in the catalog, or "".
        held_out: how many characters at its end are the validation and the test part it came with; None: it came
            without, and they are shares of the text.
    """

    name: str
    text: str = field(repr=False)
    sha256: str
    repairs: tuple[str, ...] = ()
    about: str = ""
    key: str = ""
    held_out: tuple[int, int] | None = None


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def read_corpus(data: bytes, name: str, config: CorpusConfig, most_bytes: int = MAX_BYTES) -> Corpus:
    """Corpus from a file's bytes.

    Args:
        data: content of a .txt, .md, .csv, .tsv, .json or .jsonl file, each also gzipped. Any other suffix is
            taken if the content is clean Unicode text.
        name: the file's name; its suffix says how to read it.
        config: column, separator and cleaning.
        most_bytes: of the file, and of what it may unpack to.

    Raises:
        CorpusError: nothing to train on, binary, not decodable, too large, or no such column.
    """
    name = _file_name(name)
    data, inner, notes = _unpacked(data, name, most_bytes)
    suffix = PurePosixPath(inner).suffix.lower()
    _refuse_empty(data, name)
    *text, more = decode(data, name, known=suffix in SUFFIXES)
    del data  # lets a caller that kept no reference free it before the text is copied
    notes += more
    if suffix in tables.KINDS:  # no reference to a text is kept here: it is freed when it is changed
        pieces, more = _rows_joined(text, tables.KINDS[suffix], name, config)
        text = ["".join(pieces)]
        del pieces
        notes, config = notes + more, replace(config, drop_newlines=False, strip_gutenberg=False)
    return _finished(name, *clean(text.pop(), config), notes)


def read_corpus_file(path: Path, config: CorpusConfig, most_bytes: int = MAX_BYTES) -> Corpus:
    """Corpus from a file on disk; see `read_corpus`.

    Raises:
        CorpusError: also if the file is missing, a folder or unreadable.
    """
    return read_corpus(read_bytes(path, most_bytes), path.name, config, most_bytes)


def corpus_from_text(text: str, name: str, config: CorpusConfig) -> Corpus:
    """Corpus from text at hand, such as a pasted one, cleaned by `config`.

    Raises:
        CorpusError: fewer than two distinct characters.
    """
    name = "".join(char for char in name if char.isprintable()).strip() or "text"
    return _finished(name, *clean(text.removeprefix("\ufeff"), config), [])


def table_columns(data: bytes, name: str, most_bytes: int = MAX_BYTES) -> list[str]:
    """Column names of a table file, to choose the one with the text; [] if it is not a readable table."""
    try:
        data, inner, _ = _unpacked(data, _file_name(name), most_bytes)
        kind = tables.KINDS.get(PurePosixPath(inner).suffix.lower())
        return list(tables.header(decode(data, name)[0], kind, name)) if kind else []
    except CorpusError:
        return []


def read_bytes(path: Path, most_bytes: int = MAX_BYTES) -> bytes:
    """Content of a file of at most `most_bytes`.

    Raises:
        CorpusError: missing, a folder, unreadable or too large.
    """
    try:
        if path.is_dir():
            raise CorpusError(f"{path} is a folder; give a file")
        with path.open("rb") as file:
            return _read_bounded(file, path.name, most_bytes)
    except FileNotFoundError as error:
        raise CorpusError(f"there is no file {path}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{path} cannot be read: {reason}") from error


def utf8_blocks(text: str) -> Iterator[bytes]:
    """`text` as UTF-8, block by block, so that no second copy of it is made."""
    for start in range(0, len(text), _BLOCK):
        yield text[start : start + _BLOCK].encode()


def text_sha256(text: str) -> str:
    """SHA-256 of `text` as UTF-8."""
    digest = hashlib.sha256()
    for block in utf8_blocks(text):
        digest.update(block)
    return digest.hexdigest()


def _rows_joined(text: list[str], kind: str, name: str, config: CorpusConfig) -> tuple[list[str], list[str]]:
    """The text column of a table as the pieces of one text, and what was done for it; the table's text is taken out."""
    column = tables.text_column(tables.read_table(text.pop(), kind, name), config.column, name)
    pieces, dropped = join_rows(column, config)
    return pieces, [*column.notes(), *dropped]


def _finished(name: str, text: str, cleaned: list[str], notes: list[str]) -> Corpus:
    try:
        digest = text_sha256(text)
    except UnicodeEncodeError:
        text = join_surrogates(text)
        digest = text_sha256(text)
        cleaned = [*cleaned, "lone surrogates (half characters) replaced"]
    _refuse_trivial(text, name)
    return Corpus(name, text, digest, tuple(notes + cleaned))


def _refuse_empty(data: bytes, name: str) -> None:
    if not data:
        raise CorpusError(f"{name} is empty; a corpus needs at least two different characters")


def _refuse_trivial(text: str, name: str) -> None:
    need = "a corpus needs at least two different characters"
    if not text or text.isspace():
        raise CorpusError(f"{name} is empty; {need}" if not text else f"{name} holds only blanks; {need}")
    if len(text) == 1:
        raise CorpusError(f"{name} has one character, {text!r}; {need}")
    if len(set(text[:4096])) == 1 and not text.strip(text[0]):
        raise CorpusError(f"{name} is {text[0]!r} {len(text):,} times; {need}")


def _file_name(name: str) -> str:
    """The last part of a path of any system, printable; of a long one the beginning and the suffixes."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    shown = one_line(last, len(last)) or "text"
    ending = "".join(PurePosixPath(shown).suffixes[-2:])[-20:]
    return shown if len(shown) <= MOST_NAME else shown[: MOST_NAME - len(ending)] + ending


def _unpacked(data: bytes, name: str, most_bytes: int) -> tuple[bytes, str, list[str]]:
    """Content, its file's name without .gz, and what was done."""
    if len(data) > most_bytes:
        raise _too_large(name, most_bytes)
    inner = name[:-3] if name.lower().endswith(".gz") else name
    if not data.startswith(b"\x1f\x8b"):
        return data, inner, []
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            return _read_bounded(file, name, most_bytes), inner, ["gzip unpacked"]
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{name} is a damaged gzip file ({error}); unpack it yourself and take the text") from error


def _read_bounded(file: _Readable, name: str, most_bytes: int) -> bytes:
    """All of `file`, counted block by block and refused as soon as it passes `most_bytes`."""
    buffer = io.BytesIO()
    while block := file.read(_BLOCK):
        if buffer.tell() + len(block) > most_bytes:
            raise _too_large(name, most_bytes)
        buffer.write(block)
    return buffer.getvalue()


def _too_large(name: str, most_bytes: int) -> CorpusError:
    return CorpusError(f"{name} holds more than {most_bytes:,} bytes of text; take a part of it")


# A word: letters with inner apostrophes or hyphens, in any script; digits and underscores are no letters.
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


def lexicon(text: str) -> frozenset[str]:
    """The distinct words of `text`, in small letters; of a hyphenated word also its parts."""
    words = {match.group().lower() for match in WORD.finditer(text)}
    return frozenset(words.union(*(word.split("-") for word in words if "-" in word)))


def unknown_words(text: str, known: frozenset[str], ended: bool = True) -> tuple[list[tuple[int, int]], float]:
    """Where `text` has words that are not `known`, and their share of all words.

    Args:
        text: what a model wrote.
        known: the corpus' lexicon.
        ended: whether the text is complete; if not, a word that touches its end is not judged yet.

    Returns:
        Spans (start, end) in characters, and a share from 0 to 1; 0 where there is no word.
    """
    found = [match for match in WORD.finditer(text) if ended or match.end() < len(text)]
    spans = [match.span() for match in found if match.group().lower() not in known]
    return spans, len(spans) / len(found) if found else 0.0
