"""Drawing text: temperature, top-k, top-p, greedy, seeds, prompts."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from charlm.architectures import ARCHS
from charlm.config import ModelConfig, SampleConfig
from charlm.errors import JobError
from charlm.generation import Stream, choose, decoder_for, generate, generate_many, interleave, probabilities
from charlm.generation.generate import TorchDecoder
from charlm.generation.sampling import REMEMBERED
from charlm.generation.streams import StopFilter
from charlm.models import LanguageModel, build_model
from charlm.tokenizers import CharTokenizer

LOGITS = arrays(np.float64, st.integers(2, 40), elements=st.floats(-30, 30))


@given(LOGITS, st.floats(0.01, 10), st.integers(0, 50), st.floats(0.01, 1))
def test_probabilities_sum_to_one_and_obey_the_cuts(logits: np.ndarray, temperature: float, k: int, p: float) -> None:
    chances = probabilities(logits, SampleConfig(temperature=temperature, top_k=k, top_p=p))
    assert chances.sum() == pytest.approx(1.0)
    assert logits[np.argmax(chances)] == pytest.approx(logits.max(), abs=1e-9)
    if k:
        assert np.count_nonzero(chances) <= k


def test_the_cuts_by_hand() -> None:
    logits = np.log([0.5, 0.3, 0.15, 0.05])
    assert probabilities(logits, SampleConfig(temperature=1.0)) == pytest.approx([0.5, 0.3, 0.15, 0.05])
    assert probabilities(logits, SampleConfig(temperature=1.0, top_k=2)) == pytest.approx([0.625, 0.375, 0, 0])
    assert probabilities(logits, SampleConfig(temperature=1.0, top_p=0.6)) == pytest.approx([0.625, 0.375, 0, 0])
    assert probabilities(logits, SampleConfig(temperature=1.0, top_p=0.01)).tolist() == [1, 0, 0, 0]
    assert probabilities(logits, SampleConfig(greedy=True)).tolist() == [1, 0, 0, 0]
    cold = probabilities(logits, SampleConfig(temperature=0.5))
    assert cold == pytest.approx(np.array([0.25, 0.09, 0.0225, 0.0025]) / 0.365)


def test_draws_follow_the_probabilities() -> None:
    logits, rng = np.log([0.5, 0.3, 0.2]), np.random.default_rng(0)
    drawn = np.bincount([choose(logits, SampleConfig(temperature=1.0), rng) for _ in range(4000)], minlength=3)
    assert drawn / 4000 == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


@pytest.fixture(scope="module")
def trained() -> tuple[LanguageModel, CharTokenizer]:
    tokenizer = CharTokenizer.fit("abc \n")
    return build_model(ModelConfig(vocab_size=tokenizer.vocab_size, hidden_size=8), 3), tokenizer


def written(trained: tuple[LanguageModel, CharTokenizer], prompt: str, **settings: object) -> str:
    return "".join(generate(*trained, prompt, SampleConfig(length=60, **settings)))  # type: ignore[arg-type]


def test_same_seed_same_text(trained: tuple[LanguageModel, CharTokenizer]) -> None:
    assert written(trained, "ab", seed=1) == written(trained, "ab", seed=1) != written(trained, "ab", seed=2)
    assert written(trained, "ab", greedy=True, seed=1) == written(trained, "ab", greedy=True, seed=2)
    assert len(written(trained, "ab")) == 60


def test_empty_and_unknown_prompts_write_all_the_same(trained: tuple[LanguageModel, CharTokenizer]) -> None:
    assert written(trained, "aßbЖ") == written(trained, "ab")
    assert written(trained, "") == written(trained, "ß") == written(trained, "\n")


def test_interleaving_changes_no_text(trained: tuple[LanguageModel, CharTokenizer]) -> None:
    streams = {seed: generate(*trained, "a", SampleConfig(length=20 * seed, seed=seed)) for seed in (1, 2, 3)}
    texts = dict.fromkeys(streams, "")
    order = []
    for key, piece in interleave(streams):
        texts[key] += piece
        order.append(key)
    assert order[:6] == [1, 2, 3, 1, 2, 3]
    for seed in (1, 2, 3):
        assert texts[seed] == "".join(generate(*trained, "a", SampleConfig(length=20 * seed, seed=seed)))


# --- many texts beside each other ------------------------------------------------------------------------------------


HOWS = [{}, {"greedy": True}, {"top_k": 2}, {"top_p": 0.7, "temperature": 1.3}]
Pair = tuple[LanguageModel, CharTokenizer]


def plainly_written(pair: Pair, prompt: str, config: SampleConfig) -> str:
    """As a tutorial would: the forward pass and `choose`, a character at a time."""
    (model, tokenizer), rng, text = pair, np.random.default_rng(config.seed), ""
    with torch.no_grad():
        logits, state = model.eval()(torch.from_numpy(tokenizer.encode(prompt)).long()[None])
        for _ in range(config.length):
            chosen = choose(logits[0, -1].numpy(), config, rng)
            text += tokenizer.tokens[chosen]
            logits, state = model(torch.tensor([[chosen]]), state)
    return text


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("how", HOWS)
def test_it_is_the_plain_loop(arch: str, how: dict[str, object]) -> None:
    tokenizer = CharTokenizer.fit("abcdefgh \n")
    model = build_model(ModelConfig(arch=arch, vocab_size=10, hidden_size=16, init="torch"), 4)
    for prompt, length in (("a", 1), ("abc", 100), ("fed gab " * 40, 70)):
        config = SampleConfig(length=length, seed=9, **how)  # type: ignore[arg-type]
        expected = plainly_written((model, tokenizer), prompt, config)
        assert "".join(generate(model, tokenizer, prompt, config)) == expected


def write_to_end(pair: Pair, joining: dict[int, list[Stream]], steps: int = 7) -> dict[Stream, str]:
    """The texts of streams that join a batch at a round of `steps` tokens each and leave when they are done."""
    writer, texts = decoder_for(pair[0]), {stream: "" for streams in joining.values() for stream in streams}
    writing: list[Stream] = []
    for count in range(1000):
        writing = [stream for stream in writing + joining.get(count, []) if not stream.done]
        if not writing:
            break
        for stream, piece in zip(writing, writer.decode(writing, steps), strict=True):
            texts[stream] += piece
    return texts


def test_a_text_does_not_depend_on_its_company(trained: Pair) -> None:
    def stream(seed: int) -> Stream:
        config = SampleConfig(length=20 + 5 * seed, seed=seed, **HOWS[seed % 4])  # type: ignore[arg-type]
        return Stream.start(trained[1], "abc cba " * seed, config)

    alone = {seed: next(iter(write_to_end(trained, {0: [stream(seed)]}, 5).values())) for seed in range(9)}
    for order in ({0: [0, 1, 2]}, {0: [3], 1: [4, 5], 6: [6, 7, 8]}, {0: list(range(9))}):
        streams = {seed: stream(seed) for seeds in order.values() for seed in seeds}
        joining = {when: [streams[seed] for seed in seeds] for when, seeds in order.items()}
        texts = write_to_end(trained, joining)
        assert {seed: texts[one] for seed, one in streams.items()} == {seed: alone[seed] for seed in streams}
        assert all(len(texts[one]) == one.config.length for one in streams.values())


def test_many_at_once_are_each_alone(trained: Pair) -> None:
    config, prompts = SampleConfig(length=70, seed=5), ["a", "", "bcß", *["abc"] * 14]
    texts = generate_many(*trained, prompts, config)
    for place, (prompt, text) in enumerate(zip(prompts, texts, strict=True)):
        assert text == "".join(generate(*trained, prompt, SampleConfig(length=70, seed=5 + place)))
    assert len(set(texts[3:])) == 14
    assert generate_many(*trained, [], config) == []


def test_one_that_fails_does_not_stop_the_others(trained: Pair) -> None:
    tokenizer = trained[1]
    model = build_model(ModelConfig(arch="rnn", nonlinearity="relu", vocab_size=tokenizer.vocab_size, hidden_size=8), 3)
    with torch.no_grad():
        model.get_parameter("rnn.weight_ih_l0")[:, tokenizer.encode("c")[0]] = torch.inf
        model.get_parameter("fc.bias")[tokenizer.encode("c")[0]] = -1e9  # never chosen
    for writer in (decoder_for(model), TorchDecoder(model)):
        streams = [Stream.start(tokenizer, prompt, SampleConfig(length=20)) for prompt in ("ab", "abc", "b")]
        lengths = [len(text) for text in writer.decode(streams, 30)]
        assert lengths == [20, 0, 20] and [bool(stream.error) for stream in streams] == [False, True, False]
    with pytest.raises(JobError, match="beyond all numbers"):
        list(generate(model, tokenizer, "abc"))
    with pytest.raises(JobError, match="beyond all numbers"):
        generate_many(model, tokenizer, ["a", "c"])


def test_it_writes_with_the_weights_as_they_are(trained: Pair) -> None:
    tokenizer = trained[1]
    model = build_model(ModelConfig(vocab_size=tokenizer.vocab_size, hidden_size=8), 3)
    before = "".join(generate(model, tokenizer, "a"))
    with torch.no_grad():
        model.get_parameter("fc.bias")[0] += 50
    after = "".join(generate(model.train(), tokenizer, "a"))
    assert after == tokenizer.tokens[0] * 500 != before and not model.training


def test_as_on_a_gpu_all_texts_share_the_forward_pass(trained: Pair) -> None:
    model, tokenizer = trained
    writer = TorchDecoder(model.eval())
    writer._together = True
    streams = [Stream.start(tokenizer, "abc" * n, SampleConfig(length=30 + n, seed=n)) for n in range(1, 5)]
    texts = dict.fromkeys(streams, "")
    while writing := [stream for stream in streams if not stream.done]:
        for stream, piece in zip(writing, writer.decode(writing, 8), strict=True):
            texts[stream] += piece
    for n, stream in enumerate(streams, 1):
        assert texts[stream] == "".join(generate(model, tokenizer, "abc" * n, SampleConfig(length=30 + n, seed=n)))


# --- what is less likely, and what is ruled out ----------------------------------------------------------------------


@given(LOGITS, st.floats(1, 5), st.lists(st.integers(0, 100), max_size=9), st.floats(0, 1))
def test_a_penalty_takes_chances_from_what_was_said(
    logits: np.ndarray, penalty: float, said: list[int], p: float
) -> None:
    said = [one for one in said if one < len(logits)]
    banned = said[:1] if said and len(set(said)) < len(logits) else ()
    plain = probabilities(logits, SampleConfig(temperature=1.0))
    chances = probabilities(logits, SampleConfig(temperature=1.0, repetition_penalty=penalty, min_p=p), said, banned)
    others = [one for one in range(len(logits)) if one not in said]
    assert chances.sum() == pytest.approx(1.0) and not chances[list(banned)].any()
    assert all(chances[one] == 0 or chances[one] >= plain[one] * (1 - 1e-9) for one in others)
    assert all(chance == 0 or chance >= p * chances.max() * (1 - 1e-9) for chance in chances)


def test_the_penalty_and_min_p_by_hand() -> None:
    logits = np.array([2.0, 1.0, -1.0])
    config = SampleConfig(temperature=1.0, repetition_penalty=2.0)
    once = probabilities(logits, config, [0, 2])
    assert once == pytest.approx(np.exp([1.0, 1.0, -2.0]) / np.exp([1.0, 1.0, -2.0]).sum())
    assert probabilities(logits, config, [0, 0, 2, 2, 2]).tolist() == once.tolist()
    assert probabilities(logits, config, [0] + [1] * REMEMBERED)[0] > 0.75  # long ago is forgotten
    cut = SampleConfig(temperature=1.0, min_p=0.35)
    assert probabilities(np.log([0.5, 0.3, 0.15, 0.05]), cut) == pytest.approx([0.625, 0.375, 0, 0])
    assert probabilities(logits, SampleConfig(greedy=True), banned=(0,)).tolist() == [0, 1, 0]
    assert choose(logits, SampleConfig(greedy=True), np.random.default_rng(0), banned=(0,)) == 1


def test_a_token_for_the_unknown_is_not_written_unless_asked_for(trained: Pair) -> None:
    model = build_model(ModelConfig(vocab_size=trained[1].vocab_size, hidden_size=8), 3)
    tokenizer = CharTokenizer(trained[1].tokens)
    tokenizer.unk_id = 2  # type: ignore[attr-defined]
    unknown = tokenizer.tokens[2]
    with torch.no_grad():
        model.get_parameter("fc.bias")[2] = 50.0
    for how in ({}, {"beams": 3}, {"greedy": True}):
        texts = generate_many(model, tokenizer, ["a", "b"], SampleConfig(length=30, **how))  # type: ignore[arg-type]
        assert unknown not in "".join(texts)
        allowed = SampleConfig(length=30, allow_unk=True, **how)  # type: ignore[arg-type]
        assert "".join(generate(model, tokenizer, "a", allowed)) == unknown * 30


# --- stop strings ----------------------------------------------------------------------------------------------------


@given(st.lists(st.text("ab", max_size=5), max_size=12), st.lists(st.text("ab", min_size=1, max_size=4), max_size=4))
def test_a_text_ends_before_the_stop_string_that_is_whole_first(pieces: list[str], stops: list[str]) -> None:
    """However it is cut into pieces, and without ever showing part of one."""
    ending, text, shown = StopFilter(stops), "".join(pieces), ""
    whole = next((text[:end] for end in range(len(text) + 1) if any(text[:end].endswith(stop) for stop in stops)), None)
    for place, piece in enumerate(pieces):
        shown += ending.feed(piece)
        seen = "".join(pieces[: place + 1])
        if not ending.found:
            begun = [size for stop in stops for size in range(len(stop)) if seen.endswith(stop[:size])]
            assert shown == seen[: len(seen) - max(begun, default=0)]
    shown += ending.flush()
    if whole is None:
        assert shown == text and not ending.found
    else:
        longest = max((stop for stop in stops if whole.endswith(stop)), key=len)
        assert shown == whole.removesuffix(longest) and ending.found


@pytest.mark.parametrize("how", [{}, {"beams": 3}])
def test_a_text_stops(trained: Pair, how: dict[str, Any]) -> None:
    whole = written(trained, "ab", **how)
    for stop in (whole[20:23], whole[57:], whole[:1], "never"):
        config = SampleConfig(length=60, stop=(stop,), **how)
        shown = "".join(generate(*trained, "ab", config))
        assert stop not in shown
        assert (how and stop != "never") or shown == whole.partition(stop)[0]


def test_the_first_of_several_stop_strings_ends_a_text(trained: Pair) -> None:
    whole = written(trained, "ab")
    assert generate_many(*trained, ["ab"], SampleConfig(length=60, stop=(whole[5:9], "b")))[0] == min(
        whole.partition(whole[5:9])[0], whole.partition("b")[0], key=len
    )


def test_in_a_batch_a_text_that_stops_leaves(trained: Pair) -> None:
    stops = [written(trained, "ab", seed=seed)[10:14] for seed in range(4)]
    configs = [SampleConfig(length=60, seed=seed, stop=(stop,)) for seed, stop in enumerate(stops)]
    streams = [Stream.start(trained[1], "ab", config) for config in configs]
    texts = write_to_end(trained, {0: streams})
    for seed, stream in enumerate(streams):
        assert stream.done and not stream.error
        assert texts[stream] == written(trained, "ab", seed=seed).partition(stops[seed])[0]


# --- going on --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [{}, {"top_k": 2}, {"repetition_penalty": 1.5}])
@pytest.mark.parametrize("prompt", ["ab", "", "ß"])
def test_a_text_that_goes_on_is_the_longer_one(trained: Pair, prompt: str, how: dict[str, Any]) -> None:
    whole = written(trained, prompt, seed=3, **how)
    for length in (1, 25):
        stream = Stream.start(trained[1], prompt, SampleConfig(length=60 - length, seed=3, **how), None, whole[:length])
        assert write_to_end(trained, {0: [stream]}) == {stream: whole[length:]}
