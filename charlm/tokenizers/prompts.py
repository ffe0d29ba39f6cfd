"""Prompts as people type them, spelled as a model knows it: with other quotation marks, dashes, capitals, accents."""

import re
import unicodedata
from collections.abc import Callable, Iterator

# What is typed one for another, the likelier first.
OPENING = {'"': "“„«", "'": "‘‚‹"}
CLOSING = {'"': "”“»", "'": "’›´`"}
STRAIGHT = {**dict.fromkeys('"“”„‟«»″', '"'), **dict.fromkeys("'‘’‚‛‹›′ʼ´`", "'")}
DASHES = ("-", "–", "—", "‐", "‑", "−", "‒", "―", "--")
LINE_ENDS = ("\r\n", "\r", "\x85", "\u2028", "\u2029")
# A letter and its accents; three dots; a line end of two characters.
CLUSTER = re.compile(r"\.\.\.|\r\n|.[\u0300-\u036f]*", re.DOTALL)


def respelled(prompt: str, is_known: Callable[[str], bool]) -> tuple[str, dict[str, str]]:
    """A prompt whose unknown characters are replaced by others that mean the same, where the model knows those.

    Args:
        prompt: as typed.
        is_known: whether the model knows all characters of a text.

    Returns:
        The prompt, in which what is unknown in every spelling is left; and what was replaced by what.
    """
    written, replaced = "", {}
    for found in CLUSTER.finditer(prompt):
        typed = spelled = found[0]
        if not is_known(typed):
            spelled = next(filter(is_known, _spellings(typed, written[-1:])), typed)
        if spelled != typed:
            replaced[typed] = spelled
        written += spelled
    return written, replaced


def respelled_words(prompt: str, unknown: Callable[[str], list[str]]) -> tuple[str, dict[str, str]]:
    """The same for a model of words: another spelling is taken if fewer words are unknown with it.

    Args:
        prompt: as typed.
        unknown: the words of a text that the model does not know.
    """
    signs, replaced = respelled(prompt, lambda typed: typed.isalnum() or typed in " \n'’" or not unknown(typed))
    if len(unknown(signs)) < len(unknown(prompt)):
        prompt = signs
    else:
        replaced = {}
    for typed in (*filter(lambda sign: sign in STRAIGHT or sign in DASHES or sign == "…", prompt), *unknown(prompt)):
        whole = rf"\b{re.escape(typed)}\b" if typed.isalnum() else re.escape(typed)
        for spelled in (*_spellings(typed, " "), *_spellings(typed, "x"), typed.capitalize()):
            other = re.sub(whole, lambda _, to=spelled: to, prompt)  # type: ignore[misc]
            if len(unknown(other)) < len(unknown(prompt)):
                prompt, replaced[typed] = other, spelled
                break
    return prompt, replaced


def _spellings(typed: str, before: str) -> Iterator[str]:
    """Other spellings of a letter, sign or word, the nearest first; `before` is the character before it."""
    if typed == "...":
        yield "…"
    elif typed == "…":
        yield "..."
    elif typed in LINE_ENDS:
        yield from ("\n", " ")
    elif typed.isspace():
        yield " "
    elif typed in STRAIGHT:
        opens = not before or before.isspace() or before in "([{—–-" or before in STRAIGHT
        yield from (STRAIGHT[typed], *(OPENING if opens else CLOSING)[STRAIGHT[typed]])
    elif typed in DASHES:
        yield from DASHES
    for spelled in (typed, typed.lower(), typed.upper()):
        yield from (unicodedata.normalize("NFC", spelled), unicodedata.normalize("NFD", spelled))
