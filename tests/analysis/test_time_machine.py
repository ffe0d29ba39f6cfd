"""What a model wrote and knew at its kept steps, and when a kind of token counts as learned."""

import json
import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch

from charlm.analysis import history
from charlm.analysis.history import KINDS, History, Settings, finding, frequency_bits, kinds_of, learned, measure, rows
from charlm.analysis.measurement import Measured, Subject
from charlm.architectures import ARCHS
from charlm.config import SampleConfig
from charlm.errors import ConfigError, MeasurementError
from charlm.generation import generate
from charlm.models import LanguageModel
from charlm.runs.store import RunStore
from charlm.tokenizers import BPETokenizer, Tokenizer, WordTokenizer
from tests.analysis.test_surprise import TEXT, subject
from tests.tiny_runs import TRAINED, trained

SETTINGS = Settings(prompt="She ", length=20, characters=600, shown=50)


def with_snapshots(arch: str = "lstm", tokenizer: Tokenizer | None = None) -> Subject:
    """A model without a training, which has larger weights at each kept step."""
    one = subject(arch, tokenizer=tokenizer)

    def at(step: int) -> LanguageModel:
        model = subject(arch, tokenizer=tokenizer).model
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 + step / 100)
        return model

    return replace(one, snapshots=[0, 10, 20, 40], at=at)


def measured(one: Subject, settings: Settings = SETTINGS) -> History:
    *_, last = measure(one, settings)
    assert last.share == 1.0 and last.result is not None
    json.dumps(last.result, allow_nan=False)
    return last.result


@pytest.mark.parametrize("arch", TRAINED)
def test_each_step_has_the_same_text_written_and_the_same_passage_read(arch: str) -> None:
    one = with_snapshots(arch)
    result = measured(one)
    assert [moment["step"] for moment in result["moments"]] == [0, 10, 20, 40] and result["prompt"] == "She "
    assert one.at is not None
    for moment in result["moments"]:
        model = one.at(moment["step"])
        text = "".join(generate(model, one.tokenizer, "She ", SampleConfig(length=20, temperature=0.8, seed=7)))
        assert moment["text"] == text
        ids = torch.from_numpy(one.ids[:50].astype("int64"))
        with torch.no_grad():
            logs = torch.log_softmax(model(ids[None])[0][0].double(), 1)
        costs = (-logs[:-1].gather(1, ids[1:, None])[:, 0] / math.log(2)).tolist()
        assert moment["bits"][0] is None and moment["bits"][1:] == pytest.approx(costs, abs=2e-3)
    assert len(result["pieces"]) == 50 and TEXT.startswith("".join(result["pieces"]))


def test_first_and_last_come_first_and_progress_never_falls() -> None:
    seen = list(measure(with_snapshots(), SETTINGS))
    results = [one.result for one in seen if one.result is not None]
    assert [[moment["step"] for moment in one["moments"]] for one in results] == [
        [0, 40], [0, 10, 40], [0, 10, 20, 40],
    ]  # fmt: skip
    shares = [one.share for one in seen]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) > 8


def test_a_model_of_frequencies_costs_what_frequencies_cost() -> None:
    """Without weights but for the output's bias, log of how often each token is: the dashed line of the picture."""
    one = subject()
    passage = TEXT[:600].rsplit(None, 1)[0] if not TEXT[600].isspace() else TEXT[:600]
    counts = Counter(passage[1:])

    def at(step: int) -> LanguageModel:
        model = subject().model
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.zero_()
                if step and name.endswith("fc.bias"):
                    often = [counts.get(token, 0) for token in one.tokenizer.tokens]
                    parameter.copy_(torch.tensor(often).double().log().clamp(min=-50).float())
        return model

    result = measured(replace(one, snapshots=[0, 5], at=at))
    uniform = math.log2(one.tokenizer.vocab_size)
    for kind, first, last in zip(result["kinds"], *(one["kinds"] for one in result["moments"]), strict=True):
        if kind["tokens"]:
            assert first == pytest.approx(uniform, abs=1e-3)
            assert last == pytest.approx(kind["frequency"], abs=2e-3)
            assert kind["learned"] is None  # frequencies are where the way begins
        else:
            assert first is last is kind["frequency"] is None
    assert sum(kind["tokens"] for kind in result["kinds"] if kind["kind"] in ("letters", "spaces")) <= result["tokens"]


def test_the_kinds_of_a_sentence() -> None:
    text = '"It is Mr Holmes, not Ann\'s cat, in 1891!" I said.\nBut Watson ran'
    found = dict(zip(KINDS, kinds_of(list(text)).T, strict=True))

    def signs(kind: str) -> str:
        return "".join(sign for sign, is_one in zip(text, found[kind], strict=True) if is_one)

    assert signs("names") == "MrHolmesAnn'sWatson" and signs("quotes") == '""'
    assert signs("short words") == "ItisMrnotcatinIButran" and signs("word endings") == "mes'sdson"
    assert signs("capitals") == "IMHAIBW" and signs("line ends") == "\n" and signs("digits") == "1891"
    assert signs("other signs") == ",,!." and signs("spaces") == " " * text.count(" ")
    assert len(signs("letters")) == len([sign for sign in text if sign.isalpha()]) + 1  # the apostrophe in a word


def test_tokens_are_of_the_kind_of_their_first_sign() -> None:
    found = dict(zip(KINDS, kinds_of([" the", " Holmes", ' "', "\n", " "]).T.tolist(), strict=True))
    assert found["short words"] == [True, False, False, False, False]
    assert found["names"] == [False, True, False, False, False]
    assert found["quotes"] == [False, False, True, False, False]
    assert found["line ends"][3] and found["spaces"] == [False, False, False, False, True]


def test_frequency_bits() -> None:
    assert frequency_bits(list("xaab")).tolist() == pytest.approx([math.log2(1.5), math.log2(1.5), math.log2(3)])


@pytest.mark.parametrize(
    ("means", "start", "tokens", "step"),
    [
        ([6.0, 3.0, 1.4, 1.0], 5.0, 50, 20),  # 5 - 0.9 * 4 = 1.4
        ([6.0, 3.0, 1.41, 1.0], 5.0, 50, 40),
        ([6.0, 1.3, 1.5, 1.0], 5.0, 50, 10),  # the first, whatever follows
        ([1.0, 1.0, 1.0, 1.0], 5.0, 50, 0),
        ([6.0, 3.0, 1.4, 1.0], 5.0, 19, None),
        ([5.0, 4.9, 4.8, 4.8], 5.0, 50, None),
        ([5.0, 6.0, 7.0, 8.0], 5.0, 50, None),
        ([None, None, None, None], None, 0, None),
    ],
)
def test_learned_is_when_nine_tenths_of_the_way_are_gone(
    means: list[float | None], start: float | None, tokens: int, step: int | None
) -> None:
    assert learned([0, 10, 20, 40], means, start, tokens) == step


def result_of(**steps: int | None) -> History:
    """A result in which kinds were learned at these steps."""
    kinds: list[Any] = [
        {"kind": kind, "tokens": 99, "frequency": 5.0, "learned": steps.get(kind.replace(" ", "_"))} for kind in KINDS
    ]
    moments: list[Any] = [
        {"step": step, "bits_per_character": bits, "text": "", "bits": [None], "kinds": [None] * len(KINDS)}
        for step, bits in ((0, 5.0), (2400, 2.0))
    ]
    return {"prompt": "", "tokens": 1, "pieces": ["a"], "kinds": kinds, "moments": moments}


def test_the_finding_names_every_model_and_its_steps() -> None:
    lstm = Measured("LSTM", "lstm", result_of(spaces=40, short_words=300, quotes=2400, digits=1))
    rnn = Measured("RNN", "rnn", result_of(spaces=40, short_words=40, names=1000))
    odd = Measured("GRU", "gru", result_of())
    said = "The LSTM has learned spaces by step 40, short words by 300, quotes not before 2,400"
    assert finding([lstm]) == f"{said}."
    assert finding([lstm, rnn, odd]) == (
        f"{said}; the RNN has learned spaces and short words by step 40, names not before 1,000; the GRU went from "
        "5.00 bits per character at step 0 to 2.00 at 2,400."
    )
    mine = Measured("my run", "rnn", result_of(spaces=40))
    assert finding([mine]) == "my run has learned spaces by step 40."
    assert finding([Measured("GRU on words", "gru", result_of(spaces=40)), mine]).startswith("The GRU on words has")
    assert finding([Measured("RNN", "rnn", result_of(spaces=40))]) == "The RNN has learned spaces by step 40."


def test_rows_are_a_flat_table() -> None:
    result = measured(with_snapshots())
    table = rows(result)
    assert [row["step"] for row in table] == [0, 10, 20, 40]
    assert list(table[0]) == ["step", "bits_per_character", *KINDS, "text"]
    assert table[1]["letters"] == result["moments"][1]["kinds"][0]


def test_of_a_trained_run(store: RunStore) -> None:
    [run] = trained(store, "gru", steps=60, hidden_size=16)
    tokenizer = run.tokenizer()
    text = "The cat sat on the mat.\n" * 20
    one = Subject(
        run.load_model(), tokenizer, text, tokenizer.encode(text), snapshots=run.snapshots(), at=run.load_snapshot
    )
    result = measured(one)
    costs = [moment["bits_per_character"] for moment in result["moments"]]
    assert [moment["step"] for moment in result["moments"]] == run.snapshots() and costs[-1] < costs[0] - 0.5
    assert finding([Measured("GRU", "gru", result)]).startswith("The GRU has learned spaces ")


@pytest.mark.parametrize("tokenizer", [WordTokenizer.fit(TEXT, "cased"), BPETokenizer.fit(TEXT, 270)])
def test_words_and_subwords(tokenizer: Tokenizer) -> None:
    result = measured(with_snapshots("rnn", tokenizer))
    assert len(result["moments"]) == 4 and result["kinds"][KINDS.index("letters")]["tokens"] > 20


def test_a_prompt_that_the_model_does_not_know_is_left_out() -> None:
    result = measured(with_snapshots(), replace(SETTINGS, prompt="Żthe€ "))
    assert result["prompt"] == "the " and len(result["moments"][0]["text"]) == 20
    assert measured(with_snapshots(), replace(SETTINGS, prompt="€"))["prompt"] == ""


@pytest.mark.parametrize("arch", ARCHS)
def test_without_snapshots_it_says_where_there_are_some(arch: str) -> None:
    with pytest.raises(MeasurementError, match="kept no weights along its training: choose small-lstm"):
        next(measure(subject(arch), SETTINGS))


def test_one_snapshot_is_one_moment() -> None:
    one = with_snapshots()
    result = measured(replace(one, snapshots=[0]))
    assert len(result["moments"]) == 1 and all(kind["learned"] is None for kind in result["kinds"])
    assert finding([Measured("LSTM", "lstm", result)])


def test_what_cannot_be_measured_says_why() -> None:
    one = with_snapshots()
    with pytest.raises(MeasurementError, match="at least 2 tokens"):
        measured(replace(one, text="x"))

    def broken(step: int) -> LanguageModel:
        model = subject().model
        with torch.no_grad():
            next(model.parameters()).fill_(math.nan)
        return model

    with pytest.raises(MeasurementError, match="no finite numbers"):
        measured(replace(one, at=broken))
    with pytest.raises(ConfigError, match="length 0 is outside"):
        Settings(length=0)


def test_the_shipped_race_learns_spaces_before_names() -> None:
    run = RunStore().get("sherlock-small-rnn")
    assert len(run.snapshots()) == 12 and run.snapshots()[0] == 0 and run.snapshots()[-1] == run.step
    tokenizer = run.tokenizer()
    text = "He looked at the paper, and then Miss Hunter and old Mr Turner came into the room again. " * 6
    one = Subject(
        run.load_model(), tokenizer, text, tokenizer.encode(text), snapshots=run.snapshots(), at=run.load_snapshot
    )
    when = {kind["kind"]: kind["learned"] or math.inf for kind in measured(one)["kinds"]}
    assert when["spaces"] < when["names"] and history.TOLD == ("spaces", "short words", "names", "quotes")
