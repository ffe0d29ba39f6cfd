"""A text cut down to the characters that a model knows, so that it can be trained on further."""

from dataclasses import replace

from charlm.corpus import Corpus, text_sha256
from charlm.errors import CorpusError
from charlm.tokenizer import CharTokenizer

LEAST_SHARE = 0.5  # of a text that a model must know: with less, what is left is no text any more
NAMED = 12  # unknown characters that are named


def known_part(corpus: Corpus, tokenizer: CharTokenizer) -> Corpus:
    """The text without the characters that the tokenizer does not know; what was left out is among its repairs.

    Raises:
        CorpusError: less than half of it is left, or no two different characters.
    """
    unknown = tokenizer.unknown(corpus.text)
    if not unknown:
        return corpus
    text = corpus.text.translate({ord(character): None for character in unknown})
    left_out = len(corpus.text) - len(text)
    said = f"{left_out:,} of {len(corpus.text):,} characters left out, which the model does not know: {_named(unknown)}"
    if len(text) < LEAST_SHARE * len(corpus.text) or len(set(text[:4096])) < 2:
        raise CorpusError(f"too little of {corpus.name} remains: {said}; choose a text in the model's own script")
    return replace(corpus, text=text, sha256=text_sha256(text), repairs=(*corpus.repairs, said), key="")


def _named(unknown: list[str]) -> str:
    more = f" and {len(unknown) - NAMED:,} more" if len(unknown) > NAMED else ""
    return ", ".join(map(repr, unknown[:NAMED])) + more
