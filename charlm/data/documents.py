"""Documents as text: HTML, EPUB, Word, RTF, PDF, subtitles, notebooks, and Parquet as JSON Lines.

Their parsers may take long over a hostile file, or break: all of them run in a process of its own, and those in C only
for files of one's own. What is left out is said.
"""

import io
import json
import posixpath
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from charlm.data.confined import ConfinedError, confined
from charlm.data.decoding import decode, decode_head
from charlm.data.mail import MANY, ONE, mail_text, mailbox_text
from charlm.data.markup import html_text, left_out_note, plain, rtf_text
from charlm.data.subtitles import BY_CONTENT, FORMATS, format_of, spoken
from charlm.errors import CharLMError, CorpusError
from charlm.files import is_text_codec, one_line

TABLE = ".parquet"
NATIVE = (".pdf", TABLE)  # parsed in C
ZIPPED = (".docx", ".epub", ".odt")
MARKUP = "markup"  # the kind of a plain text whose markup is to be stripped
MOST_UNPACKED = 16  # times the most bytes of a text, of what a book or a Word file may unpack to
LEAST_UNPACKED = 64 << 20
HEAD_ROWS = 1000
MEMORY_EACH = 12  # bytes of memory for each of a document, beside a gigabyte
_PACKAGES = {"striprtf": "striprtf", "mammoth": "mammoth", "pysubs2": "pysubs2", "pypdfium2": "pypdfium2",
             "fastparquet": "fastparquet", "cramjam": "fastparquet"}  # fmt: skip
# What stands around words of a Word file that mammoth leaves out: simple fields, and base texts that have a reading.
_WRAPPING = re.compile(
    rb"</?w:(?:fldSimple|ruby|rubyBase)(?:\s[^<>]*)?>|<w:(rt|rubyPr)>(?:(?!<w:\1>).)*?</w:\1>", re.DOTALL
)
# In FictionBook; found in one pass, however often it begins.
_ABOUT_BOOK = re.compile(r"<description\b(?:(?!<description\b).)*?</description>", re.DOTALL)
Read = tuple[str, Counter[str]]


@dataclass(frozen=True)
class Document:
    """A file that is not plain text.

    Attributes:
        name: of the file, for messages.
        kind: a suffix of KINDS.
        data: its bytes.
    """

    name: str
    kind: str
    data: bytes


def kind_of(data: bytes, suffix: str) -> str:
    """The kind of a document, by its content where that is clear, else by its suffix; "" if it is none."""
    if data.startswith(b"%PDF-"):
        return ".pdf"
    if data.startswith(b"PAR1"):
        return TABLE
    if data.startswith(b"PK\x03\x04"):
        return _kind_of_zip(data)
    if suffix == ".rtf" and not data.lstrip().startswith(b"{\\rtf"):
        return ""  # plain text under another name
    if suffix in BY_CONTENT and not format_of(decode_head(data)):
        return ""
    return suffix if suffix in KINDS and suffix not in (*NATIVE, *ZIPPED) else ""


def _kind_of_zip(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = set(archive.namelist()[:10_000])
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return ""
    if "word/document.xml" in names:
        return ".docx"
    if "content.xml" in names and "mimetype" in names:
        return ".odt"
    return ".epub" if "META-INF/container.xml" in names else ""


def read_documents(
    documents: Sequence[Document], most_bytes: int, native: bool, options: dict[str, Any] | None = None
) -> list[tuple[str, list[str]] | CorpusError]:
    """The texts of documents, which a process of their own reads.

    Args:
        documents: at least one.
        most_bytes: of all texts together.
        native: whether parsers in C may be used.
        options: encoding and column.

    Returns:
        For each the text and what was left out, or why it cannot be read. Of a table it is JSON Lines.
    """
    results: dict[int, tuple[str, list[str]] | CorpusError] = {}
    safe = [index for index, one in enumerate(documents) if one.kind not in NATIVE]
    for index, one in enumerate(documents):
        if one.kind in NATIVE:
            results |= _read_apart(documents, [index], most_bytes, options) if native else {index: _not_here(one)}
    results |= _read_apart(documents, safe, most_bytes, options) if safe else {}
    return [results[index] for index in range(len(documents))]


def _not_here(document: Document) -> CorpusError:
    what = "a PDF" if document.kind == ".pdf" else "a Parquet file"
    return CorpusError(
        f"{document.name} is {what}, which this public Space does not read; save its text as .txt, or run CharLM Lab "
        "on your own machine"
    )


def _read_apart(
    documents: Sequence[Document], indices: Sequence[int], most_bytes: int, options: dict[str, Any] | None
) -> dict[int, tuple[str, list[str]] | CorpusError]:
    """The results of some documents, of one process, by their indices."""
    chosen = [documents[index] for index in indices]
    size = sum(len(one.data) for one in chosen)
    asked = {
        **(options or {}), "most_bytes": most_bytes, "names": [one.name for one in chosen],
        "kinds": [one.kind for one in chosen], "sizes": [len(one.data) for one in chosen],
    }  # fmt: skip
    data = chosen[0].data if len(chosen) == 1 else b"".join(one.data for one in chosen)
    try:
        texts, told = confined(
            convert, data, asked, memory=(1 << 30) + MEMORY_EACH * size, seconds=10 + 3 * size / (1 << 20),
            most_answer=4 * most_bytes + (1 << 20),
        )  # fmt: skip
    except ConfinedError as error:
        name = chosen[0].name if len(chosen) == 1 else f"{chosen[0].name} or another document"
        return dict.fromkeys(indices, CorpusError(f"{name} was not read: {error}; save its text as .txt and use that"))
    except CharLMError as error:
        return dict.fromkeys(indices, CorpusError(str(error)))
    results: dict[int, tuple[str, list[str]] | CorpusError] = {}
    start = 0
    for index, (size, notes, refused) in zip(indices, told, strict=True):
        text = str(memoryview(texts)[start : start + size], "utf-8", "replace")
        results[index] = CorpusError(refused) if refused else (text, list(notes))
        start += size
    return results


def convert(data: bytes, options: dict[str, Any]) -> tuple[bytes, list[Any]]:
    """What the process does: each document as text.

    Args:
        data: the documents' bytes, one after the other.
        options: their names, kinds and sizes; most_bytes of all texts; encoding and column.

    Returns:
        The texts as UTF-8, one after the other; and for each its size, what was left out, and why it was refused.
    """
    pieces: list[bytes] = []
    told: list[Any] = []
    start = 0
    for name, kind, size in zip(options["names"], options["kinds"], options["sizes"], strict=True):
        part = data if size == len(data) else data[start : start + size]
        start += size
        text, refused = b"", ""
        notes: list[str] = []
        try:
            found, notes = _converted(name, kind, part, options)
            text = found.encode("utf-8", "replace")
        except CharLMError as error:
            refused = str(error)
        if sum(map(len, pieces)) + len(text) > 4 * options["most_bytes"]:
            raise CorpusError(f"{name} holds more than {options['most_bytes']:,} bytes of text; use a part of it")
        pieces.append(text)
        told.append([len(text), notes, refused])
    return b"".join(pieces), told


def _converted(name: str, kind: str, data: bytes, options: dict[str, Any]) -> tuple[str, list[str]]:
    """The text of one document, and notes.

    Raises:
        CorpusError: it cannot be read.
    """
    try:
        if kind in KINDS_OF_TEXT:
            source, notes = decode(data, name, encoding=options.get("encoding") or _declared(data, kind))
            text, left_out = KINDS_OF_TEXT[kind](source, name)
        else:
            notes = []
            text, left_out = KINDS_OF_BYTES[kind](data, name, options)
    except ImportError as error:
        package = _PACKAGES.get((error.name or "").partition(".")[0], error.name)
        raise CorpusError(f"{name} needs the package {package}: pip install {package}") from error
    except (MemoryError, CharLMError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {one_line(str(error), 120)}"
        raise CorpusError(f"{name} is damaged, or no {kind[1:]} file ({reason}); save its text as .txt") from error
    if not text.strip():
        raise CorpusError(f"{name} holds no text{_why_none(left_out)}")
    said = left_out_note(left_out)
    return text, [*notes, *([said] if said else [])]


def _why_none(left_out: Counter[str]) -> str:
    pictures = left_out["picture"]
    return f", but {pictures:,} pictures; have them read by a text recognition (OCR)" if pictures else ""


def _declared(data: bytes, kind: str) -> str:
    """The encoding that a page names at its top, where it is not UTF-8; "" if there is none."""
    if not kind.endswith(("html", "htm")):
        return ""
    try:
        data.decode()
    except UnicodeDecodeError:
        found = re.search(rb"charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", data[:4096], re.IGNORECASE)
        codec = found[1].decode("ascii", "replace") if found else ""
        return codec if codec and is_text_codec(codec) and codec.lower() not in ("utf-8", "utf8") else ""
    return ""


def _html(source: str, name: str) -> Read:
    return html_text(source)


def _rtf(source: str, name: str) -> Read:
    return rtf_text(source)


def _markup(source: str, name: str) -> Read:
    return plain(source)[0], Counter()


def _subtitles(source: str, name: str) -> Read:
    return spoken(source)


def _fiction(source: str, name: str) -> Read:
    """A book in FictionBook's XML, without its description and its pictures."""
    source, pictures = re.subn(r"<binary\b[^<]*</binary>", "", source)
    text, left_out = html_text(_ABOUT_BOOK.sub("", source))
    left_out["picture"] = pictures
    return text, left_out


def _mail(data: bytes, name: str, options: dict[str, Any]) -> Read:
    return mail_text(data)


def _mailbox(data: bytes, name: str, options: dict[str, Any]) -> Read:
    return mailbox_text(data)


def _notebook(source: str, name: str) -> Read:
    """The words of a notebook; its code only where there are none."""
    try:
        cells = json.loads(source)["cells"]
        kinds = [(one["cell_type"], "".join(one.get("source") or [])) for one in cells]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorpusError(f"{name} is no Jupyter notebook of version 4; save its text as .txt") from error
    words = [text for kind, text in kinds if kind in ("markdown", "raw") and text.strip()]
    code = [text for kind, text in kinds if kind == "code" and text.strip()]
    outputs = sum(len(one.get("outputs") or []) for one in cells if isinstance(one, dict))
    left_out = Counter({"code cell": len(code) if words else 0, "output": outputs})
    return "\n\n".join(one.strip("\n") for one in words or code) + "\n", left_out


def _word(data: bytes, name: str, options: dict[str, Any]) -> Read:
    import mammoth

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        _check_unpacked(archive, name, options["most_bytes"])
        names = archive.namelist()
        file = _unwrapped(archive)
    no_picture = mammoth.images.img_element(lambda image: {"src": ""})
    source = mammoth.convert_to_html(file, convert_image=no_picture).value
    text, left_out = html_text(source)
    left_out["comment"] += "word/comments.xml" in names
    return text, left_out


def _office(data: bytes, name: str, options: dict[str, Any]) -> Read:
    """The paragraphs of an OpenDocument text, whose names HTML has shorter."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        _check_unpacked(archive, name, options["most_bytes"])
        source = archive.read("content.xml").decode("utf-8", "replace")
    if "<office:text" not in source:
        raise CorpusError(f"{name} is an OpenDocument file, but no text; save its text as .txt, or a table as .csv")
    source = re.sub(r"<text:(?:s|tab)\b[^>]*>", " ", source).replace("<text:line-break/>", "<br>")
    source = re.sub(r"<(/?)text:(?:p|h)\b", r"<\1p", re.sub(r"<(/?)text:note\b", r"<\1template", source))
    left_out = Counter({"picture": source.count("<draw:image"), "note": source.count("<template")})
    return html_text(source)[0], left_out


def _unwrapped(archive: zipfile.ZipFile) -> io.BytesIO:
    """A Word file whose words are not inside of fields or under readings, where mammoth does not look for them."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as copy:
        for one in archive.infolist():
            data = archive.read(one)
            copy.writestr(one, _WRAPPING.sub(b"", data) if re.fullmatch(r"word/\w+\.xml", one.filename) else data)
    return file


def _check_unpacked(archive: zipfile.ZipFile, name: str, most_bytes: int) -> None:
    """Refuse a bomb: zipfile reads no more of a member than its size says."""
    most = max(LEAST_UNPACKED, MOST_UNPACKED * most_bytes)
    if sum(one.file_size for one in archive.infolist()) > most:
        raise CorpusError(f"{name} unpacks to more than {most:,} bytes; use a part of it")


def _book(data: bytes, name: str, options: dict[str, Any]) -> Read:
    """The chapters of an EPUB, in the order of its spine."""
    total: Counter[str] = Counter()
    chapters = []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        _check_unpacked(archive, name, options["most_bytes"])
        for path in _spine(archive, name):
            source, _ = decode(archive.read(path), path)
            text, left_out = html_text(source)
            total += left_out
            if text.strip():
                chapters.append(text)
    return "\n".join(chapters), total


def _spine(archive: zipfile.ZipFile, name: str) -> Iterator[str]:
    """The paths of a book's chapters."""
    import xml.etree.ElementTree as ElementTree

    names = set(archive.namelist())
    if "META-INF/encryption.xml" in names and b"EncryptedKey" in archive.read("META-INF/encryption.xml"):
        raise CorpusError(f"{name} is protected against copying (DRM); use a book without")
    container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
    package = next(path for one in container.iter() if (path := one.get("full-path")))
    tree = ElementTree.fromstring(archive.read(package))
    items = {one.get("id"): one for one in tree.iter() if one.tag.rpartition("}")[2] == "item"}
    for one in tree.iter():
        item = items.get(one.get("idref")) if one.tag.rpartition("}")[2] == "itemref" else None
        if item is None or "nav" in (item.get("properties") or "").split():
            continue
        path = posixpath.normpath(posixpath.join(posixpath.dirname(package), unquote(item.get("href") or "")))
        if path in names and "html" in (item.get("media-type") or "html"):
            yield path


def _pdf(data: bytes, name: str, options: dict[str, Any]) -> Read:
    """The text of the pages, as PDFium puts its lines in order; words that a line end divides are joined."""
    import pypdfium2
    from pypdfium2 import raw

    left_out: Counter[str] = Counter()
    pages = []
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        what = "with a password" if "password" in str(error).lower() else "that is damaged"
        raise CorpusError(f"{name} is a PDF {what}; save its text as .txt and use that") from error
    for page in document:
        text = page.get_textpage().get_text_bounded()
        pages.append(re.sub("[\ufffe\x02]\r?\n?", "", text).replace("\r\n", "\n").strip())
        left_out["picture"] += sum(1 for _ in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=3))
    return "\n\n".join(page for page in pages if page) + "\n", left_out


def _parquet(data: bytes, name: str, options: dict[str, Any]) -> Read:
    """The columns with text, as JSON Lines; of a named column that one."""
    import fastparquet

    file = fastparquet.ParquetFile(io.BytesIO(data))
    wanted = str(options.get("column") or "").strip().casefold()
    named = [one for one in file.columns if wanted and one.casefold() == wanted]
    texts = [one for one in file.columns if file.dtypes.get(one) is not None and file.dtypes[one].kind in "OUST"]
    beside = str(options.get("condition") or "").strip().casefold()
    columns = [*(named or texts), *(one for one in file.columns if one.casefold() == beside and one not in texts)]
    if not columns:
        raise CorpusError(f"{name} has no column with text; it has: {', '.join(map(str, file.columns[:10]))}")
    lines: list[str] = []
    size = 0
    for frame in file.iter_row_groups(columns=columns):
        frame = frame.head(HEAD_ROWS) if options.get("head") else frame
        for row in frame[columns].to_dict("records"):
            line = json.dumps({key: _cell(value) for key, value in row.items()}, ensure_ascii=False)
            lines.append(line)
            size += len(line)
            if size > 4 * options["most_bytes"]:
                raise CorpusError(f"{name} holds more than {options['most_bytes']:,} bytes of text; use a part of it")
        if options.get("head") and lines:
            break
    others = [one for one in file.columns if one not in columns]
    return "\n".join(lines), Counter({"other column": 0 if named else len(others)})


def _cell(value: Any) -> Any:
    """A cell of Parquet as JSON can hold it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _cell(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_cell(one) for one in value]
    return value if isinstance(value, str | int | bool) else None if value != value or value is None else str(value)


KINDS_OF_TEXT: dict[str, Callable[[str, str], Read]] = {
    ".html": _html, ".htm": _html, ".xhtml": _html, ".rtf": _rtf, ".fb2": _fiction, ".ipynb": _notebook,
    MARKUP: _markup, **dict.fromkeys((*FORMATS, *BY_CONTENT), _subtitles),
}  # fmt: skip
KINDS_OF_BYTES: dict[str, Callable[[bytes, str, dict[str, Any]], Read]] = {
    ".docx": _word, ".epub": _book, ".odt": _office, ONE: _mail, MANY: _mailbox, ".pdf": _pdf, TABLE: _parquet,
}  # fmt: skip
KINDS = (*(kind for kind in KINDS_OF_TEXT if kind != MARKUP), *KINDS_OF_BYTES)
