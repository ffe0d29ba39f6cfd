"""Bytes to clean text: byte order marks, UTF-8, UTF-16 without a mark, else a detected code page, for the whole file or
for the lines that are not UTF-8; then the cleaning.

Binary files are refused. The common case, clean UTF-8, is one C-speed decode; only other bytes pay for detection.
"""

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from charlm.config import CorpusConfig
from charlm.data.encodings import LEAST, Guess, guesses, sample_line, second
from charlm.errors import CorpusError

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32 read"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32 read"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16 read"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16 read"),
    (codecs.BOM_UTF8, "utf-8", "byte order mark removed"),
)
MAGIC = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a zip archive, as Word and Excel files are"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"PAR1", "a Parquet file"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"\xd0\xcf\x11\xe0", "an old Office file"),
)
SHEETS = (".xlsx", ".xls", ".ods")
WEIGHTS = (
    ".pt", ".pth", ".net", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".safetensors", ".onnx", ".h5",
)  # fmt: skip
_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b")) + b"\x7f"
_NOT_CONTROL = bytes(set(range(256)) - set(_CONTROL))
_SAMPLE = 1 << 16
_DETECTED = 1 << 18
_TO_BYTES = {ord(bytes([byte]).decode("cp1252", "ignore") or chr(byte)): byte for byte in range(0x80, 0xA0)}
STRAY_NULS = 0.02  # share of the bytes, as a program that crashed leaves them, in UTF-8; UTF-16 has more, or is none
MIXED = 0.2  # share of the lines beyond ASCII that are UTF-8, from which on the others are read by themselves
MOST_DAMAGED = 0.1  # share of characters that an encoding given by the user may fail on


def decode(data: bytes, name: str, *, known: bool = True, encoding: str = "") -> tuple[str, list[str]]:
    """Text of a file's bytes.

    Args:
        data: the bytes, not compressed.
        name: the file's name, for messages.
        known: whether its suffix is one of text, so that code pages are guessed; otherwise only clean Unicode is read.
        encoding: the encoding that the user gives; empty: detected.

    Returns:
        The text, and the repairs, a short sentence each.

    Raises:
        CorpusError: the content is binary, or no encoding fits.
    """
    _refuse_known_formats(data, name)
    if encoding:
        return _as_given(data, name, codecs.lookup(encoding).name)
    for mark, codec, note in MARKS:
        if data.startswith(mark):
            text, notes = _replacing(memoryview(data)[len(mark) :], codec)
            return text, [note, *notes]
    if b"\0" in data and not (data.count(0) <= STRAY_NULS * len(data) and _is_utf8(data)):
        return _unmarked_utf16(data, name)
    if _control_share(data) > 0.02:
        raise _binary(name)
    try:
        return encoded_once(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        return _not_utf8(data, name, error, known)


def decode_head(data: bytes, most: int = 4096) -> str:
    """How a file begins, as far as its content can be told from that."""
    head = data[:most]
    codec = next((codec for mark, codec, _ in MARKS if head.startswith(mark)), "utf-8")
    return head.decode(codec, "replace")


def encoded_once(text: str) -> tuple[str, list[str]]:
    """A text without an encoding too many: UTF-8 that was read as a Western page and saved as UTF-8, `ZoÃ«` for `Zoë`.

    Such a text is UTF-8 again in that page, from beginning to end, which no other is.
    """
    if text.isascii() or not any(sign in text for sign in ("Ã", "Â", "â", "Å", "Ä", "Ð", "Ñ")):
        return text, []
    try:  # what cp1252 leaves open is read as the control character of that number
        once = text.translate(_TO_BYTES).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text, []
    return once, [
        f"UTF-8 that had been read as cp1252 and saved as UTF-8 undone: {sample_line(text)} is {sample_line(once)}"
    ]


def _as_given(data: bytes, name: str, codec: str) -> tuple[str, list[str]]:
    """The text in the encoding that the user gave, without a byte order mark."""
    text, notes = _replacing(data, codec)
    if text.count("\ufffd") > MOST_DAMAGED * len(text):
        raise CorpusError(f"{name} is not in the encoding {codec}: {notes[0]}; give another one, or none")
    return text.removeprefix("\ufeff"), notes


def _refuse_known_formats(data: bytes, name: str) -> None:
    if name.lower().endswith(WEIGHTS):
        raise CorpusError(f"{name} is a file of weights, not a text; use the text that the model was trained on")
    as_what = ".csv" if name.lower().endswith(SHEETS) else ".txt"
    for magic, what in MAGIC:
        if data.startswith(magic):
            raise CorpusError(f"{name} is {what}, not plain text; save its text as {as_what} and use that")
    if data[257:262] == b"ustar":
        raise CorpusError(f"{name} is a tar archive, not plain text; unpack it and use its folder")


def _binary(name: str) -> CorpusError:
    return CorpusError(f"{name} is a binary file, not text; save its text as .txt (UTF-8) and use that")


def _control_share(data: bytes) -> float:
    """Share of control bytes in the start, middle and end; text has next to none."""
    middle = len(data) // 2
    sample = data[:_SAMPLE] + data[middle : middle + _SAMPLE] + data[-_SAMPLE:]
    return len(sample.translate(None, _NOT_CONTROL)) / max(1, len(sample))


def _replacing(data: bytes | memoryview, codec: str) -> tuple[str, list[str]]:
    """The text; invalid bytes become U+FFFD, and a note counts them."""
    try:
        return str(data, codec), []
    except UnicodeDecodeError:
        text = str(data, codec, "replace")
    damaged = text.count("\ufffd") - _count_intended(data, codec)
    kind = codec.upper().removesuffix("-LE").removesuffix("-BE")
    return text, [f"{damaged:,} invalid {kind} sequences replaced by \ufffd"]


def _count_intended(data: bytes | memoryview, codec: str) -> int:
    """The replacement characters that are in the file itself."""
    if codec == "utf-8":  # its bytes are part of no other character, so that a second text is not needed
        return sum(1 for _ in re.finditer(b"\xef\xbf\xbd", data))
    return str(data, codec, "ignore").count("\ufffd")


def _unmarked_utf16(data: bytes, name: str) -> tuple[str, list[str]]:
    """UTF-16 without a mark: the high bytes of real text take few values, in one of the two places."""
    sample = data[: _SAMPLE * 2]
    codec = "utf-16-le" if len(set(sample[1::2])) < len(set(sample[0::2])) else "utf-16-be"
    shown = sample.decode(codec, "replace").rstrip("\ufffd")
    ordinary = sum(char.isprintable() or char in "\t\n\v\f\r\u2028\u2029\ufeff\u3000\xa0" for char in shown)
    blanks = sum(char in " \n\u3000\u3001\u3002\uff0c" for char in shown)
    if len(data) % 2 or not shown or ordinary < 0.98 * len(shown) or (blanks == 0 and len(shown) > 100):
        raise _binary(name)
    text, notes = _replacing(data, codec)
    return text, ["UTF-16 read", *notes]


def _not_utf8(data: bytes, name: str, error: UnicodeDecodeError, known: bool) -> tuple[str, list[str]]:
    if not known:
        raise CorpusError(
            f"{name} is of an unknown kind and is not clean UTF-8 text; "
            "use .txt, .md, .csv, .tsv, .json or .jsonl (also .gz, .bz2 and .xz), or name its encoding"
        )
    start = max(0, data.rfind(b"\n", 0, error.start) + 1, error.start - _SAMPLE)
    sample = data[start : start + _DETECTED]
    cut_short = error.reason == "unexpected end of data" and error.end == len(data)
    if cut_short or _mostly_utf8(sample):
        return _replacing(data, "utf-8")
    if _is_mixed(data):
        return _line_by_line(data)
    found = guesses(sample)
    text, notes = _guessed(data, sample, found)
    if found[0].weight < LEAST or len(re.findall("[\x80-\x9f\ufffd]", text[:_DETECTED])) > 0.02 * len(text[:_DETECTED]):
        raise CorpusError(
            f"{name} is in an encoding that could not be recognised; name it (encoding), or save the file as UTF-8"
        )
    return text, notes


def _mostly_utf8(sample: bytes) -> bool:
    """Whether UTF-8 sequences outnumber the damage; other encodings hardly ever form any."""
    text = sample.decode("utf-8", "replace")
    return len(re.findall("[^\x00-\x7f\ufffd]", text)) > 4 * text.count("\ufffd") and not _is_mixed(sample)


def _guessed(data: bytes, sample: bytes, found: list[Guess]) -> tuple[str, list[str]]:
    """The text in the most likely code page, and what else it could be."""
    text, notes = _replacing(data, found[0].codec)
    shown, other = sample_line(text), second(found)
    notes = [f"read as {found[0].codec}" + (f", for example {shown}" if shown else ""), *notes]
    if other is not None:
        shown = sample_line(sample.decode(other.codec, "replace"))
        notes.append(f"{other.codec} is nearly as likely: {shown}; the option encoding chooses")
    return text, notes


def _is_mixed(data: bytes) -> bool:
    """Whether some lines are UTF-8 and others, whole, are not: of other pages hardly a line looks like UTF-8."""
    good = bad = seen = 0
    for line in _byte_lines(data):
        seen += len(line)
        if seen > _DETECTED * 8:
            break
        if not line.isascii():
            good, bad = (good + 1, bad) if _is_utf8(line) else (good, bad + _has_no_utf8(line))
    return bad > 0 and good > 0 and good >= MIXED * (good + bad)


def _byte_lines(data: bytes) -> Iterator[bytes]:
    start = 0
    while (end := data.find(b"\n", start) + 1) > 0:
        yield data[start:end]
        start = end
    if start < len(data):
        yield data[start:]


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _has_no_utf8(line: bytes) -> bool:
    """Whether a line that is not UTF-8 is not a damaged one either."""
    text = line.decode("utf-8", "replace")
    return 2 * len(re.findall("[^\x00-\x7f\ufffd]", text)) <= text.count("\ufffd")


def _line_by_line(data: bytes) -> tuple[str, list[str]]:
    """The lines that are UTF-8 as such, the others in the page that is most likely for all of them."""
    others, size = [], 0
    for line in _byte_lines(data):
        if size < _DETECTED and not line.isascii() and not _is_utf8(line) and _has_no_utf8(line):
            others.append(line)
            size += len(line)
    found = guesses(b"\n".join(others))
    codec, shown = found[0].codec, sample_line(b"".join(others[:1]).decode(found[0].codec, "replace"))
    pieces: list[str] = []
    waiting: list[str] = []
    foreign = damaged = total = 0
    for line in _byte_lines(data):
        total += 1
        try:
            waiting.append(line.decode())
        except UnicodeDecodeError:
            is_foreign = _has_no_utf8(line)
            foreign, damaged = foreign + is_foreign, damaged + (not is_foreign)
            waiting.append(line.decode(codec if is_foreign else "utf-8", "replace"))
        if len(waiting) > _SMALL_BLOCK:
            pieces.append("".join(waiting))
            waiting.clear()
    notes = [f"{foreign:,} of {total:,} lines are not UTF-8 and were read as {codec}, for example {shown}"]
    if (other := second(found)) is not None:
        shown = sample_line(b"".join(others[:1]).decode(other.codec, "replace"))
        notes.append(f"for these {other.codec} is nearly as likely: {shown}")
    if damaged:
        notes.append(f"{damaged:,} lines of damaged UTF-8, with \ufffd in place of the damage")
    return "".join(pieces) + "".join(waiting), notes


_BLOCK = 1 << 20  # characters that are changed at a time where more would take much memory
_SMALL_BLOCK = 1 << 16  # characters of rows that wait to be joined: there may be as many of them


class _Line:
    """A pattern at the beginning of a line; many times faster than `^`, which is tried at every character."""

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self._first, self._later = re.compile(pattern, flags), re.compile(f"\n(?:{pattern})", flags)

    def search(self, text: str, start: int = 0) -> re.Match[str] | None:
        """The first match from `start` on; it may begin with the line end before it."""
        return (None if start else self._first.match(text)) or self._later.search(text, max(0, start - 1))


# The present marker ("THIS" in older files) may wrap over lines; files of the 1990s only have the small print's end.
_STARTS = (
    _Line(r"\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG [^*]{0,300}\*\*\*[^\n\r]*"),
    _Line(r"\*END\*? ?THE SMALL PRINT![^\n\r]*"),
)
_END_MARK = r"\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG"
_END = _Line(rf"{_END_MARK}|End of (?:the |this )?Project Gutenberg", re.IGNORECASE)
_ONLY_END = _Line(_END_MARK)
# Possessive: a line matches whole or not at all, or a long one would be tried at each of its characters.
_CREDITS = re.compile(r"\s*(?:Produced by|E-text prepared by)(?:[^\r\n]++\r?+\n?+){1,8}(?=\s*\n)")


def clean(text: str, config: CorpusConfig) -> tuple[str, list[str]]:
    """The text cleaned in a fixed order: Gutenberg's frame, NUL, line endings, NFC, case.

    Returns:
        The text, and what was changed, a short sentence each.
    """
    notes: list[str] = []
    if config.strip_gutenberg:
        text = _strip_gutenberg(text, notes)
    if "\0" in text:
        notes.append(f"{text.count(chr(0)):,} NUL characters removed")
        text = text.replace("\0", "")
    if config.drop_newlines:
        text, ends = _without_line_ends(text)
        notes += [f"{ends:,} line endings removed"] if ends else []
    elif config.lf and "\r" in text:
        notes.append(f"{text.count(chr(13)):,} line endings converted to LF")
        text = to_lf(text)
    if config.nfc and (changed := by_lines(text, partial(unicodedata.normalize, "NFC"))) != text:
        notes.append(f"converted to Unicode NFC, {len(text) - len(changed):,} characters fewer")
        text = changed
    if config.lowercase:
        text = by_lines(text, str.lower)
        notes.append("converted to lower case")
    return text, notes


def join_rows(rows: Iterable[str], config: CorpusConfig) -> tuple[list[str], list[str]]:
    """The rows of a table, read one by one, as the pieces of one text; all other cleaning is done to the whole.

    Line endings are removed inside each row, before rows are joined, and nothing is put in their place: that is how
    the Grimm notebook gets its 508,476 characters ("stood a tree\\nwhich" becomes "stood a treewhich"). The
    separator between rows stays, also when it is a blank line.

    Returns:
        The pieces, and what was changed, a short sentence each.
    """
    separator = "\x1e" if config.items == "record" else " " if config.separator == "space" else "\n\n"
    pieces: list[str] = []
    waiting: list[str] = []
    ends = size = 0
    for row in rows:
        if config.drop_newlines:
            row, dropped = _without_line_ends(row.replace("\0", ""))
            ends += dropped
        waiting.append(row)
        size += len(row) + 1
        if size > _SMALL_BLOCK:
            pieces += [separator.join(waiting), separator]
            waiting, size = [], 0
    pieces = [*pieces, separator.join(waiting)] if waiting else pieces[:-1]
    return pieces, [f"{ends:,} line endings removed"] if ends else []


def to_lf(text: str) -> str:
    """CRLF, CRCRLF (CRLF that was converted twice) and lone CR as LF."""
    return text.replace("\r\r\n", "\n").replace("\r\n", "\n").replace("\r", "\n")


def join_surrogates(text: str) -> str:
    """Surrogate pairs as the characters they stand for, lone surrogates as U+FFFD, so that the text fits UTF-8."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def by_lines(text: str, change: Callable[[str], str], block: int = _BLOCK) -> str:
    """`change` applied to pieces of at least `block` characters that end with a line.

    No NFC form and no lower case depends on what is beyond a line ending, so that the result is the same; applied to
    the whole text, these take 12 bytes a character and more.

    Args:
        text: any text.
        change: the function to apply.
        block: characters, at least, of a piece.
    """
    return change(text) if text.isascii() else "".join(map(change, _pieces(text, block)))


def _pieces(text: str, block: int) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start + block - 1) + 1 or len(text)
        yield text[start:end]
        start = end


def _without_line_ends(text: str) -> tuple[str, int]:
    """A text without its line endings, and how many there were."""
    ends = text.count("\n") + text.count("\r") - text.count("\r\n")
    return text.replace("\n", "").replace("\r", ""), ends


def _strip_gutenberg(text: str, notes: list[str]) -> str:
    """The text between the markers; of several books in one file, each."""
    if "*" not in text or ("Project Gutenberg" not in text and "PROJECT GUTENBERG" not in text):
        return text  # every marker has an asterisk, and one letter is found fastest
    books = [book for frame in _frames(text) if (book := _book(text, *frame))]
    if not books:
        return text
    notes.append("Project Gutenberg header and footer removed")
    return books[0] if len(books) == 1 else "\n".join(books)


def _frames(text: str) -> list[tuple[int, int]]:
    """Start and end of each book; a file may have lost its header or its footer."""
    for start in _STARTS:
        if frames := list(_framed(text, start)):
            return frames
    end = _ONLY_END.search(text)
    return [(0, end.start())] if end else []


def _framed(text: str, start: _Line) -> Iterator[tuple[int, int]]:
    position = 0
    while position < len(text) and (opened := start.search(text, position)):
        closed = _END.search(text, opened.end())
        position = closed.start() if closed else len(text)
        yield opened.end(), position


def _book(text: str, start: int, end: int) -> str:
    """The text of a frame, without credits and white space around it, and with one line ending; may be empty."""
    if credits := _CREDITS.match(text, start, end):
        start = credits.end()
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    if start == end or text.startswith("\n", end):
        return text[start : end + (start < end)]  # one copy of what may be the whole text, not two
    return text[start:end] + "\n"
