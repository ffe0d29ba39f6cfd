"""What a model expects at each place of a text: the likeliest next tokens, and how it met the one that stands there."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from charlm.config import SampleConfig
from charlm.errors import ConfigError, JobError
from charlm.generation.beam import top_tokens
from charlm.generation.sampling import NOT_FINITE, REMEMBERED, Logits, penalized_logits, probabilities
from charlm.generation.streams import Ids, banned_id, text_ids
from charlm.models import LanguageModel
from charlm.tokenizers import Tokenizer

# Of a longer text the last so many tokens are read, and fewer where they are of many kinds: places times tokens.
MOST_TOKENS, MOST_NUMBERS = 2000, 20_000_000
BLOCK = 64  # tokens read at a time, so that their logits take little memory


@dataclass(frozen=True)
class Expected:
    """A token that may come next.

    Attributes:
        token: its id.
        shown: the token as its tokenizer shows it.
        chance: the probability it is drawn with.
        raw: the model's own probability, without temperature and what comes after it.
    """

    token: int
    shown: str
    chance: float
    raw: float


@dataclass(frozen=True)
class Place:
    """A place of a text.

    Attributes:
        likeliest: what may stand here, the likeliest first.
        entropy: of the model's own probabilities, in bits.
        stands: what does stand here; None at the text's end.
        rank: its place among all tokens, from 1 on; 0 at the text's end.
    """

    likeliest: list[Expected]
    entropy: float
    stands: Expected | None = None
    rank: int = 0

    @property
    def bits(self) -> float:
        """What the token that stands here costs the model; 0 at the text's end."""
        return -math.log2(max(self.stands.raw, 1e-300)) if self.stands else 0.0


@dataclass(frozen=True)
class Outlook:
    """All places of a text.

    Attributes:
        start: how many tokens of the text stand before the first place, for it was too long to be read whole.
        pieces: what the token at each place adds to the text.
        places: one for each of them, and one for the text's end.
    """

    start: int
    pieces: list[str]
    places: list[Place]


def next_tokens(
    model: LanguageModel,
    tokenizer: Tokenizer,
    prompt: str = "",
    text: str = "",
    config: SampleConfig | None = None,
    count: int = 12,
) -> Outlook:
    """What the model expects at each place of `text` and at its end; read in one go.

    Args:
        model: put into evaluation mode.
        tokenizer: the model's own.
        prompt: stands before the text.
        text: whose places are looked at; what the model does not know is skipped.
        config: how it would be drawn; of a beam search only the penalty has a say.
        count: tokens kept of each place.

    Raises:
        JobError: the model's numbers grew beyond all bounds.
    """
    config = config or SampleConfig()
    if config.beams > 1:
        config = replace(config, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, greedy=False)
    before, ids = text_ids(tokenizer, prompt, text)
    most = max(1, min(MOST_TOKENS, MOST_NUMBERS // tokenizer.vocab_size))
    whole = np.concatenate([before, ids])
    cut = max(0, len(whole) - most)
    start = max(0, cut + 1 - len(before))
    banned, places = banned_id(tokenizer, config), []
    for place, logits in enumerate(_logits(model, whole[cut:]), cut + 1):
        if place >= len(before) + start:
            how = config, whole[max(0, place - REMEMBERED) : place].tolist(), banned
            chances, scores = probabilities(logits, *how), penalized_logits(logits, *how)
            stands = int(whole[place]) if place < len(whole) else None
            places.append(_Chances(tokenizer.tokens, logits, scores, chances).place(stands, count))
    return Outlook(start, list(map(tokenizer.speller(prompt).take, ids.tolist()))[start:], places)


def with_token(tokenizer: Tokenizer, prompt: str, text: str, place: int, token: int) -> tuple[str, int]:
    """Put another token at a place of a text that a model wrote after a prompt; what stands after it is cut off.

    Args:
        tokenizer: the model's.
        prompt, text: as they are.
        place: from 0 on; as many as the text has tokens is its end.
        token: the id.

    Returns:
        The text up to the token, with it; and how many tokens were cut off after it.

    Raises:
        ConfigError: there is no such place or token.
    """
    _, ids = text_ids(tokenizer, prompt, text)
    if not 0 <= place <= len(ids):
        raise ConfigError(f"place {place:,} is not in a text of {len(ids):,} tokens")
    if not 0 <= token < tokenizer.vocab_size:
        raise ConfigError(f"token {token:,} is none of the model's {tokenizer.vocab_size:,}")
    spelled = map(tokenizer.speller(prompt).take, [*ids[:place].tolist(), token])
    return "".join(spelled), max(0, len(ids) - place - 1)


@torch.no_grad()
def _logits(model: LanguageModel, ids: Ids) -> Iterator[Logits]:
    """Logits (V,) after each of the ids."""
    state = None
    model.eval()
    for block in torch.from_numpy(ids)[None].to(model.device).split(BLOCK, dim=1):
        logits, state = model(block, state)
        rows = logits[0].double().cpu().numpy()
        if not np.isfinite(rows).all():
            raise JobError(NOT_FINITE)
        yield from rows


class _Chances:
    """What is expected at one place.

    Args:
        tokens: as they are shown, by id.
        logits: of the model, (V,).
        scores: as the choice sees them, (V,).
        chances: that it draws with, (V,).
    """

    def __init__(self, tokens: Sequence[str], logits: Logits, scores: Logits, chances: Logits) -> None:
        shifted = logits - logits.max()
        logs = shifted - np.log(np.exp(shifted).sum())
        self._tokens, self._scores, self._chances, self._raw = tokens, scores, chances, np.exp(logs)
        self._entropy = float(-(self._raw * logs).sum() / math.log(2))

    def place(self, stands: int | None, count: int) -> Place:
        """The place, with the token that stands there and so many others."""
        best = [self._expected(token) for _, token in top_tokens(self._scores[None], count)]
        if stands is None:
            return Place(best, self._entropy)
        own, scores = self._scores[stands], self._scores
        rank = 1 + int((scores > own).sum() + (scores[:stands] == own).sum())
        return Place(best, self._entropy, self._expected(stands), rank)

    def _expected(self, token: int) -> Expected:
        return Expected(token, self._tokens[token], float(self._chances[token]), float(self._raw[token]))
