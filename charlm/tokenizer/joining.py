"""Words put back together as people write them: blanks, quotes, capitals."""

LINE_ENDS = ("\n", "<eos>")
# WikiText's signs for what stands between two halves of a word or number.
JOINTS = {"@-@": "-", "@,@": ",", "@.@": "."}
CLITICS = ("s", "t", "re", "ve", "ll", "d", "m")
CLOSING = frozenset(",.;:!?%)]}”’»…、。，！？；：）」』")
OPENING = frozenset("([{“‘«¿¡$£€#（「『")
QUOTES = frozenset("\"'_")  # open and close alike
TIGHT = frozenset("—/‑")
ENDS_SENTENCE = frozenset(".!?")


def is_clitic(word: str) -> bool:
    """Whether a word is what an apostrophe and letters add to another: 's, n't's 't, 'll."""
    return word[:1] in ("'", "’") and word[1:].lower() in CLITICS


class Joiner:
    """Writes words one after the other, with a blank before each that needs one.

    Args:
        capitals: whether all words are in small letters and get their capitals back: at the beginning of a sentence,
            and "I".
    """

    def __init__(self, capitals: bool) -> None:
        self._capitals = capitals
        self._last = ""
        self._is_glued = True  # what comes stands right after what is written
        self._begins = True  # a sentence does
        self._open: set[str] = set()  # quotes

    def take(self, word: str) -> str:
        """The word as it stands in the text, with the blank before it."""
        blank = "" if self._is_glued or self._clings(word) else " "
        written = self._written(word)
        self._is_glued = self._holds(word)
        self._note(word)
        self._last = word
        return blank + written

    def rest(self, before: str) -> None:
        """Stand after `before`, whose words were all taken: a blank at its end is the one before the next word."""
        self._is_glued = self._is_glued or before[-1:].isspace()

    def _closes(self, word: str) -> bool:
        """Whether a quote that opens and closes alike closes here; after an s it may be a possessive."""
        return word in self._open or (word == "'" and self._last[-1:] == "s" and not self._is_glued)

    def _clings(self, word: str) -> bool:
        """Whether no blank stands before it."""
        if word in LINE_ENDS or word in JOINTS or (word in QUOTES and self._closes(word)):
            return True
        if is_clitic(word):
            return self._last[-1:].isalnum() or self._last == "<unk>"
        return (word[:1] in CLOSING and not any(map(str.isalnum, word))) or self._is_tight(word)

    def _holds(self, word: str) -> bool:
        """Whether no blank stands after it."""
        if word in QUOTES:
            return not self._closes(word)
        return word in LINE_ENDS or word in JOINTS or word in OPENING or self._is_tight(word)

    @staticmethod
    def _is_tight(word: str) -> bool:
        return word in TIGHT or (len(word) > 1 and word.strip("-—") == "")

    def _written(self, word: str) -> str:
        if word in LINE_ENDS:
            return "\n"
        if word in JOINTS:
            return JOINTS[word]
        if self._capitals and (word == "i" or (self._begins and word[:1].isalpha())):
            return word[0].upper() + word[1:]
        return word

    def _note(self, word: str) -> None:
        """Remember what of the word decides how the next ones are written."""
        if word in LINE_ENDS:
            if self._last in LINE_ENDS:  # a new paragraph
                self._begins = True
                self._open.clear()
        elif word in QUOTES:
            if self._closes(word):
                self._open.discard(word)
                self._begins = self._begins and self._last == "."  # "Come!" said he
            else:
                self._open.add(word)
        elif len(word) == 1 and word in ENDS_SENTENCE:
            self._begins = True
        elif word not in CLOSING and word not in OPENING:
            self._begins = False
