"""Duels: the same numbers for all models, so that a model with itself never parts, and only by what they expect."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from charlm.config import SampleConfig
from charlm.errors import ConfigError
from charlm.generation import decoder_for, generate_many, probabilities
from charlm.generation.streams import prompt_ids
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import GeneratedText, Serving
from tests.tiny_runs import trained

PROMPT = "The "
DRAWS = 3000
SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.3},
    {"temperature": 2.0},
    {"top_k": 3},
    {"top_p": 0.6, "temperature": 1.4},
    {"min_p": 0.2},
    {"repetition_penalty": 1.6},
    {"top_k": 9, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.2, "samples": 3},
    {"greedy": True},
    {"beams": 2},
]


def written(store: RunStore, runs: list[Run], config: SampleConfig, **more: Any) -> list[GeneratedText]:
    """The texts of these runs, in their order."""
    last = list(Serving(store).compare(runs, PROMPT, config, **more))[-1]
    return [last[run.run_id] for run in runs]


@pytest.mark.parametrize("arch", ["lstm", "gru", "mingru", "transformer", "ngram"])
def test_a_duel_of_a_model_with_itself_never_parts(store: RunStore, arch: str) -> None:
    [one], [same] = (trained(store, arch, steps=4, label=label) for label in ("one", "same"))
    for how in SETTINGS:
        config = SampleConfig(length=60, seed=5, duel=True, **how)
        mine, theirs = written(store, [one, same], config)
        assert [text.text for text in mine.samples] == [text.text for text in theirs.samples], how
        assert len(mine.text) == 60
    usual = SampleConfig(length=60, seed=5)
    alone, _ = written(store, [one, same], usual)
    duelling, _ = written(store, [one, same], replace(usual, duel=True))
    assert alone.text == duelling.text  # the numbers are those of every text of this seed


def test_go_on_continues_a_duel(store: RunStore) -> None:
    [one], [same] = (trained(store, "lstm", steps=4, label=label) for label in ("one", "same"))
    config = SampleConfig(length=30, seed=5, temperature=1.5, duel=True)
    texts = [text.text for text in written(store, [one, same], config)]
    begun = {run.run_id: [GeneratedText(PROMPT, text)] for run, text in zip([one, same], texts, strict=True)}
    on = written(store, [one, same], config, starts=begun)
    whole = written(store, [one], replace(config, length=60))
    assert [text.text for text in on] == [whole[0].text] * 2


def test_models_of_other_tokens_cannot_duel(store: RunStore) -> None:
    [letters, again] = trained(store, "lstm", "gru", steps=2)
    [words] = trained(store, "lstm", steps=2, level="word", label="my words")
    duel = SampleConfig(length=5, duel=True)
    with pytest.raises(ConfigError, match="my words differs from"):
        next(Serving(store).compare([letters, again, words], "", duel))
    assert len(written(store, [letters, again], duel)) == 2
    assert len(written(store, [letters, again, words], replace(duel, duel=False))) == 3


def expected(run: Run, config: SampleConfig) -> np.ndarray:
    """The probabilities of the first token, (V,), read off the model itself."""
    tokenizer, decoder = run.tokenizer(), decoder_for(run.load_model())
    ids = prompt_ids(tokenizer, PROMPT)
    logits, _ = decoder.read(ids[None], decoder.initial_state())
    return probabilities(logits[0], config, ids.tolist())


def first_tokens(run: Run, config: SampleConfig) -> np.ndarray:
    """What it writes first with each of many seeds, as ids."""
    tokenizer = run.tokenizer()
    texts = generate_many(run.load_model(), tokenizer, [PROMPT] * DRAWS, config)
    return np.array([tokenizer.tokens.index(text) for text in texts])


def chi_square_z(found: list[int], wanted: list[float]) -> float:
    """Pearson's statistic as a standard normal number (Wilson and Hilferty 1931)."""
    free = len(found) - 1
    statistic = sum((one - other) ** 2 / other for one, other in zip(found, wanted, strict=True))
    return float(((statistic / free) ** (1 / 3) - 1 + 2 / (9 * free)) / math.sqrt(2 / (9 * free)))


@pytest.mark.parametrize("how", [{}, {"temperature": 0.6, "repetition_penalty": 1.5}, {"top_k": 6}, {"min_p": 0.3}])
def test_the_draws_have_the_models_distribution(store: RunStore, how: dict[str, Any]) -> None:
    runs = trained(store, "lstm", "gru", steps=40)
    config = SampleConfig(length=1, seed=1000, duel=True, **{"temperature": 1.0, **how})
    cumulative, drawn = [], []
    for run in runs:
        shares, ids = expected(run, config), first_tokens(run, config)
        counts = np.bincount(ids, minlength=len(shares))
        assert not counts[shares == 0].any()
        likely = shares * DRAWS >= 5  # the others are counted as one
        found = [*counts[likely], counts[~likely].sum()]
        wanted = [*(shares[likely] * DRAWS), shares[~likely].sum() * DRAWS]
        kept = [place for place, one in enumerate(wanted) if one > 0]
        assert len(kept) > 2 and chi_square_z([found[at] for at in kept], [wanted[at] for at in kept]) < 3.1  # 0.001
        cumulative.append(np.concatenate([[0.0], np.cumsum(shares)]))
        drawn.append(ids)
    # Both choose the same token where u falls into its interval in both.
    one, other = cumulative
    agree = (np.minimum(one[1:], other[1:]) - np.maximum(one[:-1], other[:-1])).clip(0).sum()
    same = int((drawn[0] == drawn[1]).sum())
    assert 0.02 < agree < 0.999 and abs(same - agree * DRAWS) < 3.3 * math.sqrt(DRAWS * agree * (1 - agree))  # 0.001
