"""What each token of a text costs: the loss of an evaluation, token by token, and where the bits go."""

import json
import math

import numpy as np
import pytest
import torch

from charlm.analysis.measurement import Measured, Subject
from charlm.analysis.surprise import FIRST, KINDS, Settings, Surprise, finding, kinds_of, measure, passage, rows
from charlm.architectures import ARCHITECTURES, ARCHS
from charlm.config import ModelConfig
from charlm.errors import ConfigError, MeasurementError
from charlm.models import LanguageModel, build_model
from charlm.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer
from charlm.training.evaluate import evaluate

TEXT = "She said: \"I don't know 12 of them,\"\nand then the Cat's brother ran away.\n" * 12


def subject(arch: str = "lstm", text: str = TEXT, tokenizer: Tokenizer | None = None, **sizes: int) -> Subject:
    tokenizer = tokenizer or CharTokenizer.fit(TEXT)
    ids = tokenizer.encode(text, skip_unknown=True)
    counted = {"counted": len(ids)} if ARCHITECTURES[arch].counted else {}
    config = ModelConfig(
        arch=arch,
        level=tokenizer.level,
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        embed_dim=8,
        **counted,
        **sizes,
    )
    model = build_model(config, 3).eval()
    if counted:
        model.count(ids)  # type: ignore[operator]
    return Subject(model, tokenizer, text, ids)


def measured(one: Subject, characters: int = 20_000) -> Surprise:
    *_, last = measure(one, Settings(characters=characters))
    assert last.share == 1.0 and last.result is not None
    json.dumps(last.result, allow_nan=False)
    return last.result


@pytest.mark.parametrize("arch", ARCHS)
def test_the_bits_are_an_evaluations_loss_token_by_token(arch: str) -> None:
    one = subject(arch)
    result = measured(one)
    whole = evaluate(one.model, one.ids)
    assert result["bits_per_character"] == pytest.approx(whole.bits_per_char, abs=2e-4)
    assert result["tokens"] == len(TEXT) - 1 and "".join(result["pieces"]) == TEXT and result["unknown"] == 0
    with torch.no_grad():
        logits = one.model(torch.from_numpy(one.ids.astype(np.int64))[None])[0][0].double()
    chances = torch.softmax(logits, 1).numpy()
    for at in (1, 2, 60, len(TEXT) - 1):
        cost = result["bits"][at]
        assert cost == pytest.approx(-math.log2(chances[at - 1, one.ids[at]]), abs=2e-3)
        order = np.argsort(-chances[at - 1], kind="stable")[:5]
        assert result["chances"][at] == pytest.approx(chances[at - 1, order].tolist(), abs=2e-4)
        expected = {result["names"][name]: chance for name, chance in
                    zip(result["likeliest"][at], result["chances"][at], strict=True)}  # fmt: skip
        assert all(abs(chances[at - 1, one.tokenizer.tokens.index(name)] - chance) < 2e-4
                   for name, chance in expected.items())  # fmt: skip
    assert result["bits"][0] is None and result["likeliest"][0] == []


def test_a_uniform_model_pays_log2_of_the_vocabulary_everywhere() -> None:
    one = subject()
    with torch.no_grad():
        for parameter in one.model.parameters():
            parameter.zero_()
    result, each = measured(one), math.log2(one.tokenizer.vocab_size)
    assert result["bits_per_character"] == pytest.approx(each, abs=1e-4)
    assert {row["bits"] for row in rows(result) if row["tokens"]} == {round(each, 4)}


def test_the_kinds_of_places() -> None:
    text = "Ab don't\n\"x 7, ÄrgerlicH"
    of = {kind: "".join(sign for sign, row in zip(text, kinds_of(list(text)), strict=True) if row[place])
          for place, kind in enumerate(KINDS)}  # fmt: skip
    assert of == {
        "start of a word": "AdxÄ", "inside a word": "bonrg", "after the third letter": "'terlicH", "capital": "AÄH",
        "space": "   ", "line end": "\n", "quote": '"', "digit": "7", "other sign": ",",
    }  # fmt: skip
    exclusive = np.delete(kinds_of(list(text)), KINDS.index("capital"), axis=1)
    assert (exclusive.sum(1) == 1).all()
    assert kinds_of(["'", "a", "'", "b", "", " c", " ", "\n\n"])[:, [0, 4, 5, 6]].tolist() == [
        [False, False, False, True], [True, False, False, False], [False, False, False, False],
        [False, False, False, False], [False, False, False, False], [True, False, False, False],
        [False, True, False, False], [False, False, True, False],
    ]  # fmt: skip


def test_the_totals_are_means_over_their_places() -> None:
    result = measured(subject("gru"))
    of_kind = kinds_of(result["pieces"])[1:]
    bits = np.array(result["bits"][1:], float)
    for place, row in enumerate(rows(result)):
        assert row["kind"] == KINDS[place] and row["tokens"] == of_kind[:, place].sum()
        assert row["bits"] == pytest.approx(bits[of_kind[:, place]].mean(), abs=1e-3)


def test_words_and_subwords_are_paid_by_the_character() -> None:
    for tokenizer in (WordTokenizer.fit(TEXT, "lower"), WordTokenizer.fit(TEXT, "cased"), BPETokenizer.fit(TEXT, 280)):
        one = subject("gru", tokenizer=tokenizer)
        result = measured(one)
        whole = evaluate(one.model, one.ids, len(TEXT))
        assert result["bits_per_character"] == pytest.approx(whole.bits_per_char, abs=2e-4)
        assert len(result["pieces"]) == len(one.ids) == len(result["bits"]) and result["unknown"] == 0
        kinds = {row["kind"]: row["tokens"] for row in rows(result)}
        assert kinds["start of a word"] > 100 and kinds["line end"] >= 20


def test_a_long_text_is_drawn_before_it_is_read_to_its_end() -> None:
    one = subject("rnn", TEXT * 4)
    steps = list(measure(one, Settings(characters=20_000)))
    drawn = [step for step in steps if step.result]
    assert len(drawn) == 2 and FIRST <= drawn[0].result["tokens"] < len(one.ids) / 2  # type: ignore[index]
    first, last = drawn[0].result, drawn[1].result
    assert first and last and first["bits"] == last["bits"][: len(first["bits"])]
    assert [step.share for step in steps] == sorted(step.share for step in steps)


def test_the_passage_ends_with_a_word() -> None:
    assert passage("one two three", 8) == "one two" and passage("one two three", 7) == "one two"
    assert passage("one two", 100) == "one two" and passage("x" * 200, 100) == "x" * 100
    assert measured(subject(), 100)["tokens"] < 100


def test_what_is_unknown_is_left_out_and_said() -> None:
    result = measured(subject(text="She ßaid: ßh\n"))
    assert result["unknown"] == 2 and "".join(result["pieces"]) == "She aid: h\n"


def test_what_cannot_be_measured_is_said_in_a_sentence() -> None:
    for text in ("", "S", "ßßßß"):
        with pytest.raises(MeasurementError, match="at least 2 tokens"):
            measured(subject(text=text))
    one = subject()
    with torch.no_grad():
        one.model.get_parameter("fc.bias")[0] = torch.nan
    with pytest.raises(MeasurementError, match="diverged"):
        measured(one)
    with pytest.raises(ConfigError, match="characters"):
        Settings(characters=20_001)


def test_the_finding_has_the_numbers() -> None:
    found = [Measured(name, arch, measured(subject(arch))) for name, arch in (("LSTM", "lstm"), ("GRU", "gru"))]
    costs = [f"{one.result['bits_per_character']:.2f}" for one in found]
    starts = [f"{rows(one.result)[0]['bits']:.2f}" for one in found]
    assert finding(found) == (
        f"On the same passage the LSTM pays {costs[0]} bits per character and the GRU {costs[1]}; "
        f"at the start of a word {starts[0]} and {starts[1]}."
    )
    assert finding(found[:1]).startswith(f"Over {len(TEXT) - 1:,} characters the LSTM pays {costs[0]} bits")
    words = Measured("words", "rnn", measured(subject("rnn", tokenizer=WordTokenizer.fit(TEXT, "lower"))), unit="words")
    assert "start of a word" not in finding([*found, words])
    other = Measured("my-run", "rnn", measured(subject("rnn", text=TEXT[5:])))
    assert finding([found[0], other]).startswith("On passages of their own the LSTM pays")
    assert " and my-run " in finding([found[0], other])
    quiet = Measured("LSTM", "lstm", measured(subject(text="12 12 12")))
    assert "start of a word" not in finding([quiet])


def test_the_model_is_left_as_it_was() -> None:
    one = subject("transformer")
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    model: LanguageModel = one.model
    measured(one)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
