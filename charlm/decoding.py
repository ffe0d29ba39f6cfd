"""Bytes to text: byte order marks, UTF-8, UTF-16 without a mark, else a guess; binary files are refused.

The common case, clean UTF-8, is one C-speed decode; only bytes that are not UTF-8 pay for detection.
"""

import codecs
import itertools
import re
from typing import Any

from charlm.errors import CorpusError

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32 read"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32 read"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16 read"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16 read"),
    (codecs.BOM_UTF8, "utf-8", "BOM taken off"),
)
MAGIC = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a zip archive, as Word and Excel files are"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"PAR1", "a Parquet file"),
    (b"\xd0\xcf\x11\xe0", "an old Office file"),
)
# The detector knows dozens of rare code pages that look alike on short texts; these are the ones people have.
WESTERN = "cp1252"
CODE_PAGES = [
    *(WESTERN, "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "iso8859_2"),
    *("cp932", "euc_jp", "gb18030", "big5", "cp949"),
]
WEIGHTS = (
    ".pt", ".pth", ".net", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".safetensors", ".onnx", ".h5",
)  # fmt: skip
_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b")) + b"\x7f"
_NOT_CONTROL = bytes(set(range(256)) - set(_CONTROL))
_SAMPLE = 1 << 16
_DETECTED = 1 << 18


def decode(data: bytes, name: str, *, known: bool = True) -> tuple[str, list[str]]:
    """Text of a file's bytes.

    Args:
        data: the bytes, not compressed.
        name: the file's name, for messages.
        known: the name says that this is text, so code pages are guessed; else only clean Unicode is taken.

    Returns:
        The text, and what was repaired as short sentences.

    Raises:
        CorpusError: binary content, or no encoding fits.
    """
    _refuse_known_formats(data, name)
    for mark, codec, note in MARKS:
        if data.startswith(mark):
            text, notes = _replacing(memoryview(data)[len(mark) :], codec)
            return text, [note, *notes]
    if b"\0" in data:
        return _unmarked_utf16(data, name)
    if _control_share(data) > 0.02:
        raise _binary(name)
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError as error:
        return _not_utf8(data, name, error, known)


def _refuse_known_formats(data: bytes, name: str) -> None:
    if name.lower().endswith(WEIGHTS):
        raise CorpusError(f"{name} is a file of weights, not a text; take the text that the model was trained on")
    for magic, what in MAGIC:
        if data.startswith(magic):
            raise CorpusError(f"{name} is {what}, not plain text; save its text as .txt and take that")


def _binary(name: str) -> CorpusError:
    return CorpusError(f"{name} is a binary file, not text; save its text as .txt (UTF-8) and take that")


def _control_share(data: bytes) -> float:
    """Share of control bytes in the start, middle and end; text has next to none."""
    middle = len(data) // 2
    sample = data[:_SAMPLE] + data[middle : middle + _SAMPLE] + data[-_SAMPLE:]
    return len(sample.translate(None, _NOT_CONTROL)) / max(1, len(sample))


def _replacing(data: bytes | memoryview, codec: str) -> tuple[str, list[str]]:
    """Decode; what is damaged becomes U+FFFD and is counted."""
    try:
        return str(data, codec), []
    except UnicodeDecodeError:
        text = str(data, codec, "replace")
    damaged = text.count("\ufffd") - _count_intended(data, codec)
    kind = codec.upper().removesuffix("-LE").removesuffix("-BE")
    return text, [f"{damaged:,} damaged places, not valid {kind}, replaced by \ufffd"]


def _count_intended(data: bytes | memoryview, codec: str) -> int:
    """Replacement characters that stood in the file already."""
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
            f"{name} is no kind of file that is read here and is not clean UTF-8 text; "
            "take .txt, .md, .csv, .tsv, .json or .jsonl (also .gz)"
        )
    start = max(0, data.rfind(b"\n", 0, error.start) + 1, error.start - _SAMPLE)
    sample = data[start : start + _DETECTED]
    cut_short = error.reason == "unexpected end of data" and error.end == len(data)
    if cut_short or _mostly_utf8(sample):
        return _replacing(data, "utf-8")
    codec = _detect(sample)
    text, notes = _replacing(data, codec)
    if len(re.findall("[\x80-\x9f\ufffd]", text[:_DETECTED])) > 0.02 * len(text[:_DETECTED]):
        raise CorpusError(f"{name} is in an encoding that could not be recognised; save it as UTF-8 and take that")
    return text, [f"read as {codec}", *notes]


def _mostly_utf8(sample: bytes) -> bool:
    """Whether UTF-8 sequences outnumber the damage; other encodings hardly ever form any."""
    text = sample.decode("utf-8", "replace")
    return len(re.findall("[^\x00-\x7f\ufffd]", text)) > 4 * text.count("\ufffd")


def _detect(sample: bytes) -> str:
    """The likeliest code page; of those that read alike, Western Europe's."""
    # Loaded only for the few files that need it: the page has to be up fast.
    import charset_normalizer

    matches = charset_normalizer.from_bytes(sample, cp_isolation=CODE_PAGES)
    best = matches.best()
    if best is None:
        return WESTERN
    close = [match for match in matches if match.chaos <= best.chaos + 0.02]

    def implausibility(match: charset_normalizer.CharsetMatch) -> tuple[int, float, bool]:
        return _case_breaks(str(match)), -match.coherence, WESTERN not in _names(match)

    chosen = _names(min(close, key=implausibility))
    return WESTERN if WESTERN in chosen else chosen[0]


def _names(match: Any) -> list[str]:
    """A match's code page and those that give the same text."""
    return [match.encoding, *match.could_be_from_charset]


def _case_breaks(text: str) -> int:
    """Capitals right after small letters: KOI8-R read as cp1251, or the other way, turns all cases round."""
    return sum(first.islower() and second.isupper() for first, second in itertools.pairwise(text[:4096]))
