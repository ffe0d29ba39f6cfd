"""Beam search: the likeliest text, the same in whatever portions it is computed, and told as soon as it is certain."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from charlm.architectures import ARCHS
from charlm.config import ModelConfig, SampleConfig
from charlm.errors import JobError
from charlm.generation import Stream, decoder_for, generate, generate_many
from charlm.generation.beam import top_tokens
from charlm.generation.generate import TorchDecoder
from charlm.generation.sampling import penalized_logits
from charlm.models import LanguageModel, build_model
from charlm.models.ngram import NGramModel
from charlm.runs.store import RunStore
from charlm.tokenizers import CharTokenizer


def built(letters: str, arch: str = "lstm", seed: int = 5) -> tuple[LanguageModel, CharTokenizer]:
    tokenizer = CharTokenizer.fit(letters)
    config = ModelConfig(arch=arch, vocab_size=len(letters), hidden_size=16, num_layers=2, init="torch", counted=200)
    model = build_model(config, seed)
    if isinstance(model, NGramModel):
        model.count(np.random.default_rng(seed).integers(0, len(letters), 200).astype(np.uint8))
        return model, tokenizer
    with torch.no_grad():
        model.get_parameter("fc.weight").mul_(40.0)
    return model, tokenizer


def score(model: LanguageModel, tokenizer: CharTokenizer, prompt: str, text: str, config: SampleConfig) -> float:
    """The log-probability of a text after a prompt, by the forward pass."""
    ids = tokenizer.encode(prompt + text).astype(np.int64)
    with torch.no_grad():
        logits = model.eval()(torch.from_numpy(ids)[None])[0][0].double().numpy()
    total = 0.0
    for place in range(len(prompt), len(ids)):
        scores = penalized_logits(logits[place - 1], config, ids[:place].tolist())
        total += scores[ids[place]] - np.log(np.exp(scores - scores.max()).sum()) - scores.max()
    return total


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(("letters", "length"), [("ab", 4), ("abcdefgh", 2)])
@pytest.mark.parametrize("how", [{}, {"repetition_penalty": 1.5}])
def test_with_beams_for_all_it_finds_the_likeliest(arch: str, letters: str, length: int, how: dict[str, float]) -> None:
    model, tokenizer = built(letters, arch)
    config = SampleConfig(length=length, beams=8, **how)  # type: ignore[arg-type]
    texts = ["".join(text) for text in itertools.product(letters, repeat=length)]
    expected = max(texts, key=lambda text: score(model, tokenizer, "ab", text, config))
    assert "".join(generate(model, tokenizer, "ab", config)) == expected


@pytest.mark.parametrize("seed", range(5))
def test_of_different_lengths_the_mean_decides(seed: int) -> None:
    model, tokenizer = built("ab", seed=seed)
    config = SampleConfig(length=3, beams=8, stop=("a",))
    texts = {"": "a", "b": "ba", "bb": "bba", "bbb": "bbb"}
    best = max(texts, key=lambda shown: score(model, tokenizer, "b", texts[shown], config) / len(texts[shown]))
    assert "".join(generate(model, tokenizer, "b", config)) == best


def pieces_of(writer: Any, stream: Stream, steps: int) -> list[str]:
    """What a stream tells, turn by turn."""
    told = []
    while not stream.done:
        told += writer.decode([stream], steps)
    return told


def test_portions_and_reader_do_not_matter() -> None:
    model, tokenizer = built("abcdefgh \n")
    texts = set()
    for writer in (decoder_for(model), TorchDecoder(model)):
        for steps in (1, 7, 64):
            stream = Stream.start(tokenizer, "fed gab " * 9, SampleConfig(length=100, beams=4))
            texts.add("".join(pieces_of(writer, stream, steps)))
    assert len(texts) == 1 and len(texts.pop()) == 100


def test_a_trained_model_tells_what_is_certain_on_the_way() -> None:
    run = RunStore().get("sherlock-rnn")
    stream = Stream.start(run.tokenizer(), "Holmes", SampleConfig(length=120, beams=4))
    told = pieces_of(decoder_for(run.load_model()), stream, 10)
    assert len("".join(told)) == 120 and sum(map(bool, told)) > 8


def test_it_ignores_what_is_for_drawing() -> None:
    model, tokenizer = built("abcdefgh \n")
    texts = {
        "".join(generate(model, tokenizer, "a", SampleConfig(length=40, beams=3, **how)))  # type: ignore[arg-type]
        for how in ({}, {"seed": 3}, {"temperature": 5.0}, {"top_k": 1}, {"top_p": 0.01}, {"min_p": 1.0})
    }
    assert len(texts) == 1


def test_searches_and_drawn_texts_are_written_beside_each_other() -> None:
    model, tokenizer = built("abcdefgh \n")
    configs = [SampleConfig(length=20 + 9 * place, seed=place, beams=(1, 3)[place % 2]) for place in range(6)]
    streams = [Stream.start(tokenizer, "fed", config) for config in configs]
    writer, texts = decoder_for(model), dict.fromkeys(streams, "")
    while writing := [stream for stream in streams if not stream.done]:
        for stream, piece in zip(writing, writer.decode(writing, 8), strict=True):
            texts[stream] += piece
    for stream, config in zip(streams, configs, strict=True):
        assert texts[stream] == "".join(generate(model, tokenizer, "fed", config))
    assert generate_many(model, tokenizer, ["fed"] * 2, configs[1]) == [texts[streams[1]]] * 2


def test_what_ended_long_ago_is_told_in_the_end() -> None:
    """A hypothesis that stops at once and is the best by far keeps the others from being told, and wins."""
    model, tokenizer = built("ab")
    with torch.no_grad():
        model.get_parameter("fc.weight").zero_()
        model.get_parameter("fc.bias").copy_(torch.tensor([2.0, 0.0]))
    told = pieces_of(
        decoder_for(model), Stream.start(tokenizer, "b", SampleConfig(length=50, beams=2, stop=("aa",))), 5
    )
    assert "".join(told) == ""
    told = pieces_of(
        decoder_for(model), Stream.start(tokenizer, "b", SampleConfig(length=50, beams=2, stop=("bb",))), 5
    )
    assert "".join(told) == "a" * 50


def test_a_model_beyond_numbers_is_said() -> None:
    model, tokenizer = built("abc")
    with torch.no_grad():
        model.get_parameter("fc.bias")[0] = torch.nan
    with pytest.raises(JobError, match="beyond all numbers"):
        list(generate(model, tokenizer, "abc", SampleConfig(beams=2)))


def test_the_likeliest_are_found_in_their_order() -> None:
    scores = np.array([[1.0, 3.0, 3.0], [3.0, -np.inf, 0.0]])
    assert top_tokens(scores, 4) == [(0, 1), (0, 2), (1, 0), (0, 0)]
    assert top_tokens(scores, 99) == [(0, 1), (0, 2), (1, 0), (0, 0), (1, 2)]
