"""Next-token probabilities at each place of a text: the most likely tokens, and how the one that is there ranks."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch

from charlm.config import SampleConfig
from charlm.errors import ConfigError, JobError
from charlm.generation.beam import top_tokens
from charlm.generation.sampling import NOT_FINITE, REMEMBERED, Logits, penalized_logits, probabilities
from charlm.generation.streams import Ids, banned_ids, text_ids
from charlm.models import LanguageModel
from charlm.tokenizers import Tokenizer

# Of a longer text only the last tokens are read, fewer with a large vocabulary: at most so many places times tokens.
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
        likeliest: the tokens that may come here, the most likely first.
        entropy: of the model's own probabilities, in bits.
        stands: the token that is here; None at the text's end.
        rank: of that among all tokens, from 1 on; 0 at the text's end.
    """

    likeliest: list[Expected]
    entropy: float
    stands: Expected | None = None
    rank: int = 0

    @property
    def bits(self) -> float:
        """The loss of the token that is here; 0 at the text's end."""
        return -math.log2(max(self.stands.raw, 1e-300)) if self.stands else 0.0


@dataclass(frozen=True)
class Outlook:
    """All places of a text.

    Attributes:
        start: how many tokens of the text are before the first place, where it was too long to be read whole.
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
    """What the model expects at each place of `text` and at its end, from one pass over it.

    Args:
        model: put into evaluation mode.
        tokenizer: the model's own.
        prompt: what is before the text.
        text: the places are in this; what the model does not know is skipped.
        config: of the sampling; of a beam search only the penalty counts.
        count: tokens kept of each place.

    Raises:
        JobError: the logits are no finite numbers.
    """
    config = config or SampleConfig()
    if config.beams > 1:
        config = replace(config, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, greedy=False)
    before, ids = text_ids(tokenizer, prompt, text)
    most = max(1, min(MOST_TOKENS, MOST_NUMBERS // tokenizer.vocab_size))
    whole = np.concatenate([before, ids])
    cut = max(0, len(whole) - most)
    start = max(0, cut + 1 - len(before))
    banned, places = banned_ids(tokenizer, config), []
    borders = whole[cut + 1 :] == (-1 if tokenizer.border is None else tokenizer.border)
    items = np.split(whole[cut:], np.flatnonzero(borders) + 1)  # each begins from nothing
    for place, logits in enumerate(chain.from_iterable(_logits(model, item) for item in items), cut + 1):
        if place >= len(before) + start:
            how = config, whole[max(0, place - REMEMBERED) : place].tolist(), banned
            choice = penalized_logits(logits, *how), probabilities(logits, *how)
            stands = int(whole[place]) if place < len(whole) else None
            places.append(_place(tokenizer.tokens, logits, choice, stands, count))
    return Outlook(start, list(map(tokenizer.speller(prompt).take, ids.tolist()))[start:], places)


def with_token(tokenizer: Tokenizer, prompt: str, text: str, place: int, token: int) -> tuple[str, int]:
    """Put another token at a place of a text that a model wrote after a prompt; what follows it is cut off.

    Args:
        tokenizer: the model's.
        prompt, text: as they are.
        place: from 0 on; the text's number of tokens is its end.
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
    for block in torch.split(torch.from_numpy(ids)[None].to(model.device), BLOCK, dim=1):
        logits, state = model(block, state)
        rows = logits[0].double().cpu().numpy()
        if not np.isfinite(rows).all():
            raise JobError(NOT_FINITE)
        yield from rows


def _place(
    shown: Sequence[str], logits: Logits, choice: tuple[Logits, Logits], stands: int | None, count: int
) -> Place:
    """A place of the text.

    Args:
        shown: tokens as they are shown, by id.
        logits: of the model, (V,).
        choice: the scores that the sampling sees, (V,), and the probabilities it draws with, (V,).
        stands: the token that is there.
        count: tokens kept.
    """
    scores, chances = choice
    shifted = logits - logits.max()
    logs = shifted - np.log(np.exp(shifted).sum())
    raw = np.exp(logs)

    def expected(token: int) -> Expected:
        return Expected(token, shown[token], float(chances[token]), float(raw[token]))

    best = [expected(token) for _, token in top_tokens(scores[None], count)]
    entropy = float(-(raw * logs).sum() / math.log(2))
    if stands is None:
        return Place(best, entropy)
    rank = 1 + int((scores > scores[stands]).sum() + (scores[:stands] == scores[stands]).sum())
    return Place(best, entropy, expected(stands), rank)
