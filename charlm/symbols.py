"""Characters made visible: blanks, line ends and control characters as signs that can be seen."""

import unicodedata

SIGNS = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍", "\xa0": "⍽", "\x7f": "␡"}
NAMES = {
    " ": "space",
    "\n": "line end",
    "\t": "tab",
    "\r": "carriage return",
    "\xa0": "no-break space",
}
UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")


def visible(character: str) -> str:
    """One character as something that can be seen: `␣` for a space, `U+200B` for what has no sign."""
    if character in SIGNS:
        return SIGNS[character]
    if character < " ":
        return chr(0x2400 + ord(character))  # Unicode's pictures of the control codes
    kind = unicodedata.category(character)
    if kind in UNSEEN:
        return f"U+{ord(character):04X}"
    return f"◌{character}" if kind.startswith("M") else character


def visible_line(text: str, blank: str = "·") -> str:
    """A text as one line: blanks as `blank`, line ends and the rest as their signs."""
    return "".join(blank if character == " " else visible(character) for character in text)


def called(character: str) -> str:
    """What to call a character where its sign says too little: its Unicode name, or its number."""
    return NAMES.get(character) or unicodedata.name(character, f"U+{ord(character):04X}").lower()
