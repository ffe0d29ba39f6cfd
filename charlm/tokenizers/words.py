"""Words to ids and back, as text that is written and spaced as people do it."""

from collections.abc import Iterator, Sequence
from typing import Any, Self

from charlm.errors import CheckpointError, ConfigError
from charlm.tokenizers.base import HuggingTokenizer, IdArray, blocks, package
from charlm.tokenizers.prompts import respelled_words

UNKNOWN, LINE_END = "<unk>", "<eos>"
LINE_ENDS = ("\n", LINE_END)
MOST_WORD = 64  # characters; a longer word is unknown, so that the file of a vocabulary is of bounded size
# WikiText's tokens for what joins two halves of a word or number.
JOINTS = {"@-@": "-", "@,@": ",", "@.@": "."}
CLITICS = ("s", "t", "re", "ve", "ll", "d", "m")
CLOSING = frozenset(",.;:!?%)]}”’»…、。，！？；：）」』")
OPENING = frozenset("([{“‘«¿¡$£€#（「『")
QUOTES = frozenset("\"'_")  # open and close alike
TIGHT = frozenset("—/‑")
ENDS_SENTENCE = frozenset(".!?")


def is_clitic(word: str) -> bool:
    """Whether a word is a clitic, an apostrophe and letters that attach to the word before: 's, 't, 'll."""
    return word[:1] in ("'", "’") and word[1:].lower() in CLITICS


class Joiner:
    """Joins words to text, with a space before each word that needs one.

    Args:
        capitals: whether all words are in lower case and get capitals at the beginning of a sentence, and "I".
    """

    def __init__(self, capitals: bool) -> None:
        self._capitals = capitals
        self._last = ""
        self._no_space = True  # after the text so far
        self._begins = True  # the next word begins a sentence
        self._open: set[str] = set()  # quotes

    def take(self, word: str) -> str:
        """The word as it is written in the text, with the space before it."""
        space = "" if self._no_space or self._joins_left(word) else " "
        written = self._written(word)
        self._no_space = self._joins_right(word)
        self._update(word)
        self._last = word
        return space + written

    def rest(self, before: str) -> None:
        """Continue after `before`, whose words were all taken: white space at its end is that of the next word."""
        self._no_space = self._no_space or before[-1:].isspace()

    def _closes(self, word: str) -> bool:
        """Whether a quote whose two forms are the same closes here; after an s it may be a possessive."""
        return word in self._open or (word == "'" and self._last[-1:] == "s" and not self._no_space)

    def _joins_left(self, word: str) -> bool:
        """Whether no space precedes the word."""
        if word in LINE_ENDS or word in JOINTS or (word in QUOTES and self._closes(word)):
            return True
        if is_clitic(word):
            return self._last[-1:].isalnum() or self._last == "<unk>"
        return (word[:1] in CLOSING and not any(map(str.isalnum, word))) or self._is_tight(word)

    def _joins_right(self, word: str) -> bool:
        """Whether no space follows the word."""
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

    def _update(self, word: str) -> None:
        """Update what decides how the next words are written."""
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


class Spacer:
    """Joins words to text as they stood between blanks: one space between two, none beside a line end."""

    def __init__(self) -> None:
        self._no_space = True  # after the text so far

    def take(self, word: str) -> str:
        """The word as it is written in the text, with the space before it."""
        if word in LINE_ENDS:
            self._no_space = True
            return "\n"
        space = "" if self._no_space else " "
        self._no_space = False
        return space + word

    def rest(self, before: str) -> None:
        """Continue after `before`, whose words were all taken: white space at its end is that of the next word."""
        self._no_space = self._no_space or before[-1:].isspace()


LETTER = r"[\p{L}\p{M}\p{N}]"
CLITIC = rf"['’](?i:s|t|re|ve|ll|d|m)(?!{LETTER})"
# Within a word: an apostrophe that begins no clitic, a hyphen, a full stop; between digits also a comma or a colon.
INNER = rf"(?:(?!{CLITIC})['’]|[-.]|(?<=\p{{N}})[,:](?=\p{{N}}))"
# One token: the unknown word, a joint of WikiText, a clitic, a word, a line ending, a run of one sign, any other sign.
TOKEN = rf"<unk>|@[-,.]@|{CLITIC}|{LETTER}+(?:{INNER}{LETTER}+)*|\n|([-.*=~!?])\1{{0,31}}|[^\s]"


class WordTokenizer(HuggingTokenizer):
    """One id for each word or sign; `<unk>`, id 0, for all that are not in the vocabulary.

    Args:
        tokens: the distinct words in the order of their ids; the first is `<unk>`.
        rule: how a text is split: `lower` and `cased` separate words, signs and line endings, the first after
            conversion to lower case; `spaces` splits at white space, with `<eos>` for a line ending. Its words come
            back with one space between them, but for WikiText's, known by its joints, which are written as people do.
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
        """The tokenizer of the words of a text.

        Args:
            text: the words are taken from it.
            rule: see the class.
            min_count: how often a word must occur.
            most: limit of the vocabulary, `<unk>` included; the rarest words are left out; 0: no limit.
            end: where the part ends that is counted, in characters.

        Raises:
            ConfigError: no word is left.
        """
        engine = _engine(rule, {UNKNOWN: 0})
        trainer = package().trainers.WordLevelTrainer(
            vocab_size=len(text) + 1, min_frequency=min_count, special_tokens=[], show_progress=False
        )
        engine.train_from_iterator(blocks(text, 0, end), trainer)
        counted = engine.get_vocab()  # by frequency, equally frequent ones alphabetically
        words = [word for word in sorted(counted, key=counted.get) if word != UNKNOWN and len(word) <= MOST_WORD]
        if not words:
            raise ConfigError(f"no word occurs {min_count} times in the training part; make min_count smaller")
        return cls([UNKNOWN, *(words[: most - 1] if most else words)], rule)

    def words(self, text: str) -> Iterator[str]:
        """The words of a text, whether they have an id or not."""
        split, normalize = self.engine.pre_tokenizer, self.engine.normalizer
        for block in blocks(text):
            normalized = normalize.normalize_str(block) if normalize else block
            yield from (word for word, _ in split.pre_tokenize_str(normalized))

    def typed(self, prompt: str) -> Iterator[str]:
        """The words of a prompt; by `spaces`, signs are split off an unknown word, as people type none before them."""
        split = _pre_tokenizer("cased")
        for word in self.words(prompt):
            if self.rule == "spaces" and word not in self._known and word != LINE_END:
                yield from (part for part, _ in split.pre_tokenize_str(word))
            else:
                yield word

    def read(self, prompt: str) -> IdArray:
        """See Tokenizer and `typed`."""
        prompt, _ = self.spell(prompt)
        return self.encode(" ".join(self.typed(prompt))) if self.rule == "spaces" else self.encode(prompt)

    def spell(self, prompt: str) -> tuple[str, dict[str, str]]:
        """See Tokenizer."""
        return respelled_words(prompt, self.unknown)

    def unknown(self, text: str) -> list[str]:
        """See Tokenizer and `typed`."""
        return list(dict.fromkeys(word for word in self.typed(text) if word not in self._known))

    def speller(self, before: str = "") -> "WordSpeller":
        """See Tokenizer."""
        is_exact = self.rule == "spaces" and self._known.isdisjoint(JOINTS)
        joiner = Spacer() if is_exact else Joiner(capitals=self.rule == "lower")
        for word in self.words(before):
            joiner.take(word)
        joiner.rest(before)
        return WordSpeller(self.tokens, joiner)


class WordSpeller:
    """See Speller.

    Args:
        tokens: the words in the order of their ids.
        joiner: has taken the text so far.
    """

    def __init__(self, tokens: Sequence[str], joiner: Joiner | Spacer) -> None:
        self._tokens, self._joiner = tokens, joiner

    def take(self, chosen: int) -> str:
        """See Speller."""
        return self._joiner.take(self._tokens[chosen])


def _pre_tokenizer(rule: str) -> Any:
    """The pre-tokenizer that splits a text into words."""
    pre_tokenizers = package().pre_tokenizers
    if rule == "spaces":
        return pre_tokenizers.WhitespaceSplit()
    return pre_tokenizers.Split(package().Regex(TOKEN), "removed", invert=True)


def _engine(rule: str, ids: dict[str, int]) -> Any:
    """The tokenizer of the package for a rule and a vocabulary."""
    tokenizers = package()
    engine = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token=UNKNOWN))
    engine.pre_tokenizer = _pre_tokenizer(rule)
    if rule == "spaces":
        engine.normalizer = tokenizers.normalizers.Replace("\n", f" {LINE_END} ")
    elif rule == "lower":
        engine.normalizer = tokenizers.normalizers.Lowercase()
    return engine
