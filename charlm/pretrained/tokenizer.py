"""A pretrained model's own tokenizer, as texts in the making know tokenizers."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from charlm.tokenizers.base import END, IdArray, Tokenizer, without_halves
from charlm.tokenizers.subwords import ends_with_space

REPLACEMENT = "\ufffd"  # what decoding makes of an incomplete character
MOST_HELD = 4  # tokens until what is no character is passed on: UTF-8 has no longer ones
CONTEXT = 8  # tokens before one on which its spelling may depend


class PretrainedTokenizer(Tokenizer):
    """A fast tokenizer of the package transformers; what is a special token to it stays plain text in a text.

    Args:
        engine: transformers' own object.
        begin: the id that it reads before a text.
        end_id: what ends a text when it is drawn; None: nothing does.
        vocab_size: of the model, which may have more ids than the tokenizer; those are never written.
    """

    level: ClassVar[str] = "pretrained"

    def __init__(self, engine: Any, begin: int, end_id: int | None, vocab_size: int) -> None:
        self.engine, self.begin, self._vocab_size = engine, begin, vocab_size
        self.begin_id, self.end_id = begin, end_id
        special = {begin, *engine.all_special_ids, *range(len(engine), vocab_size)} - {end_id}
        self.silent_ids = sorted(special)

    @property
    def vocab_size(self) -> int:
        """The number of ids that the model has logits for."""
        return self._vocab_size

    def encode_blocks(
        self, text: str, skip_unknown: bool = False, start: int = 0, end: int | None = None
    ) -> Iterator[IdArray]:
        """See Tokenizer; all in one block, since a tokenizer of any kind may join what is anywhere.

        Args:
            text: the whole text.
            skip_unknown: without effect.
            start: where the part begins, in characters.
            end: where it ends; None: at the end of the text.
        """
        part = without_halves(text[start:end])
        yield np.array(self.engine(part, add_special_tokens=False, split_special_tokens=True)["input_ids"], np.int64)

    def read(self, prompt: str) -> IdArray:
        """See Tokenizer; a space at the end is left out, because the next token begins with one."""
        return self.encode(prompt[:-1] if ends_with_space(prompt) else prompt)

    def unknown(self, text: str) -> list[str]:
        """See Tokenizer; it is not known here."""
        return []

    def spelled(self, ids: Sequence[int]) -> str:
        """The text of ids, as it is."""
        text: str = self.engine.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def speller(self, before: str = "") -> "PretrainedSpeller":
        """See Tokenizer."""
        return PretrainedSpeller(self, self.read(before).tolist(), ends_with_space(before))

    def to_file(self) -> bytes:
        """See Tokenizer."""
        return str(self.engine.backend_tokenizer.to_str()).encode()


class PretrainedSpeller:
    """See Speller; tokens wait until their character is complete.

    Args:
        tokenizer: whose tokens they are.
        before: the ids of the text so far; the last ones decide on spaces.
        has_space: whether the text so far ends with the space that the first token may begin with.
    """

    def __init__(self, tokenizer: PretrainedTokenizer, before: Sequence[int], has_space: bool) -> None:
        self._tokenizer, self._has_space = tokenizer, has_space
        self._keep(list(before))

    def _keep(self, ids: list[int]) -> None:
        self._ids, self._held = ids[-CONTEXT:], 0
        self._told = len(self._tokenizer.spelled(self._ids))

    def take(self, chosen: int) -> str:
        """See Speller."""
        if chosen == self._tokenizer.end_id:
            return END
        self._ids.append(chosen)
        self._held += 1
        text = self._tokenizer.spelled(self._ids)
        if text.endswith(REPLACEMENT) and self._held < MOST_HELD:
            return ""
        piece = text[self._told :]
        self._keep(self._ids)
        if piece and self._has_space:
            self._has_space = False
            return piece.removeprefix(" ")
        return piece
