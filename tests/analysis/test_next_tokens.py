"""What a model expects at each place of a text: the choice's own chances, place by place."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from charlm.analysis import next_tokens as module
from charlm.analysis.next_tokens import next_tokens, with_token
from charlm.architectures import ARCHS
from charlm.config import ModelConfig, SampleConfig
from charlm.errors import ConfigError, JobError
from charlm.generation import generate, probabilities
from charlm.models import LanguageModel, build_model
from charlm.tokenizers import BPETokenizer, CharTokenizer, WordTokenizer

TOKENIZER = CharTokenizer.fit("abcdefgh \n")
Pair = tuple[LanguageModel, CharTokenizer]


def built(arch: str = "lstm") -> Pair:
    return build_model(ModelConfig(arch=arch, vocab_size=10, hidden_size=16, init="torch"), 4), TOKENIZER


def logits_after(pair: Pair, text: str) -> np.ndarray:
    with torch.no_grad():
        return pair[0](torch.from_numpy(TOKENIZER.encode(text)).long()[None])[0][0, -1].double().numpy()


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("how", [{}, {"top_k": 3}, {"repetition_penalty": 2.0, "min_p": 0.1}, {"greedy": True}])
def test_every_place_has_the_chances_it_was_drawn_with(arch: str, how: dict[str, Any]) -> None:
    pair, config = built(arch), SampleConfig(length=100, seed=3, **how)
    text = "".join(generate(*pair, "abc", config))
    outlook = next_tokens(*pair, "abc", text, config, count=10)
    assert outlook.start == 0 and "".join(outlook.pieces) == text and len(outlook.places) == 101
    for at in (0, 1, 63, 64, 99, 100):
        before = "abc" + text[:at]
        logits = logits_after(pair, before)
        chances = probabilities(logits, config, TOKENIZER.encode(before).tolist())
        place, raw = outlook.places[at], np.exp(logits) / np.exp(logits).sum()
        assert {one.token: one.chance for one in place.likeliest} == pytest.approx(dict(enumerate(chances)), abs=1e-5)
        assert {one.token: one.raw for one in place.likeliest} == pytest.approx(dict(enumerate(raw)), abs=1e-5)
        assert place.entropy == pytest.approx(-(raw * np.log2(raw)).sum(), abs=1e-4)
        if at < 100:
            stands = TOKENIZER.encode(text[at])[0]
            assert place.stands and place.stands.token == stands == place.likeliest[place.rank - 1].token
            assert place.bits == pytest.approx(-math.log2(raw[stands]), abs=1e-3)
    assert outlook.places[100].stands is None and outlook.places[100].rank == 0 and outlook.places[100].bits == 0


def test_a_long_text_is_looked_at_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = built()
    monkeypatch.setattr(module, "MOST_TOKENS", 8)
    for prompt, text, start in (("abcd", "efg", 0), ("abcd", "efgh", 0), ("abcd", "efgha", 0), ("abcd", "efghab", 0),
                                ("a", "bcdefgh", 0), ("a", "bcdefgha", 1), ("", "abcdefghabc", 4)):  # fmt: skip
        outlook = next_tokens(*pair, prompt, text)
        assert outlook.start == start and len(outlook.places) == len(text) - start + 1
        assert "".join(outlook.pieces) == text[start:]
        assert outlook.places[-1].likeliest == next_tokens(*pair, (prompt + text)[-8:]).places[-1].likeliest
    monkeypatch.setattr(module, "MOST_NUMBERS", 50)
    assert len(next_tokens(*pair, "abc", "defgh").places) == 5


def test_what_may_not_be_written_has_no_chance_and_an_empty_text_an_outlook() -> None:
    model, tokenizer = built()[0], CharTokenizer(TOKENIZER.tokens)
    tokenizer.unk_id = 4  # type: ignore[attr-defined]
    place = next_tokens(model, tokenizer, "", tokenizer.tokens[4]).places[0]
    assert place.stands and place.stands.chance == 0 < place.stands.raw and place.rank == 10
    assert 4 not in [one.token for one in place.likeliest]
    [only] = next_tokens(model, tokenizer, "ß", "").places
    assert len(only.likeliest) == 9


def test_a_search_sees_the_models_own_chances() -> None:
    config = SampleConfig(beams=4, temperature=5.0, top_k=1)
    place = next_tokens(*built(), "ab", "", config).places[0]
    assert all(one.chance == pytest.approx(one.raw) for one in place.likeliest)


def test_numbers_beyond_all_bounds_are_said() -> None:
    model, tokenizer = built()
    with torch.no_grad():
        model.get_parameter("fc.bias")[0] = torch.nan
    with pytest.raises(JobError, match="beyond all numbers"):
        next_tokens(model, tokenizer, "a")


def test_another_token_cuts_off_what_stood_after_it() -> None:
    assert with_token(TOKENIZER, "ab", "cdef", 1, TOKENIZER.tokens.index("h")) == ("ch", 2)
    assert with_token(TOKENIZER, "", "cdef", 0, TOKENIZER.tokens.index("\n")) == ("\n", 3)
    assert with_token(TOKENIZER, "ab", "cd", 2, TOKENIZER.tokens.index("h")) == ("cdh", 0)
    for place, token, said in ((5, 0, "place 5 is not in a text of 4"), (-1, 0, "place -1"), (0, 10, "token 10"),
                               (0, -1, "token -1")):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            with_token(TOKENIZER, "ab", "cdef", place, token)


def test_words_and_subwords_are_looked_at_as_they_were_written() -> None:
    story = "a cat sat on the mat and the dog ran to the old red barn by the mill " * 30
    for tokenizer in (WordTokenizer.fit(story, "cased"), BPETokenizer.fit(story, 280)):
        config = ModelConfig(level=tokenizer.level, vocab_size=tokenizer.vocab_size, hidden_size=8, embed_dim=4)
        model = build_model(config, 2)
        if tokenizer.level == "bpe":
            with torch.no_grad():  # whole words only: bytes at random are no text
                model.get_parameter("fc.bias")[:256] = -50.0
        text = "".join(generate(model, tokenizer, "the cat", SampleConfig(length=20, seed=3)))
        outlook = next_tokens(model, tokenizer, "the cat", text)
        assert "".join(outlook.pieces) == text and len(outlook.places) == len(outlook.pieces) + 1
        assert all(place.stands and place.stands.shown for place in outlook.places[:-1])
        changed, left = with_token(tokenizer, "the cat", text, 2, tokenizer.vocab_size - 1)
        assert changed.startswith("".join(outlook.pieces[:2])) and left == len(outlook.pieces) - 3
        assert tokenizer.unk_id is None or "<unk>" not in text
