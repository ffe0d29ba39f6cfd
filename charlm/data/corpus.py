"""A corpus: text ready for training, with its name, its fingerprint and its repairs; and its words."""

import bz2
import gzip
import hashlib
import io
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any

from charlm.config import CorpusConfig
from charlm.data import sequences, tables
from charlm.data.collection import Source, folder_sources, joined, named, order_note, remarks, zip_sources
from charlm.data.columns import text_column
from charlm.data.decoding import WEIGHTS, clean, decode, encoded_once, join_rows, join_surrogates
from charlm.data.documents import KINDS, MARKUP, TABLE, Document, kind_of, read_documents
from charlm.data.items import BORDER, FEWEST, LINE_BORDER, blocks_that_are_items, listed, looks_like_a_list
from charlm.data.markup import markup_note, markup_share
from charlm.errors import CorpusError
from charlm.files import one_line

if TYPE_CHECKING:  # numpy comes with it: the command line shows its help without
    from charlm.tokenizers import Tokenizer

# Plain text under its usual names: the page takes no others, and of others no code page is guessed.
TEXT_SUFFIXES = (
    ".txt", ".text", ".md", ".rst", ".org", ".tex", ".log", ".abc", ".pgn", ".xml", ".tmx", ".js", ".py", ".c", ".h",
    ".cpp", ".java", ".lua", ".sh", ".sql", ".po", ".yaml", ".yml",
)  # fmt: skip
SUFFIXES = (*TEXT_SUFFIXES, *tables.KINDS, *sequences.KINDS, *KINDS, ".zip")
PACKED = (".gz", ".bz2", ".xz")  # around any of these
_PACKINGS: tuple[tuple[bytes, str, Callable[[IO[bytes]], io.BufferedIOBase]], ...] = (
    (b"\x1f\x8b", "gzip", lambda file: gzip.GzipFile(fileobj=file)),
    (b"BZh", "bzip2", bz2.BZ2File),
    (b"\xfd7zXZ\x00", "xz", lzma.LZMAFile),
)
MAX_BYTES = 1 << 30  # of a file, and of what a packed one may unpack to
MOST_NAME = 100  # characters of a file's name
_BLOCK = 1 << 20
LEAST_SHARE = 0.5  # of a text that a model must know: with less, what remains is hardly a text
LIST_HINT = "this looks like a list"
_BETWEEN = {"blank": "\n\n", "record": BORDER}  # items of these kinds
NAMED = 12  # unknown characters that are named
_DATA_SCRIPT = re.compile(r"\s*window\.YTD\.[\w.]{1,80} ?= ?(?=\[)")  # the files of an archive of Twitter
_NEED = "a corpus needs at least two different characters"


@dataclass(frozen=True)
class Corpus:
    """A text to train on.

    Attributes:
        name: its title.
        text: always has at least two different characters and fits UTF-8.
        sha256: of the text as UTF-8, in hexadecimal.
        repairs: what was changed, a short sentence each.
        about: its origin, one line; may be empty.
        key: its key in the catalog; empty if it is not from there.
        held_out: characters of the validation and the test part at its end, if it came with them; None: they are
            shares of the text.
    """

    name: str
    text: str = field(repr=False)
    sha256: str
    repairs: tuple[str, ...] = ()
    about: str = ""
    key: str = ""
    held_out: tuple[int, int] | None = None


def read_corpus(
    data: bytes, name: str, config: CorpusConfig, most_bytes: int = MAX_BYTES, native: bool = True
) -> Corpus:
    """The corpus in the bytes of a file.

    Args:
        data: of a text, a table, a document (see documents.py), or a zip of such; all but the zip also gzipped. A file
            with another suffix is read if it is clean Unicode text.
        name: the file's name; its suffix says how to read it.
        config: encoding, column, separator and cleaning.
        most_bytes: limit of the file's size, and of what it may unpack to.
        native: whether parsers in C may read it (PDF, Parquet): not what strangers bring.

    Raises:
        CorpusError: nothing to train on, binary, not decodable, too large, or no such column.
    """
    name = _file_name(name)
    data, inner, notes = _unpacked(data, name, most_bytes)
    suffix = PurePosixPath(inner).suffix.lower()
    if not data:
        raise CorpusError(f"{name} is empty; {_NEED}")
    held = [data]
    del data  # lets a caller that kept no reference free it before the text is copied
    if kind := kind_of(held[0], suffix):
        document = Document(name, kind, held.pop())
        found = read_documents([document], most_bytes, native, _options(config))[0]
        text, more = _of_document(found, kind, name, config)
        del found
    elif suffix == ".zip" and held[0].startswith(b"PK"):
        text, more = _of_sources(zip_sources(held.pop(), name), name, config, (most_bytes, native))
        config = replace(config, strip_gutenberg=False)
    else:
        text, more = _of_bytes(held, suffix, name, config)
    if kind == TABLE or suffix in tables.KINDS:
        config = replace(config, drop_newlines=False, strip_gutenberg=False)
    return _stripped(name, text, config, notes + more, most_bytes)


def read_corpus_file(path: Path, config: CorpusConfig, most_bytes: int = MAX_BYTES, native: bool = True) -> Corpus:
    """The corpus in a file on disk, or in all files of a folder; see `read_corpus`.

    Args:
        path: of the file or the folder.
        config: encoding, column, separator and cleaning.
        most_bytes: limit of its size, and of what it may unpack to.
        native: whether parsers in C may read it.

    Raises:
        CorpusError: as for `read_corpus`, or the file is missing or unreadable.
    """
    if path.is_dir():
        name = _file_name(path.resolve().name)
        text, notes = _of_sources(folder_sources(path), name, config, (most_bytes, native))
        return _stripped(name, text, replace(config, strip_gutenberg=False), notes, most_bytes)
    return read_corpus(read_bytes(path, most_bytes), path.name, config, most_bytes, native)


def join_corpora(corpora: Sequence[Callable[[CorpusConfig], Corpus]], config: CorpusConfig) -> Corpus:
    """Several corpora as one, in their order; of lists one list.

    Args:
        corpora: opened one after the other, with settings.
        config: the settings.

    Raises:
        CorpusError: one cannot be read, or rows of several tables are to be items.
    """
    if len(corpora) == 1:
        return corpora[0](config)
    if config.items == "record":
        raise CorpusError("items record takes the rows of one table; join the tables, or take items line")
    found = [one(replace(config, items="none")) for one in corpora]
    notes = [(one.name, note) for one in found for note in one.repairs if not note.startswith(LIST_HINT)]
    said = [order_note([one.name for one in found], "the order given"), *remarks(notes)]
    name, text = f"{found[0].name} and {len(found) - 1:,} more", joined(one.text for one in found)
    return _finished(name, text, [], said, config)


def corpus_from_text(text: str, name: str, config: CorpusConfig) -> Corpus:
    """The corpus of a text, such as a pasted one.

    Args:
        text: not cleaned yet.
        name: its title.
        config: the cleaning.

    Raises:
        CorpusError: fewer than two distinct characters.
    """
    name = "".join(char for char in name if char.isprintable()).strip() or "text"
    return _finished(name, *clean(text.removeprefix("\ufeff"), config), [], config)


def table_columns(
    data: bytes, name: str, most_bytes: int = MAX_BYTES, encoding: str = "", native: bool = True
) -> list[str]:
    """The column names of a table.

    Args:
        data: the bytes of the file.
        name: the file's name; its suffix says how to read it.
        most_bytes: limit of its size, and of what it may unpack to.
        encoding: of the file; empty: detected.
        native: whether parsers in C may read it.

    Returns:
        The names in order; none if the file is not a readable table.
    """
    try:
        data, inner, _ = _unpacked(data, _file_name(name), most_bytes)
        if kind_of(data, "") == TABLE:
            document = Document(_file_name(name), TABLE, data)
            found = read_documents([document], most_bytes, native, {"head": True})[0]
            return [] if isinstance(found, CorpusError) else list(tables.header(found[0], "jsonl", name))
        kind = tables.KINDS.get(PurePosixPath(inner).suffix.lower())
        return list(tables.header(decode(data, name, encoding=encoding)[0], kind, name)) if kind else []
    except CorpusError:
        return []


def read_bytes(path: Path, most_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file of at most so many bytes.

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
    """A text as UTF-8, block by block, so that no second copy of it is made."""
    for start in range(0, len(text), _BLOCK):
        yield text[start : start + _BLOCK].encode()


def text_sha256(text: str) -> str:
    """The SHA-256 of a text as UTF-8, in hexadecimal."""
    digest = hashlib.sha256()
    for block in utf8_blocks(text):
        digest.update(block)
    return digest.hexdigest()


def _options(config: CorpusConfig) -> dict[str, Any]:
    return {"encoding": config.encoding, "column": config.column, "condition": config.condition}


def _of_bytes(held: list[bytes], suffix: str, name: str, config: CorpusConfig) -> tuple[list[str], list[str]]:
    """The text of a plain file or a table in pieces, not cleaned, and the repairs; the bytes are popped."""
    *text, notes = decode(held[0], name, known=suffix in SUFFIXES, encoding=config.encoding)
    held.clear()
    if suffix == ".js" and (script := _DATA_SCRIPT.match(text[0])):
        text, suffix = [text[0][script.end() :]], ".json"
    if suffix in tables.KINDS:  # no reference to a text is kept here: it is freed when it is changed
        pieces, more = _rows_joined(text, tables.KINDS[suffix], name, config)
        return pieces, [*notes, *more]
    if found := sequences.listed_sequences(text[0], suffix):
        items, said = found
        hint = [] if config.is_list or len(items) < FEWEST else [_list_hint(len(items))]
        return [_BETWEEN.get(config.items, LINE_BORDER).join(items)], [*notes, said, *hint]
    return text, notes


def _of_document(
    found: tuple[str, list[str]] | CorpusError, kind: str, name: str, config: CorpusConfig
) -> tuple[list[str], list[str]]:
    """The same of a document.

    Raises:
        CorpusError: it could not be read, or has no such column.
    """
    if isinstance(found, CorpusError):
        raise found
    text, notes = found
    if kind != TABLE:
        return [text], list(notes)
    pieces, more = _rows_joined([text], "jsonl", name, config)
    return pieces, [*notes, *more]


def _of_sources(
    sources: Sequence[Source], name: str, config: CorpusConfig, bounds: tuple[int, bool]
) -> tuple[list[str], list[str]]:
    """The texts of several files joined, each cleaned of Gutenberg's frame, and the repairs.

    Args:
        sources: in their order.
        name: of all together, for messages.
        config: as for one.
        bounds: the most bytes of all, and whether parsers in C may be used.

    Raises:
        CorpusError: none can be read, or together they are too large.
    """
    most_bytes, native = bounds
    texts: dict[str, list[str]] = {}
    notes: list[tuple[str, str]] = []
    left_out: list[tuple[str, str]] = []
    documents: list[Document] = []
    paths: list[str] = []
    total = 0
    for source in sources:
        total += source.size
        if total > most_bytes:
            raise _too_large(name, most_bytes)
        try:
            if source.path.lower().endswith(WEIGHTS):
                raise CorpusError("it is a file of weights")
            data, inner, more = _unpacked(source.read(most_bytes + 1), source.path, most_bytes)
            suffix = PurePosixPath(inner).suffix.lower()
            if kind := kind_of(data, suffix):
                documents.append(Document(source.path, kind, data))
                texts[source.path] = []
                continue
            texts[source.path], found = _of_bytes([data], suffix, source.path, config)
            notes += [(source.path, note) for note in [*more, *found]]
        except (CorpusError, OSError) as error:
            texts.pop(source.path, None)
            left_out.append((source.path, _without(str(error), source.path)))
    results = read_documents(documents, most_bytes, native, _options(config)) if documents else []
    for document, result in zip(documents, results, strict=True):
        try:
            texts[document.name], found = _of_document(result, document.kind, document.name, config)
            notes += [(document.name, note) for note in found]
        except CorpusError as error:
            del texts[document.name]
            left_out.append((document.name, _without(str(error), document.name)))
    cleaned: list[str] = []
    for path in list(texts):
        text, found = clean("".join(texts.pop(path)), CorpusConfig(lf=False, strip_gutenberg=config.strip_gutenberg))
        if text.strip():
            cleaned.append(text)
            paths.append(path)
            notes += [(path, note) for note in found]
    if not cleaned:
        why = f": {next(remarks(left_out))}" if left_out else ""
        raise CorpusError(f"{name} holds no file with text{why}")
    said = [order_note(paths, "natural order of their paths")] if len(paths) > 1 else [f"{paths[0]} read"]
    if left_out:
        said.append(f"{len(left_out):,} files left out: {named([path for path, _ in left_out])}")
    whole = BORDER.join(cleaned) if config.items == "record" else joined(cleaned)
    return [whole], [*said, *remarks([*left_out, *notes])]


def _without(said: str, path: str) -> str:
    """A refusal without the path that it begins with, which is said already."""
    return said.removeprefix(path).strip()


def _stripped(name: str, text: list[str], config: CorpusConfig, notes: list[str], most_bytes: int) -> Corpus:
    """The corpus of a text in pieces, which are popped; markup is stripped if that is wanted, else said."""
    whole = "".join(text)
    text.clear()
    if config.strip_markup and (kind := markup_share(whole)[0]):
        found = read_documents([Document(name, MARKUP, whole.encode("utf-8", "replace"))], most_bytes, True)[0]
        if isinstance(found, CorpusError):
            raise found
        whole, notes = found[0], [*notes, f"{kind} stripped, {len(whole) - len(found[0]):,} characters"]
    elif said := markup_note(whole):
        notes = [*notes, said]
    held = [whole]
    del whole
    return _finished(name, *clean(held.pop(), config), notes, config)


def _rows_joined(text: list[str], kind: str, name: str, config: CorpusConfig) -> tuple[list[str], list[str]]:
    """The text column of a table as pieces, and the repairs; the table's text is popped, so that it can be freed."""
    whole = len(text[0])
    column = text_column(tables.read_table(text.pop(), kind, name), config.column, name, config.condition)
    pieces, dropped = join_rows(column, config)
    if kind in ("json", "jsonl"):  # Facebook writes the bytes of UTF-8 as characters, each with a \\u
        once, undone = encoded_once("".join(pieces))
        pieces, dropped = [once], [*dropped, *undone]
    share = column.share_note(sum(map(len, pieces)), whole)
    return pieces, [*column.notes(), *dropped, *([share] if share else [])]


def _finished(name: str, text: str, cleaned: list[str], notes: list[str], config: CorpusConfig) -> Corpus:
    held_out = None
    if config.items == "record" and BORDER not in text:
        raise CorpusError(f"{name} is no table of several rows, which alone has records; take items line or blank")
    if config.is_list and text.strip():
        found = listed(text, config.items, config.val_fraction, config.test_fraction, name)
        text, held_out, cleaned = found.text, found.held_out, [*cleaned, *found.notes]
    elif not config.is_list and not _is_hinted(notes):
        notes = [*notes, *_hints(text)]
    try:
        digest = text_sha256(text)
    except UnicodeEncodeError:
        text = join_surrogates(text)
        digest = text_sha256(text)
        cleaned = [*cleaned, "lone surrogates (half characters) replaced"]
    _refuse_trivial(text, name)
    return Corpus(name, text, digest, tuple(notes + cleaned), held_out=held_out)


def _list_hint(lines: int) -> str:
    return f"{LIST_HINT} of {lines:,} items, one a line: take items line, which shuffles them"


def _hints(text: str) -> Iterator[str]:
    """That a text is a list, if it looks like one."""
    if text.startswith(">") and sequences.listed_sequences(text[:_BLOCK], ".fasta"):
        yield f"{LIST_HINT} of sequences in FASTA; as a file named .fasta each of them is an item, without its header"
    elif blocks := blocks_that_are_items(text):
        yield f"{LIST_HINT} of {blocks:,} tunes or games: take items blank, which shuffles them"
    elif lines := looks_like_a_list(text):
        yield _list_hint(lines)


def _is_hinted(notes: Sequence[str]) -> bool:
    return any(note.startswith(LIST_HINT) for note in notes)


def _refuse_trivial(text: str, name: str) -> None:
    if not text:
        raise CorpusError(f"{name} is empty; {_NEED}")
    if text.isspace():
        raise CorpusError(f"{name} contains only white space; {_NEED}")
    if len(text) == 1:
        raise CorpusError(f"{name} has one character, {text!r}; {_NEED}")
    if len(set(text[:4096])) == 1 and not text.strip(text[0]):
        raise CorpusError(f"{name} is {text[0]!r} {len(text):,} times; {_NEED}")


def _file_name(name: str) -> str:
    """The last part of a path of any system, printable; of a long one the beginning and the suffixes."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    shown = one_line(last, len(last)) or "text"
    ending = "".join(PurePosixPath(shown).suffixes[-2:])[-20:]
    return shown if len(shown) <= MOST_NAME else shown[: MOST_NAME - len(ending)] + ending


def _unpacked(data: bytes, name: str, most_bytes: int) -> tuple[bytes, str, list[str]]:
    """The content, the file's name without the suffix of what it was packed with, and the repairs."""
    if len(data) > most_bytes:
        raise _too_large(name, most_bytes)
    suffix = PurePosixPath(name).suffix
    inner = name.removesuffix(suffix) if suffix.lower() in PACKED else name
    packing = next((packing for packing in _PACKINGS if data.startswith(packing[0])), None)
    if packing is None:
        return data, inner, []
    _, how, unpack = packing
    try:
        with unpack(io.BytesIO(data)) as file:
            return _read_bounded(file, name, most_bytes), inner, [f"{how} unpacked"]
    except (OSError, EOFError, MemoryError, zlib.error, lzma.LZMAError) as error:
        raise CorpusError(f"{name} is a damaged {how} file ({error}); unpack it yourself and use the text") from error


def _read_bounded(file: io.BufferedIOBase, name: str, most_bytes: int) -> bytes:
    """The content of a file, read block by block and refused as soon as it exceeds `most_bytes`."""
    buffer = io.BytesIO()
    while block := file.read(_BLOCK):
        if buffer.tell() + len(block) > most_bytes:
            raise _too_large(name, most_bytes)
        buffer.write(block)
    return buffer.getvalue()


def _too_large(name: str, most_bytes: int) -> CorpusError:
    return CorpusError(f"{name} holds more than {most_bytes:,} bytes of text; use a part of it")


def drop_unknown(corpus: Corpus, tokenizer: "Tokenizer") -> Corpus:
    """The corpus without the characters that a tokenizer does not know; the repairs say which were dropped.

    From words and subwords nothing is dropped: what is not in the vocabulary is read as `<unk>`; the repairs say so.

    Raises:
        CorpusError: less than half of the text is known, or no two different characters are.
    """
    if tokenizer.level != "char":
        return _with_unknown(corpus, tokenizer)
    unknown = tokenizer.unknown(corpus.text)
    if not unknown:
        return corpus
    text = corpus.text.translate({ord(character): None for character in unknown})
    dropped = len(corpus.text) - len(text)
    named = ", ".join(map(repr, unknown[:NAMED])) + (f" and {len(unknown) - NAMED:,} more" if unknown[NAMED:] else "")
    said = f"{dropped:,} of {len(corpus.text):,} characters left out, which the model does not know: {named}"
    if len(text) < LEAST_SHARE * len(corpus.text) or len(set(text[:4096])) < 2:
        raise CorpusError(f"too little of {corpus.name} remains: {said}; choose a text in the model's own script")
    return replace(corpus, text=text, sha256=text_sha256(text), repairs=(*corpus.repairs, said), key="")


def _with_unknown(corpus: Corpus, tokenizer: "Tokenizer") -> Corpus:
    """The corpus with a repair that says how many words the model reads as `<unk>`."""
    if tokenizer.unk_id is None:
        return corpus
    ids = tokenizer.encode(corpus.text)
    unknown = int((ids == tokenizer.unk_id).sum())
    said = f"{unknown:,} of {len(ids):,} words are not in the model's vocabulary and read as <unk>"
    if unknown > LEAST_SHARE * len(ids):
        raise CorpusError(f"too little of {corpus.name} is known: {said}; choose a text more like the model's own")
    return replace(corpus, repairs=(*corpus.repairs, said)) if unknown else corpus


# A word: letters with inner apostrophes or hyphens, in any script; digits and underscores are no letters.
WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
# A sentence's first word, if it has three letters or more; quotation marks before it do not count.
BEGINNING = re.compile(r"(?:\A|[.!?…]\W{0,3}\s|\n)\W{0,3}\b([^\W\d_]{3,})(?= )")


def lexicon(text: str) -> frozenset[str]:
    """The distinct words of a text in lower case; of a hyphenated word also its parts."""
    words = {match.group().lower() for match in WORD.finditer(text)}
    return frozenset(words.union(*(word.split("-") for word in words if "-" in word)))


def usual_beginning(text: str) -> str:
    """The word that most sentences of a text begin with and a space, as a prompt that suits it; empty without any."""
    words = Counter(match.group(1) for match in BEGINNING.finditer(text))
    return f"{max(words, key=words.__getitem__)} " if words else ""


def unknown_words(text: str, known: frozenset[str], ended: bool = True) -> tuple[list[tuple[int, int]], int]:
    """The words of a generated text that never occur in the corpus: spelling is what a character model learns first.

    Args:
        text: the generated text.
        known: the lexicon of the corpus.
        ended: whether the text is complete; if not, a word at its very end is not counted yet.

    Returns:
        Spans (start, end) in characters, and the number of all words.
    """
    found = [match for match in WORD.finditer(text) if ended or match.end() < len(text)]
    spans = [match.span() for match in found if match.group().lower() not in known]
    return spans, len(found)
