"""Copies of the training text: against the plain search, and on texts whose answer is known."""

import json
import random
from typing import Any

import numpy as np
import pytest

from charlm.analysis import copies as module
from charlm.analysis.copies import Copies, Settings, finding, measure, rows, usual
from charlm.analysis.matching import Matcher
from charlm.analysis.measurement import Measured, Subject
from charlm.architectures import ARCHS
from charlm.config import ModelConfig
from charlm.errors import ConfigError, MeasurementError
from charlm.models import build_model
from charlm.models.ngram import NGramModel
from charlm.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer

TRAINING = (
    "Every morning the baker opened his shop before the sun had reached the roofs. He swept the floor, lit the oven, "
    "and set out twelve loaves in a row. Nobody ever asked why there were twelve.\nOne day a stranger bought them all "
    'and paid with a coin that no one in the town had seen before. "Keep it," she said, "until I come again."\n'
)
HELD_OUT = "In the evening the stranger came to the shop again, and the baker gave her the coin. She laughed at him.\n"
QUICK = Settings(temperatures="0.8", samples=2, length=50)
PASTED = Settings(source="pasted", shortest=10)


def subject(
    text: str = HELD_OUT, training: str = TRAINING, tokenizer: Tokenizer | None = None, **model: Any
) -> Subject:
    tokenizer = tokenizer or CharTokenizer.fit(TRAINING + HELD_OUT)
    config = ModelConfig(**{"vocab_size": tokenizer.vocab_size, "hidden_size": 16, "num_layers": 1} | model)
    made = build_model(config, 3).eval()
    return Subject(made, tokenizer, text, tokenizer.encode(text, skip_unknown=True), training)


def result(given: Subject, settings: Settings = QUICK) -> Copies:
    """What a measurement ends with, after progress that only grows and results that JSON can hold."""
    steps = list(measure(given, settings))
    shares = [step.share for step in steps]
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert all(step.result for step in steps if step.share == 1.0)  # who waits for it ends there
    assert steps[-1].result is not None
    assert json.loads(json.dumps(steps[-1].result, allow_nan=False)) == json.loads(json.dumps(steps[-1].result))
    return steps[-1].result


def ending_lengths(text: str, training: str) -> list[int]:
    """For each character the longest piece ending there that stands in the training text, by plain search."""
    return [
        next(size for size in range(end, -1, -1) if text[end - size : end] in training)
        for end in range(1, len(text) + 1)
    ]


def matched(texts: list[str], training: str) -> list[list[int]]:
    matcher = Matcher(texts)
    list(matcher.read(training))
    return [lengths.tolist() for lengths in matcher.lengths()]


# --- the automaton ---------------------------------------------------------------------------------------------------


def test_it_finds_what_a_plain_search_finds() -> None:
    rng = random.Random(5)
    for _ in range(150):
        alphabet = "abcä\n😀"[: rng.randint(1, 6)]
        training = "".join(rng.choices(alphabet + "x", k=rng.randint(0, 60)))
        texts = ["".join(rng.choices(alphabet + "y", k=rng.randint(0, 25))) for _ in range(rng.randint(0, 4))]
        assert matched(texts, training) == [ending_lengths(text, training) for text in texts]


def test_a_match_goes_on_from_one_block_of_the_large_text_into_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "the oven, and set"
    monkeypatch.setattr("charlm.analysis.matching.BLOCK", 7)
    assert matched([text], TRAINING) == [list(range(1, len(text) + 1))]
    shares = list(Matcher([text]).read(TRAINING))
    assert len(shares) == -(-len(TRAINING) // 7) and shares[-1] == 1.0


def test_without_numba_the_same_loops_run_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    from charlm.analysis import matching

    compiled = matched([HELD_OUT, "zzz"], TRAINING)
    for name in ("_edge", "_add_edge", "_build", "_pass"):
        monkeypatch.setattr(matching, name, getattr(getattr(matching, name), "py_func", getattr(matching, name)))
    assert matched([HELD_OUT, "zzz"], TRAINING) == compiled


# --- known answers ---------------------------------------------------------------------------------------------------


def test_a_piece_of_the_training_text_is_copied_whole() -> None:
    piece = TRAINING[40:160]
    found = result(subject(piece), PASTED)
    [text], [curve] = found["texts"], found["curves"]
    assert text["text"] == piece and text["longest"] == curve["longest"] == 120 and curve["copied"] == 1.0
    assert text["copies"] == [(0, 120)]
    assert all(row["unseen"] == 0.0 for row in curve["rows"]) and curve["rows"][7]["ngrams"] == 113
    assert found["longest_copies"][0]["training_offset"] == 40 and found["held_out"] is None
    said = finding([Measured("LSTM", "lstm", found)])
    assert said == (
        "The longest copy is 120 characters from the LSTM's training text; of the text's 8-grams, 0.0 % are not in it."
    )


def test_random_text_copies_little() -> None:
    letters = "".join(sorted(set(TRAINING)))
    noise = "".join(random.Random(1).choices(letters, k=2000))
    [curve] = result(subject(noise), PASTED)["curves"]
    assert curve["longest"] <= 5 and curve["copied"] == 0.0
    assert curve["rows"][0]["unseen"] == 0.0 and (curve["rows"][4]["unseen"] or 0) > 0.99


def test_two_copies_with_something_new_between_them_are_found_with_their_places() -> None:
    first, second = "He swept the floor", "no one in the town"
    found = result(subject(f"{first}ZZ{second}", tokenizer=CharTokenizer.fit(TRAINING + "Z")), PASTED)
    assert found["texts"][0]["copies"] == [(0, 18), (20, 38)]
    listed = [(copy["quote"], copy["training_offset"]) for copy in found["longest_copies"]]
    assert listed == [(first, TRAINING.index(first)), (second, TRAINING.index(second))]
    assert found["curves"][0]["copied"] == pytest.approx(36 / 38, abs=1e-5)


def test_shares_and_copies_are_those_of_a_plain_count() -> None:
    found = result(subject(), PASTED)
    text, [curve] = found["texts"][0], found["curves"]
    for row in curve["rows"]:
        pieces = [HELD_OUT[at : at + row["n"]] for at in range(len(HELD_OUT) - row["n"] + 1)]
        assert row["ngrams"] == len(pieces)
        assert row["unseen"] == pytest.approx(np.mean([piece not in TRAINING for piece in pieces]), abs=1e-5)
    for start, end in text["copies"]:
        assert HELD_OUT[start:end] in TRAINING and end - start >= 10
        assert HELD_OUT[start : end + 1] not in TRAINING or end == len(HELD_OUT)
        assert start == 0 or HELD_OUT[start - 1 : end] not in TRAINING
    assert max(end - start for start, end in text["copies"]) == text["longest"]


def test_an_ngram_of_high_order_copies_more_than_one_of_low_order() -> None:
    curves = []
    for order in (2, 8):
        given = subject(training=5 * TRAINING, arch="ngram", order=order, counted=5 * len(TRAINING))
        assert isinstance(given.model, NGramModel)
        given.model.count(given.tokenizer.encode(5 * TRAINING))
        curves += result(given, Settings(temperatures="0.8", samples=2, length=300))["curves"]
    low, high = curves
    assert low["longest"] < 25 < 50 < high["longest"] and low["copied"] < 0.1 < high["copied"]
    assert (high["rows"][7]["unseen"] or 0) < (low["rows"][7]["unseen"] or 0)


# --- what models write -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["ngram", *(pytest.param(arch, marks=pytest.mark.slow) for arch in ARCHS[:-1])])
def test_every_architecture_is_measured_beside_held_out_text_of_the_same_length(arch: str) -> None:
    given = subject(2 * HELD_OUT, arch=arch, context=16)
    found = result(given, Settings(temperatures="1, 0.5", samples=2, length=60))
    assert [curve["temperature"] for curve in found["curves"]] == [0.5, 1.0]
    assert [text["temperature"] for text in found["texts"]] == [0.5, 0.5, 1.0, 1.0]
    assert {curve["characters"] for curve in [*found["curves"], found["held_out"]] if curve} == {120}
    for copy in found["longest_copies"]:
        text = found["texts"][copy["text"]]
        assert text["temperature"] == copy["temperature"] and text["text"][copy["start"] : copy["end"]] == copy["quote"]
        assert TRAINING.startswith(copy["quote"], copy["training_offset"]) and copy["length"] == len(copy["quote"])
    assert result(given, Settings(temperatures="1, 0.5", samples=2, length=60)) == found


def test_the_usual_temperature_comes_first_and_early() -> None:
    settings = Settings(temperatures="0.3, 0.9, 2", samples=1, length=80)
    drawn = [step.result for step in measure(subject(), settings) if step.result]
    assert [[curve["temperature"] for curve in one["curves"]] for one in drawn] == [
        [0.9], [0.9], [0.3, 0.9], [0.3, 0.9, 2.0],
    ]  # fmt: skip
    assert [one["curves"][0]["characters"] for one in drawn[:2]] == [20, 80]
    assert [one["held_out"] and one["held_out"]["characters"] for one in drawn] == [20, 80, 80, 80]
    assert usual(drawn[-1])["temperature"] == 0.9


@pytest.mark.parametrize("kind", ["word", "bpe"])
def test_words_and_subwords_are_compared_as_their_tokens_write_them(kind: str) -> None:
    tokenizer: Tokenizer = WordTokenizer.fit(TRAINING, "lower") if kind == "word" else BPETokenizer.fit(TRAINING, 280)
    piece = TRAINING[: TRAINING.index("One day")]
    typed = piece.replace("He swept the floor", "he  SWEPT the floor")
    given = subject(typed, tokenizer=tokenizer, level=kind)
    [text] = result(given, PASTED)["texts"]
    if kind == "word":
        assert text["text"] == piece and text["copies"] == [(0, len(piece))]
    else:
        assert text["text"] == typed and text["longest"] == len(piece) - piece.index(" the floor")
    written = result(given, QUICK)
    assert all(len(one["text"]) == 50 for one in written["texts"])


def test_held_out_text_that_was_trained_on_is_no_comparison() -> None:
    assert result(subject(TRAINING[:80]))["held_out"] is None
    assert result(subject(""))["held_out"] is None


def test_findings_name_every_model_and_the_temperature() -> None:
    found = [Measured(name, name.lower(), result(subject(arch=name.lower()))) for name in ("LSTM", "RNN")]
    curves = [usual(one.result) for one in found]
    shares = [f"{100 * (curve['rows'][7]['unseen'] or 0):.1f} %" for curve in curves]
    human = found[0].result["held_out"]
    assert human is not None
    told = f"{shares[0]} and {shares[1]} of their 8-grams do not occur in the training text"
    assert finding(found) == (
        f"At temperature 0.8 the LSTM's longest copy is {curves[0]['longest']} characters, the RNN's "
        f"{curves[1]['longest']}; {told} (held-out text: {100 * (human['rows'][7]['unseen'] or 0):.1f} %)."
    )
    assert "its 8-grams" in finding(found[:1]) and finding([]) == ""
    short = result(subject("loaf"), PASTED)
    assert finding([Measured("A", "lstm", short), Measured("B", "rnn", short)]) == (
        "The longest copy is 3 characters from A's training text, 3 from B's."
    )


def test_the_table_has_a_row_for_each_curve_and_n() -> None:
    table = rows(result(subject()))
    assert [(row["text"], row["temperature"], row["n"]) for row in table] == [
        *(("generated", 0.8, n) for n in range(1, 31)), *(("held out", None, n) for n in range(1, 31)),
    ]  # fmt: skip
    assert {row["text"] for row in rows(result(subject(), PASTED))} == {"text"}


# --- what cannot be measured -----------------------------------------------------------------------------------------


def test_without_the_training_text_it_says_what_to_do() -> None:
    with pytest.raises(MeasurementError, match=r"not at hand.*give that text again"):
        next(iter(measure(subject(training=""), QUICK)))


def test_a_pasted_text_must_hold_something_and_not_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("", "\n \n", "жжж"):
        with pytest.raises(MeasurementError, match="nothing that this model knows"):
            list(measure(subject(text), PASTED))
    monkeypatch.setattr(module, "MOST_PASTED", 20)
    with pytest.raises(MeasurementError, match="105 characters, and at most 20"):
        list(measure(subject(), PASTED))


def test_weights_that_are_no_numbers_are_refused() -> None:
    given = subject()
    next(given.model.parameters()).data.fill_(float("nan"))
    with pytest.raises(MeasurementError, match="beyond all numbers"):
        list(measure(given, QUICK))


@pytest.mark.parametrize(
    "temperatures", ["", "warm", "0.5; 1", "0.5, 99", "nan", ",".join(f"0.{n}" for n in range(1, 10))]
)
def test_temperatures_are_a_few_numbers(temperatures: str) -> None:
    with pytest.raises(ConfigError, match="temperature"):
        Settings(temperatures=temperatures)
