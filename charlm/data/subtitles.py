"""What is said in subtitles and sung in lyrics, without times, styles and names of cues."""

import re
from collections import Counter
from html import unescape

FORMATS = (".srt", ".vtt", ".ass", ".ssa")  # known by their name
BY_CONTENT = (".sub", ".smi", ".lrc")  # other programs' files have these names, too
LYRICS = ".lrc"
_MICRODVD = re.compile(r"\s*\{\d{1,9}\}\{\d{1,9}\}")
_STAMP = re.compile(r"\[\d{1,3}:\d\d(?:[.:]\d{1,3})?\]")
_ABOUT = re.compile(r"\[(?:#|[a-z]{2,10}:)[^\]\n]{0,200}\]\s*")  # such as [ar:Ann]
_TAG = re.compile(r"<[^<>\n]{0,200}>")
# An override of style; braces without a backslash are a comment in .ass, and elsewhere what somebody wrote.
_OVERRIDE = re.compile(r"\{\\[^{}\n]*\}")
# What pysubs2 takes for speech in WebVTT: the name of a cue, and then a comment.
_CUE_NAME = re.compile(r"(?<=\n\n)(?!.*-->).+\n(?=.*-->)")
_COMMENT = re.compile(r"(?<=\n\n)NOTE(?:[ \t].*)?(?:\n.+)*(?=\n\n|\n?\Z)")


def format_of(source: str) -> str:
    """pysubs2's name of the format that a text is in; "lrc" for lyrics, "" for none that only its content can tell."""
    head = source[:4096].lstrip("\ufeff \t\r\n")
    if head.startswith("WEBVTT"):
        return "vtt"
    if head.startswith("[Script Info]"):
        return "ass"
    if head[:5].casefold() == "<sami":
        return "sami"
    if _MICRODVD.match(head):
        return "microdvd"
    timed = [line for line in head.split("\n") if _STAMP.match(line)]
    return "lrc" if len(timed) > 1 else ""


def spoken(source: str) -> tuple[str, Counter[str]]:
    """What is said, a line of it a line, and what was left out with its numbers; SRT is what tells no other format."""
    kind = format_of(source)
    if kind == "lrc":
        return _sung(source)
    import pysubs2  # imported only for such a file

    source, comments = source.lstrip("\ufeff").replace("\r\n", "\n"), 0
    if kind == "vtt":
        source, comments = _COMMENT.subn("", _CUE_NAME.sub("", source))
    source += "</BODY></SAMI>" if kind == "sami" else ""  # without it the last cue gets lost
    # frames a second only say when something is said
    events = pysubs2.SSAFile.from_string(source, format_=kind or "srt", fps=25 if kind == "microdvd" else None)
    if kind in ("", "vtt", "sami"):
        said = [_OVERRIDE.sub("", one.text).replace(r"\h", " ").replace(r"\N", "\n") for one in events]
    else:
        said = [one.plaintext for one in events if not one.is_comment]
    cues = [unescape(_TAG.sub("", words)).strip().split("\n") for words in said]
    lines, left_out = list[str](), Counter({"cue time": len(cues), "comment": comments})
    for cue in cues:
        cue = [line.strip() for line in cue if line.strip()]
        if lines and len(cue) > 1 and cue[0] == lines[-1]:  # captions that roll up show each line twice
            cue, left_out["repeated line"] = cue[1:], left_out["repeated line"] + 1
        lines += cue
    return "\n".join(lines) + "\n", left_out


def _sung(source: str) -> tuple[str, Counter[str]]:
    """The lines of lyrics; one that is sung several times stands there once, with all its times."""
    lines, left_out = list[str](), Counter[str]()
    for line in source.lstrip("\ufeff").splitlines():
        if _ABOUT.fullmatch(line):
            left_out["heading"] += 1
            continue
        words = _STAMP.sub("", line)
        left_out["time"] += words != line
        lines.append(_TAG.sub("", words).strip())
    return "\n".join(lines).strip("\n") + "\n", left_out
