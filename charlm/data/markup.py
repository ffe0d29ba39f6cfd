"""Markup as text: HTML by Python's own parser, RTF by striprtf; and how much of a text is markup."""

import re
from collections import Counter
from html.parser import HTMLParser

from charlm.files import one_line

LOOKED_AT = 1 << 20  # characters
LEAST_SHARE = 0.02  # of a text, from which on markup is said
LEAST_TAGS = 6
STAMPED = 0.5  # of the lines, from which share on the dates before them are said
STAMPS = "dates and times before lines"
RTF = "{\\rtf"
# What is no text of a page, and what a reader is told was left out.
SKIPPED = {"script": "script", "style": "style sheet", "svg": "drawing", "math": "formula", "template": "template"}
COUNTED = {"img": "picture", "image": "picture", "video": "video", "audio": "sound", "iframe": "frame", **SKIPPED}
UNREAD = {*SKIPPED, "head", "noscript", "object", "select", "textarea", "nav"}
PARAGRAPHS = {
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "ul", "ol", "dl", "table", "figure", "hr",
    "article", "section",
}  # fmt: skip
LINES = {
    "div", "li", "tr", "dt", "dd", "br", "header", "footer", "main", "aside", "body", "caption", "figcaption",
    "address", "form", "option", "title", "thead", "tbody",
}  # fmt: skip
NOTES = ("footnote", "endnote", "rearnote", "noteref")
_KNOWN = {
    *PARAGRAPHS, *LINES, "a", "b", "i", "em", "strong", "span", "u", "td", "th", "html", "head", "font", "script",
    "style", "sup", "sub", "center", "small", "code",
}  # fmt: skip
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "image", "input", "link", "meta", "source", "track", "wbr"}
_TAG = re.compile(r"<(?:/?[A-Za-z][\w:.-]{0,40}(?:\s[^<>]{0,2000})?/?|!--[^<>]{0,2000}--|![A-Za-z][^<>]{0,300})>")
_JSON = re.compile(r'\s*(?:\{\s*"[^"\n]{0,200}"\s*:|\[\s*(?:\{\s*"|\[|"[^"]{0,9999}"\s*[],]))')
# As in chats and logs: `[12.03.21, 14:02:11] `, `3/12/21, 2:02 PM - `, `12.3.2021 klo 14.02 - `, `2021-03-12T14:02 `.
_STAMP = re.compile(
    r"^\u200e?\[?(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2}))(?:, ?|[T ])"
    r"(?:[^\W\d_]{1,4}\.?[ ]?)?\d{1,2}[:.]\d{2}(?:[:.]\d{2}(?:[.,]\d{1,6})?)?(?:Z|[+-]\d{2}:?\d{2})?"
    r"(?:[ \u202f]?[AaPp]\.?[ ]?[Mm]\.?)?\]?(?: -)? +",
    re.MULTILINE,
)
_CODE = re.compile(r"\\(?:[a-z]{1,32}-?\d{0,10} ?|'[0-9a-f]{2}|[^a-z])|[{}]")


class Page(HTMLParser):
    """The text of a page.

    Args:
        keeps_space: whether white space counts, as in a text with some tags in it; else it collapses as in a browser.

    Attributes:
        left_out: how often what was left out.
    """

    def __init__(self, keeps_space: bool = False) -> None:
        super().__init__(convert_charrefs=True)
        self._keeps, self._pieces, self._pre = keeps_space, [""], 0
        self._is_broken = False  # whether a tag has ended the line
        self._skips: list[str] = []  # the open elements from the first on that is no text
        self.left_out: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Break the line, or begin to skip."""
        if self._skips:
            self.left_out[SKIPPED.get(tag, "")] += 1
            if tag not in VOID:
                self._skips.append(tag)
            return
        if tag in COUNTED:
            self.left_out[COUNTED[tag]] += 1
        is_note = _is_note(tag, dict(attrs))
        self.left_out["note"] += is_note == 1
        if (tag in UNREAD or is_note) and tag not in VOID:
            self._skips.append(tag)
        self._pre += tag == "pre"
        self._break(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """As `<br/>`."""
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Break the line, or end skipping."""
        if tag in self._skips:
            del self._skips[len(self._skips) - 1 - self._skips[::-1].index(tag) :]
            return
        if not self._skips:
            self._pre -= tag == "pre" and self._pre > 0
            self._break(tag)

    def handle_data(self, data: str) -> None:
        """Take text."""
        if self._skips:
            return
        if self._keeps or self._pre:
            self._take(data[1:] if self._is_broken and data.startswith("\n") else data)
            return
        words = " ".join(data.split())
        self._space(data[0].isspace())
        self._take(words)
        self._space(bool(words) and data[-1].isspace())

    def handle_comment(self, data: str) -> None:
        """Leave it out."""
        self.left_out["comment"] += not self._skips

    def _take(self, text: str) -> None:
        if text:
            self._pieces.append(text)
            self._is_broken = False

    def _space(self, wanted: bool) -> None:
        if wanted and self._pieces[-1][-1:] not in ("", " ", "\n", "\t"):
            self._pieces.append(" ")

    def _break(self, tag: str) -> None:
        """End the line at a block's beginning and end, once; the cells of a row are parted by tabs."""
        last = self._pieces[-1][-2:]
        if tag in ("td", "th"):
            self._pieces.append("\t" if last and last[-1] not in "\n\t" else "")
        elif tag == "br" or (tag in LINES and last and last[-1] != "\n"):
            self._pieces.append("\n")
        elif tag in PARAGRAPHS and last != "\n\n":
            self._pieces.append("\n" if last[-1:] == "\n" else "\n\n")
        else:
            return
        if not self._pieces[-1]:
            self._pieces.pop()
        else:
            self._is_broken = self._pieces[-1][-1] == "\n"

    def text(self) -> str:
        """All of it, with at most one blank line between two lines."""
        whole = re.sub("[ \t]+\n", "\n", "".join(self._pieces))
        return re.sub("\n{3,}", "\n\n", whole).strip("\n") + "\n"


def _is_note(tag: str, attrs: dict[str, str | None]) -> int:
    """1 if an element is a note of a book or a Word file, 2 if it refers to one, else 0."""
    kind, role = attrs.get("epub:type") or "", attrs.get("role") or ""
    identity, target = attrs.get("id") or "", attrs.get("href") or ""
    if any(one in f"{kind} {role}" for one in NOTES):
        return 2 if "noteref" in f"{kind} {role}" else 1
    if tag == "li" and identity.startswith(("footnote-", "endnote-")):
        return 1
    return 2 if tag == "a" and target.startswith(("#footnote-", "#endnote-")) else 0


def html_text(source: str, keeps_space: bool = False) -> tuple[str, Counter[str]]:
    """The text of HTML, and what was left out with its numbers; see `Page`."""
    page = Page(keeps_space)
    page.feed(source)
    page.close()
    return page.text(), page.left_out


def rtf_text(source: str) -> tuple[str, Counter[str]]:
    """The text of RTF, and what was left out with its numbers."""
    from striprtf.striprtf import rtf_to_text  # imported only for such a file

    left_out = Counter({"picture": source.count("\\pict"), "note": source.count("\\footnote")})
    text = rtf_to_text(source, errors="replace")
    # A character beyond U+FFFF, which RTF has as two halves, comes as these.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"), left_out


def plain(text: str) -> tuple[str, str]:
    """A text without its markup, and what kind that was; the text itself and "" if it has none."""
    kind, _ = markup_share(text)
    if kind == "RTF codes":
        return rtf_text(text)[0], kind
    if kind == STAMPS:
        return _STAMP.sub("", text), kind
    if kind:
        is_page = re.match(r"\s*(?:<\?xml[^>]{0,200}>\s*)?<(?:!doctype|html|head|body)\b", text, re.IGNORECASE)
        return html_text(text, keeps_space=not is_page)[0], kind
    return text, ""


def markup_share(text: str) -> tuple[str, float]:
    """What kind of markup a text holds, and its share, as far as its beginning says; "" if hardly any."""
    part = text[:LOOKED_AT]
    if part.lstrip()[: len(RTF)] == RTF:
        return "RTF codes", _share(_CODE, part)
    stamps = _STAMP.findall(part)
    if len(stamps) >= LEAST_TAGS and len(stamps) > STAMPED * (part.count("\n") + 1):
        return STAMPS, _share(_STAMP, part)
    tags = _TAG.findall(part) if "</" in part else []
    closing = sum(one.startswith("</") for one in tags)
    if len(tags) < LEAST_TAGS or closing < len(tags) / 5 or (share := _share(_TAG, part)) < LEAST_SHARE:
        return "", 0.0
    known = sum(re.split(r"[\s/>]", one.lstrip("</"), maxsplit=1)[0].lower() in _KNOWN for one in tags)
    return ("HTML tags" if known > len(tags) / 2 else "XML tags"), share


def _share(pattern: re.Pattern[str], part: str) -> float:
    return sum(map(len, pattern.findall(part))) / max(1, len(part))


def markup_note(text: str) -> str:
    """What to say of a text's markup, or that it is the source of data; empty if it has hardly any."""
    if _JSON.match(text) and text[-4096:].rstrip()[-1:] in "]}" and text.count('"', 0, LOOKED_AT) > LEAST_TAGS:
        return "this looks like JSON; as a file named .json or .jsonl its texts alone are read"
    kind, share = markup_share(text)
    looks = "are" if kind == STAMPS else "looks like"
    return f"{100 * share:.0f} % of this {looks} {kind}; the option strip_markup strips them" if kind else ""


def left_out_note(left_out: Counter[str]) -> str:
    """`left out: 3 pictures, 1 script`; empty if nothing was."""
    counts = [(count, one_line(what, 40)) for what, count in left_out.items() if what and count]
    said = [f"{count:,} {what}{'s' if count > 1 else ''}" for count, what in counts]
    return f"left out: {', '.join(said)}" if said else ""
