"""Words to ids and back."""

from collections.abc import Iterator, Sequence
from typing import Any, Self

from charlm.errors import CheckpointError, ConfigError
from charlm.tokenizers.base import HuggingTokenizer, IdArray, blocks, package

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


UNKNOWN, LINE_END = "<unk>", "<eos>"
# A longer word is unknown: it is no word, and the file of a vocabulary has an end.
MOST_WORD = 64
LETTER = r"[\p{L}\p{M}\p{N}]"
CLITIC = rf"['’](?i:s|t|re|ve|ll|d|m)(?!{LETTER})"
# Within a word: an apostrophe that begins no clitic, a hyphen, a full stop; and between digits what they are parted by.
INNER = rf"(?:(?!{CLITIC})['’]|[-.]|(?<=\p{{N}})[,:](?=\p{{N}}))"
# A word, or what is none: the unknown, WikiText's joints, a clitic, a line end, a row of the same sign, one sign.
APART = rf"<unk>|@[-,.]@|{CLITIC}|{LETTER}+(?:{INNER}{LETTER}+)*|\n|([-.*=~!?])\1{{0,31}}|[^\s]"
RULES = ("lower", "cased", "spaces")


class WordTokenizer(HuggingTokenizer):
    """One id a word or sign; `<unk>`, id 0, for all that are not in the vocabulary.

    Args:
        tokens: the distinct words; their positions are their ids, the first is `<unk>`.
        rule: where a text is cut: `lower` and `cased` keep signs and line ends apart from words, the first after
            turning capitals into small letters; `spaces` takes what stands between blanks, and `<eos>` for a line end.
    """

    level = "word"
    unk_id = 0

    def __init__(self, tokens: Sequence[str], rule: str) -> None:
        self.tokens, self.rule = list(tokens), rule
        ids = {token: place for place, token in enumerate(self.tokens)}
        if len(ids) < len(self.tokens) or self.tokens[:1] != [UNKNOWN]:
            raise CheckpointError(f"a word tokenizer needs distinct words, the first of them {UNKNOWN}")
        if not all(0 < len(token) <= MOST_WORD for token in self.tokens):
            raise CheckpointError(f"a word tokenizer has words of 1 to {MOST_WORD} characters")
        self._known = frozenset(self.tokens)
        super().__init__(_engine(rule, ids))

    @classmethod
    def fit(cls, text: str, rule: str, min_count: int = 1, most: int = 0, end: int | None = None) -> Self:
        """The tokenizer of a text's words.

        Args:
            text: with the words.
            rule: see the class.
            min_count: how often a word must occur.
            most: tokens of the vocabulary, `<unk>` included, rarer ones left out; 0: no limit.
            end: where the part ends that is counted.

        Raises:
            ConfigError: no word is left.
        """
        engine = _engine(rule, {UNKNOWN: 0})
        trainer = package().trainers.WordLevelTrainer(
            vocab_size=len(text) + 1, min_frequency=min_count, special_tokens=[], show_progress=False
        )
        engine.train_from_iterator(blocks(text, 0, end), trainer)
        counted = engine.get_vocab()  # numbered from the most frequent on, equally frequent ones by the alphabet
        words = [word for word in sorted(counted, key=counted.get) if word != UNKNOWN and len(word) <= MOST_WORD]
        if not words:
            raise ConfigError(f"no word occurs {min_count} times in the training part; make min_count smaller")
        return cls([UNKNOWN, *(words[: most - 1] if most else words)], rule)

    def words(self, text: str) -> Iterator[str]:
        """The words of a text, whether they have an id or not."""
        cut, change = self.engine.pre_tokenizer, self.engine.normalizer
        for block in blocks(text):
            yield from (word for word, _ in cut.pre_tokenize_str(change.normalize_str(block) if change else block))

    def typed(self, prompt: str) -> Iterator[str]:
        """The words of a prompt; by `spaces`, signs are taken off an unknown one, as people type them at it."""
        apart = _cut("cased")
        for word in self.words(prompt):
            if self.rule == "spaces" and word not in self._known and word != LINE_END:
                yield from (part for part, _ in apart.pre_tokenize_str(word))
            else:
                yield word

    def read(self, prompt: str) -> IdArray:
        """See Tokenizer and `typed`."""
        return self.encode(" ".join(self.typed(prompt))) if self.rule == "spaces" else self.encode(prompt)

    def unknown(self, text: str) -> list[str]:
        """See Tokenizer and `typed`."""
        return list(dict.fromkeys(word for word in self.typed(text) if word not in self._known))

    def speller(self, before: str = "") -> "WordSpeller":
        """See Tokenizer."""
        joiner = Joiner(capitals=self.rule == "lower")
        for word in self.words(before):
            joiner.take(word)
        joiner.rest(before)
        return WordSpeller(self.tokens, joiner)


class WordSpeller:
    """Writes a text on, a word at a time.

    Args:
        tokens: in the order of their ids.
        joiner: stands at the end of what is written.
    """

    def __init__(self, tokens: Sequence[str], joiner: Joiner) -> None:
        self._tokens, self._joiner = tokens, joiner

    def take(self, chosen: int) -> str:
        """See Speller."""
        return self._joiner.take(self._tokens[chosen])


def _cut(rule: str) -> Any:
    """What cuts a text into words."""
    pre_tokenizers = package().pre_tokenizers
    if rule == "spaces":
        return pre_tokenizers.WhitespaceSplit()
    return pre_tokenizers.Split(package().Regex(APART), "removed", invert=True)


def _engine(rule: str, ids: dict[str, int]) -> Any:
    """The package's tokenizer of a rule and a vocabulary."""
    tokenizers = package()
    engine = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token=UNKNOWN))
    engine.pre_tokenizer = _cut(rule)
    if rule == "spaces":
        engine.normalizer = tokenizers.normalizers.Replace("\n", f" {LINE_END} ")
    elif rule == "lower":
        engine.normalizer = tokenizers.normalizers.Lowercase()
    return engine
