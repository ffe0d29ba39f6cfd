"""What is done to a text before training: line ends, Project Gutenberg's frame, Unicode form, capitals.

Every function returns the text and what it did as short sentences. Clean text passes at the speed of C
searches; copies are made only where something changes.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace

from charlm.config import CorpusConfig

# Today's marker ("THIS" in older files) may wrap over lines; etexts of the 1990s only have the small print's end.
_STARTS = (
    re.compile(r"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG [^*]{0,300}\*\*\*[^\n\r]*", re.MULTILINE),
    re.compile(r"^\*END\*? ?THE SMALL PRINT![^\n\r]*", re.MULTILINE),
)
_END_MARK = r"\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG"
_END = re.compile(rf"^(?:{_END_MARK}|End of (?:the |this )?Project Gutenberg)", re.MULTILINE | re.IGNORECASE)
_ONLY_END = re.compile(rf"^{_END_MARK}", re.MULTILINE)
_CREDITS = re.compile(r"\s*(?:Produced by|E-text prepared by)(?:[^\r\n]+\r?\n?){1,8}(?=\s*\n)")


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
    elif config.lf and (returns := text.count("\r")):
        text = to_lf(text)
        notes.append(f"{returns:,} line ends made LF")
    if config.nfc and not unicodedata.is_normalized("NFC", text):
        before, text = len(text), unicodedata.normalize("NFC", text)
        notes.append(f"made Unicode NFC, {before - len(text):,} characters fewer")
    if config.lowercase:
        text = text.lower()
        notes.append("capitals made small")
    return text, notes


def join_rows(rows: list[str], config: CorpusConfig) -> tuple[str, list[str]]:
    """Rows of a table as one cleaned text.

    Line ends are dropped inside each row, before rows are joined, and nothing is put in their place: that is how
    the Grimm notebook gets its 508,476 characters ("stood a tree\\nwhich" becomes "stood a treewhich"). The
    separator between rows stays, also when it is a blank line.
    """
    notes: list[str] = []
    if config.drop_newlines:
        whole = "\0".join(row.replace("\0", "") for row in rows)
        rows = _drop_newlines(whole, notes).split("\0")
    text = (" " if config.separator == "space" else "\n\n").join(rows)
    text, more = clean(text, replace(config, drop_newlines=False, strip_gutenberg=False))
    return text, notes + more


def to_lf(text: str) -> str:
    """CRLF and lone CR as LF."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def join_surrogates(text: str) -> str:
    """Surrogate pairs as the characters they stand for, lone surrogates as U+FFFD, so that UTF-8 can hold it."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _drop_newlines(text: str, notes: list[str]) -> str:
    ends = text.count("\n") + text.count("\r") - text.count("\r\n")
    if ends:
        notes.append(f"{ends:,} line ends taken out")
    return text.replace("\n", "").replace("\r", "")


def _take_off_gutenberg(text: str, notes: list[str]) -> str:
    """What stands between the markers; of several books in one file, each."""
    if "Project Gutenberg" not in text and "PROJECT GUTENBERG" not in text:
        return text
    parts = [_without_credits(text[start:end]) for start, end in _frames(text)]
    if not parts or not any(parts):
        return text
    notes.append("Project Gutenberg header and footer taken off")
    return "\n\n".join(part for part in parts if part) + "\n"


def _frames(text: str) -> list[tuple[int, int]]:
    """Start and end of each book; a file may have lost its header or its footer."""
    for start in _STARTS:
        if frames := list(_framed(text, start)):
            return frames
    end = _ONLY_END.search(text)
    return [(0, end.start())] if end else []


def _framed(text: str, start: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    position = 0
    while position < len(text) and (opened := start.search(text, position)):
        closed = _END.search(text, opened.end())
        position = closed.start() if closed else len(text)
        yield opened.end(), position


def _without_credits(book: str) -> str:
    credits = _CREDITS.match(book)
    return book[credits.end() if credits else 0 :].strip()
