"""Texts of users and models inside Markdown."""

import re


def plain(text: str) -> str:
    """A text that Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!])", r"\\\1", text)


def fenced(text: str) -> str:
    """A text as a code block, in a fence that is longer than any row of backticks in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"
