"""Tables for a spreadsheet, in which no text of a user is taken for a formula."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

# What makes a spreadsheet calculate when a cell begins with it, plain or full width (OWASP, "CSV Injection"); white
# space, quotes and invisible signs before it do not help. A careless program could see a cell begin with every line.
LINE_ENDS = r"\n\r\u0085\u2028\u2029"
FORMULA = re.compile(
    rf"(?:^|(?<=[{LINE_ENDS}]))(?=[\s'\"\u200b-\u200f\u2060\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20])|^(?=[\t\n\r])"
)
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")


def csv_text(rows: Iterable[Sequence[str | float | None]]) -> str:
    """Rows as CSV: every text quoted, numbers as they are, None an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    for row in rows:
        writer.writerow([plain_cell(cell) if isinstance(cell, str) else "" if cell is None else cell for cell in row])
    return out.getvalue()


def plain_cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: an apostrophe stands before what it could take for one."""
    return FORMULA.sub("'", CONTROL.sub(" ", text))
