"""What a model knows of a text that it is to be trained on further."""

from dataclasses import replace

from charlm.corpus import Corpus, text_sha256
from charlm.errors import CorpusError
from charlm.tokenizer import Tokenizer

LEAST_SHARE = 0.5  # of a text that a model must know: with less, what is left is no text any more
NAMED = 12  # unknown characters that are named


def known_part(corpus: Corpus, tokenizer: Tokenizer) -> Corpus:
    """The text without the characters that the tokenizer does not know; what was left out is among its repairs.

    Of words and subwords nothing is left out: what is not in the vocabulary is read as `<unk>`, which is said likewise.

    Raises:
        CorpusError: less than half of it is left or known, or no two different characters.
    """
    if tokenizer.level != "char":
        return _with_unknown(corpus, tokenizer)
    unknown = tokenizer.unknown(corpus.text)
    if not unknown:
        return corpus
    text = corpus.text.translate({ord(character): None for character in unknown})
    left_out = len(corpus.text) - len(text)
    said = f"{left_out:,} of {len(corpus.text):,} characters left out, which the model does not know: {_named(unknown)}"
    if len(text) < LEAST_SHARE * len(corpus.text) or len(set(text[:4096])) < 2:
        raise CorpusError(f"too little of {corpus.name} remains: {said}; choose a text in the model's own script")
    return replace(corpus, text=text, sha256=text_sha256(text), repairs=(*corpus.repairs, said), key="")


def _with_unknown(corpus: Corpus, tokenizer: Tokenizer) -> Corpus:
    """The same text; how much of it the model reads as unknown is among its repairs."""
    if tokenizer.unk_id is None:
        return corpus
    ids = tokenizer.encode(corpus.text)
    unknown = int((ids == tokenizer.unk_id).sum())
    said = f"{unknown:,} of {len(ids):,} words are not in the model's vocabulary and read as <unk>"
    if unknown > LEAST_SHARE * len(ids):
        raise CorpusError(f"too little of {corpus.name} is known: {said}; choose a text more like the model's own")
    return replace(corpus, repairs=(*corpus.repairs, said)) if unknown else corpus


def _named(unknown: list[str]) -> str:
    more = f" and {len(unknown) - NAMED:,} more" if len(unknown) > NAMED else ""
    return ", ".join(map(repr, unknown[:NAMED])) + more
