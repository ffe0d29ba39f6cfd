"""Texts as people type them into one line: `\\n` for a line end, `\\t` for a tab, `\\\\` for a backslash."""

import re

SIGNS = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
LETTERS = {character: letter for letter, character in SIGNS.items()}


def meant(line: str) -> str:
    """The text that a typed line stands for; a backslash before anything else is itself."""
    return re.sub(r"\\([ntr\\])", lambda found: SIGNS[found[1]], line)


def typed(text: str) -> str:
    """A line that stands for the text."""
    return re.sub(r"[\n\t\r\\]", lambda found: "\\" + LETTERS[found[0]], text)


def meant_lines(text: str) -> tuple[str, ...]:
    """One text for each line that is not empty."""
    return tuple(meant(line) for line in text.split("\n") if line)


def typed_lines(texts: tuple[str, ...]) -> str:
    """One line for each text."""
    return "\n".join(map(typed, texts))
