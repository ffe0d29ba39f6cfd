"""What is done to a text before training: line ends, Project Gutenberg's frame, Unicode form, capitals.

Every function returns the text and what it did as short sentences. Clean text passes at the speed of C
searches; copies are made only where something changes.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator

from charlm.config import CorpusConfig

# Characters that are changed at a time where more would take much memory.
_BLOCK = 1 << 20
_SMALL_BLOCK = 1 << 16  # characters of rows that wait to be joined: there may be as many of them


class _Line:
    """A pattern that begins at the beginning of a line; many times faster than `^`, which is tried at every place."""

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self._first, self._later = re.compile(pattern, flags), re.compile(f"\n(?:{pattern})", flags)

    def search(self, text: str, start: int = 0) -> re.Match[str] | None:
        """The first match from `start` on; it may begin with the line end before it."""
        return (None if start else self._first.match(text)) or self._later.search(text, max(0, start - 1))


# Today's marker ("THIS" in older files) may wrap over lines; etexts of the 1990s only have the small print's end.
_STARTS = (
    _Line(r"\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG [^*]{0,300}\*\*\*[^\n\r]*"),
    _Line(r"\*END\*? ?THE SMALL PRINT![^\n\r]*"),
)
_END_MARK = r"\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG"
_END = _Line(rf"{_END_MARK}|End of (?:the |this )?Project Gutenberg", re.IGNORECASE)
_ONLY_END = _Line(_END_MARK)
# Possessive: a line is taken whole or not at all, or a long one would be tried at each of its places.
_CREDITS = re.compile(r"\s*(?:Produced by|E-text prepared by)(?:[^\r\n]++\r?+\n?+){1,8}(?=\s*\n)")


def clean(text: str, config: CorpusConfig) -> tuple[str, list[str]]:
    """The text as `config` wants it, in one order: frame, NUL, line ends, NFC, capitals."""
    notes: list[str] = []
    if config.strip_gutenberg:
        text = _take_off_gutenberg(text, notes)
    if "\0" in text:
        notes.append(f"{text.count(chr(0)):,} NUL characters taken out")
        text = text.replace("\0", "")
    if config.drop_newlines:
        text = _drop_newlines(text, notes)
    elif config.lf and "\r" in text:
        notes.append(f"{text.count(chr(13)):,} line ends made LF")
        text = to_lf(text)
    if config.nfc and (changed := by_lines(text, _to_nfc)) != text:
        notes.append(f"made Unicode NFC, {len(text) - len(changed):,} characters fewer")
        text = changed
    if config.lowercase:
        text = by_lines(text, str.lower)
        notes.append("capitals made small")
    return text, notes


def join_rows(rows: Iterable[str], config: CorpusConfig) -> tuple[list[str], list[str]]:
    """Rows of a table, taken one by one, as the pieces of one text, and what was done; the rest is for the whole.

    Line ends are dropped inside each row, before rows are joined, and nothing is put in their place: that is how
    the Grimm notebook gets its 508,476 characters ("stood a tree\\nwhich" becomes "stood a treewhich"). The
    separator between rows stays, also when it is a blank line.
    """
    separator = " " if config.separator == "space" else "\n\n"
    pieces: list[str] = []
    waiting: list[str] = []
    ends = size = 0
    for row in rows:
        if config.drop_newlines:
            row, dropped = _without_ends(row.replace("\0", ""))
            ends += dropped
        waiting.append(row)
        size += len(row) + 1
        if size > _SMALL_BLOCK:
            pieces += [separator.join(waiting), separator]
            waiting, size = [], 0
    pieces = [*pieces, separator.join(waiting)] if waiting else pieces[:-1]
    return pieces, [f"{ends:,} line ends taken out"] if ends else []


def to_lf(text: str) -> str:
    """CRLF and lone CR as LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def join_surrogates(text: str) -> str:
    """Surrogate pairs as the characters they stand for, lone surrogates as U+FFFD, so that UTF-8 can hold it."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def by_lines(text: str, change: Callable[[str], str], block: int = _BLOCK) -> str:
    """`change` done to pieces of at least `block` characters that end with a line.

    No character looks beyond a line end for its NFC or small form, so that the result is the same; done to the whole,
    these take 12 bytes a character and more.
    """
    return change(text) if text.isascii() else "".join(map(change, _pieces(text, block)))


def _pieces(text: str, block: int) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start + block - 1) + 1 or len(text)
        yield text[start:end]
        start = end


def _to_nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _drop_newlines(text: str, notes: list[str]) -> str:
    text, ends = _without_ends(text)
    if ends:
        notes.append(f"{ends:,} line ends taken out")
    return text


def _without_ends(text: str) -> tuple[str, int]:
    """A text without its line ends, and how many there were."""
    ends = text.count("\n") + text.count("\r") - text.count("\r\n")
    return text.replace("\n", "").replace("\r", ""), ends


def _take_off_gutenberg(text: str, notes: list[str]) -> str:
    """What stands between the markers; of several books in one file, each."""
    if "*" not in text or ("Project Gutenberg" not in text and "PROJECT GUTENBERG" not in text):
        return text  # every marker has an asterisk, and one letter is found fastest
    books = [book for frame in _frames(text) if (book := _book(text, *frame))]
    if not books:
        return text
    notes.append("Project Gutenberg header and footer taken off")
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
    """What a frame holds, without credits and blanks around it, and with one line end; "" if that is nothing."""
    if credits := _CREDITS.match(text, start, end):
        start = credits.end()
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    if start == end or text.startswith("\n", end):
        return text[start : end + (start < end)]  # one copy of what may be the whole text, not two
    return text[start:end] + "\n"
