"""Units: a hand-made one is found and matters where it should, and clamping is what changed weights would do."""

import json
import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from charlm.analysis import neurons as module
from charlm.analysis.labels import LABELS, label_tokens
from charlm.analysis.measurement import Measured, Progress, Subject
from charlm.analysis.neurons import (
    SAMPLING,
    Neurons,
    Settings,
    auroc,
    average_ranks,
    binned_ranks,
    finding,
    measure,
    rows,
    spearman,
)
from charlm.analysis.units import Clamps, reader_of
from charlm.architectures import ARCHITECTURES
from charlm.config import ModelConfig
from charlm.errors import MeasurementError
from charlm.generation import generate
from charlm.models import LanguageModel, build_model
from charlm.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer

NEURAL = tuple(arch for arch, about in ARCHITECTURES.items() if not about.counted)
TEXT = (
    'The cat sat by the door.\n\n"I saw Ann (once) near it," said Bob.\n\n"No," she said, "it was 12345 men."\n\n' * 40
)


@pytest.fixture(autouse=True)
def short_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITTEN", 30)


def subject(arch: str = "gru", text: str = TEXT, tokenizer: Tokenizer | None = None, **sizes: int) -> Subject:
    tokenizer = tokenizer or CharTokenizer.fit(TEXT)
    ids = tokenizer.encode(text, skip_unknown=True)
    counted = {"counted": len(ids)} if ARCHITECTURES[arch].counted else {}
    options = {"hidden_size": 24, "embed_dim": 8, "context": 20, **counted, **sizes}
    config = ModelConfig(arch=arch, level=tokenizer.level, vocab_size=tokenizer.vocab_size, **options)  # type: ignore[arg-type]
    return Subject(build_model(config, 3).eval(), tokenizer, text, ids)


def steps(one: Subject, **settings: int | str) -> list[Progress[Neurons]]:
    return list(measure(one, Settings(**{"tokens": 1600, **settings})))  # type: ignore[arg-type]


def measured(one: Subject, **settings: int | str) -> Neurons:
    last = steps(one, **settings)[-1]
    assert last.share == 1.0 and last.result is not None
    json.dumps(last.result, allow_nan=False)
    return last.result


# Known answers ---------------------------------------------------------------------------------------------------
def quoting() -> Subject:
    """An RNN one of whose units is 1 inside quotes and -1 outside, and whose predictions need it.

    Inside quotes the text is of x, y and z, outside of a, b and c, at random.
    """
    random = np.random.default_rng(5)
    parts = [
        "".join(random.choice(list("abc"), 12)) + "“" + "".join(random.choice(list("xyz"), 6)) + "”" for _ in range(150)
    ]
    text = "".join(parts)
    tokenizer = CharTokenizer.fit(text)
    config = ModelConfig(arch="rnn", vocab_size=tokenizer.vocab_size, hidden_size=28, num_layers=1)
    model = build_model(config, 1).eval()
    place = {sign: tokenizer.tokens.index(sign) for sign in "abcxyz“”"}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        generator = torch.Generator().manual_seed(2)
        inputs = model.get_parameter("rnn.weight_ih_l0")
        inputs[1:].normal_(generator=generator)
        for outside, inside in zip("abc", "xyz", strict=True):  # which look the same to the other units
            inputs[1:, place[inside]] = inputs[1:, place[outside]]
        latch = inputs[0]
        latch[place["“"]], latch[place["”"]] = 20.0, -20.0
        model.get_parameter("rnn.weight_hh_l0")[0, 0] = 5.0
        model.get_parameter("rnn.bias_ih_l0")[0] = -1.0  # so that a text begins outside
        out, bias = model.get_parameter("fc.weight"), model.get_parameter("fc.bias")
        for signs, side in (("abc“", -20.0), ("xyz”", 20.0)):
            for sign in signs:
                out[place[sign], 0] = side
                bias[place[sign]] = -2.0 if sign in "“”" else 0.0
        out[:, 1:].normal_(std=0.02, generator=generator)
    return Subject(model, tokenizer, text, tokenizer.encode(text))


def test_a_unit_that_is_on_inside_quotes_is_found_first_and_matters_there_only() -> None:
    result = measured(quoting(), label="inside quotes", tokens=2400)
    chosen, causal = result["chosen"], result["causal"]
    assert (chosen["layer"], chosen["state"], chosen["unit"], chosen["sign"]) == (0, "h", 0, 1)
    assert chosen["found"] == chosen["score"] == 1.0
    [table] = [table for table in result["labels"] if table["label"] == "inside quotes"]
    assert table["units"][0] == chosen and table["units"][1]["found"] < 0.95 and table["measure"] == "auroc"
    assert causal and causal["there"] > 3.0 and abs(causal["elsewhere"]) < 1e-3
    assert causal["as_much"] == 0 and len(causal["random"]) == 20
    assert all(abs(one["there"]) < 0.05 and one["unit"] != 0 for one in causal["random"])
    for value, holds in zip(result["values"], result["holds"], strict=True):
        assert value == pytest.approx(1.0 if holds else -1.0, abs=0.3)
    assert causal["mean"] == pytest.approx(np.mean(result["values"]), abs=0.1)
    texts = result["texts"]
    assert texts and set(texts["free"].split("“")[-1].split("”")[0]) <= set("abcxyz")


def test_what_holding_the_unit_costs_is_the_loss_of_the_model_without_it() -> None:
    one = quoting()
    causal = measured(one, label="inside quotes", tokens=2400)["causal"]
    assert causal
    # The same by hand: the unit's way to the logits is cut, and its mean is put into their bias.
    held = quoting().model
    with torch.no_grad():
        held.get_parameter("fc.bias").add_(held.get_parameter("fc.weight")[:, 0] * causal["mean"])
        held.get_parameter("fc.weight")[:, 0] = 0.0
    ids = torch.from_numpy(one.ids.astype(np.int64))
    more = losses(held, ids) - losses(one.model, ids)
    inside = label_tokens(list(one.text))["inside quotes"][:-1].astype(bool)
    assert causal["there"] == pytest.approx(more[inside].mean(), rel=0.05)
    assert causal["elsewhere"] == pytest.approx(more[~inside].mean(), abs=1e-3)


@torch.no_grad()
def losses(model: LanguageModel, ids: Tensor) -> np.ndarray:
    logits = model(ids[None, :-1])[0][0]
    return torch.nn.functional.cross_entropy(logits, ids[1:], reduction="none").numpy()


# Readers ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", NEURAL)
def test_a_reader_computes_what_the_model_does(arch: str) -> None:
    one = subject(arch)
    ids = torch.from_numpy(one.ids[:90].astype(np.int64)).view(3, 30)
    reader = reader_of(one.model)
    with torch.no_grad():
        before = one.model(ids[:, :10])[1]
        expected = one.model(ids)[0][:, 10:]
    read = reader.read(ids[:, 10:], reader.begin(before))
    torch.testing.assert_close(read.logits, expected, atol=2e-5, rtol=1e-4)
    assert set(read.values) == set(reader.keys)
    assert all(value.shape == (3, 20, one.model.config.hidden_size) for value in read.values.values())
    nothing = Clamps(0, "h", *(torch.empty(0, dtype=kind) for kind in (torch.int64, torch.int64, torch.float32)))
    again = reader.read(ids[:, 10:], reader.begin(before), nothing, keep=False)
    torch.testing.assert_close(again.logits, expected, atol=2e-5, rtol=1e-4)
    assert not again.values


@pytest.mark.parametrize("arch", NEURAL)
def test_a_unit_held_in_one_row_has_its_value_there_and_leaves_the_others_alone(arch: str) -> None:
    one = subject(arch)
    ids = torch.from_numpy(one.ids[:20].astype(np.int64)).repeat(3, 1)
    reader = reader_of(one.model)
    start = reader.begin(one.model.initial_state(3))
    free = reader.read(ids, start)
    for layer, state in reader.keys:
        clamps = Clamps(layer, state, torch.tensor([1, 2]), torch.tensor([4, 5]), torch.tensor([0.3, 0.6]))
        read = reader.read(ids, start, clamps)
        held = read.values[layer, state]
        torch.testing.assert_close(held[1, :, 4], torch.full((20,), 0.3))
        torch.testing.assert_close(held[2, :, 5], torch.full((20,), 0.6))
        torch.testing.assert_close(read.logits[0], free.logits[0], atol=1e-5, rtol=1e-4)
        assert (read.logits[1] - free.logits[1]).abs().max() > 1e-6
        for key in reader.keys:
            if key[0] < layer:
                torch.testing.assert_close(read.values[key], free.values[key])


def logit(share: float) -> float:
    return math.log(share / (1 - share))


@pytest.mark.parametrize(
    ("arch", "gate"), [*product(["lstm"], "ifgo"), *product(["gru"], "rzn"), ("mingru", "z"), ("mingru", "h~")]
)
def test_a_held_gate_is_a_gate_whose_weights_are_only_a_bias(arch: str, gate: str) -> None:
    one, unit, layer = subject(arch), 7, 1
    ids = torch.from_numpy(one.ids[:30].astype(np.int64))[None]
    reader = reader_of(one.model)
    clamps = Clamps(layer, gate, torch.tensor([0]), torch.tensor([unit]), torch.tensor([0.3]))
    read = reader.read(ids, reader.begin(one.model.initial_state(1)), clamps)
    size, changed = one.model.config.hidden_size, subject(arch).model
    names = {"lstm": "ifgo", "gru": "rzn", "mingru": "zh"}[arch]
    row = names.index(gate[0]) * size + unit
    before = math.atanh(0.3) if gate in "gn" else logit(0.3)  # h~ below 0.5 is a sigmoid, too
    with torch.no_grad():
        if arch == "mingru":
            changed.get_parameter(f"blocks.{layer}.gates.weight")[row] = 0.0
            changed.get_parameter(f"blocks.{layer}.gates.bias")[row] = before
        else:
            for name in ("weight_ih", "weight_hh", "bias_hh"):
                changed.get_parameter(f"rnn.{name}_l{layer}")[row] = 0.0
            changed.get_parameter(f"rnn.bias_ih_l{layer}")[row] = before
        torch.testing.assert_close(read.logits, changed(ids)[0], atol=2e-5, rtol=1e-4)


def test_a_held_unit_of_the_residual_stream_is_what_the_last_norm_sees() -> None:
    one = subject("transformer")
    ids = torch.from_numpy(one.ids[:30].astype(np.int64))[None]
    reader, last = reader_of(one.model), one.model.config.num_layers - 1
    start = reader.begin(one.model.initial_state(1))
    stream = reader.read(ids, start).values[last, "h"].clone()
    stream[..., 3] = 2.0
    clamps = Clamps(last, "h", torch.tensor([0]), torch.tensor([3]), torch.tensor([2.0]))
    with torch.no_grad():
        expected = one.model.fc(one.model.norm(stream))  # type: ignore[operator]
    torch.testing.assert_close(reader.read(ids, start, clamps).logits, expected, atol=1e-5, rtol=1e-4)
    with torch.no_grad():  # no hook stays behind
        torch.testing.assert_close(one.model(ids)[0], reader.read(ids, start).logits)


# Labels and scores -----------------------------------------------------------------------------------------------
def labels_of(text: str) -> dict[str, str]:
    return {name: "".join(str(int(value)) for value in values) for name, values in label_tokens(list(text)).items()}


def test_the_labels_of_a_text() -> None:
    assert labels_of('"a," b "c\n\nD (e [7])') == {
        "inside quotes": "11100001110000000000",  # a paragraph begins outside
        "inside brackets": "00000000000001111110",
        "bracket depth": "00000000000001112210",
        "position in line": "12345678900123456789",
        "word length so far": "01000100100100100000",
        "inside a word": "01000100100100100000",
        "end of a word": "01000100100100100000",
        "capital next": "00000000001000000000",
        "line end next": "00000000110000000000",
        "paragraph start": "00000000000111111111",
        "digit": "00000000000000000100",
    }
    assert (
        labels_of("ab\ncd")["position in line"] == "12012" and labels_of("don't x")["word length so far"] == "1234501"
    )
    assert labels_of("“a” «b»")["inside quotes"] == "1100110" and labels_of('"a\nb')["inside quotes"] == "1100"
    assert labels_of("))(a")["bracket depth"] == "0011" and labels_of("") == dict.fromkeys(LABELS, "")


def test_a_token_has_the_label_of_its_last_character() -> None:
    labels = label_tokens(["", "He", ' "', "", "Yes", '"', "\n"])
    assert labels["inside quotes"].tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert labels["end of a word"].tolist() == [0, 1, 0, 0, 1, 0, 0] and labels["capital next"][2] == 1


def test_scores_are_those_of_their_definitions() -> None:
    random = np.random.default_rng(1)
    values = np.round(random.normal(size=(6, 300)) * 2, 0)  # many are equal
    values[5] = 3.0
    label, number = random.random(300) < 0.2, np.round(random.normal(size=300), 1)
    centred = average_ranks(values) - 150.5
    for row, got in zip(values, auroc(centred, label), strict=True):
        above = np.sign(row[label][:, None] - row[~label])
        assert got == pytest.approx((above + 1).mean() / 2)
    for row, got in zip(values[:5], spearman(centred, number), strict=False):
        ranks = [[(other < one).sum() + ((other == one).sum() + 1) / 2 for one in other] for other in (row, number)]
        assert got == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert spearman(centred, number)[5] == 0.0 and auroc(centred, label)[5] == 0.5
    smooth = random.normal(size=(4, 2000))
    smooth[3, 0] = 1e6  # one value far out leaves the others apart
    about, exact = (auroc(ranks, smooth[0] > 1) for ranks in (binned_ranks(smooth), average_ranks(smooth) - 1000.5))
    assert about[:3] == pytest.approx(exact[:3], abs=2e-3)


# The measurement -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", NEURAL)
def test_every_network_is_looked_into(arch: str) -> None:
    one = subject(arch)
    drawn = [step.result for step in steps(one, label="inside quotes") if step.result]
    first, last = drawn[0], drawn[-1]
    assert first["causal"] is None and first["texts"] is None and len(drawn) == 3
    assert {name: last[name] for name in first if name not in ("causal", "texts")} == {  # type: ignore[literal-required]
        name: first[name]
        for name in first
        if name not in ("causal", "texts")  # type: ignore[literal-required]
    }
    causal, chosen = last["causal"], last["chosen"]
    assert causal and causal["places"] + causal["others"] > 0.4 * last["tokens"] * 0.9
    assert len({other["unit"] for other in causal["random"]}) == 20
    assert "".join(last["pieces"]) in TEXT and len(last["pieces"]) == len(last["values"]) == len(last["holds"])
    assert 0.5 <= chosen["found"] <= 1.0 and [one["label"] for one in last["left_out"]] == []
    assert {table["label"] for table in last["labels"]} == set(LABELS)
    for table in last["labels"]:
        found = [unit["found"] for unit in table["units"]]
        assert found == sorted(found, reverse=True) and len(found) == 10


def test_the_text_with_the_unit_is_the_one_that_the_model_writes() -> None:
    one = subject("lstm")
    texts = measured(one)["texts"]
    assert texts
    config = replace(SAMPLING, seed=texts["seed"], length=30)
    assert texts["free"] == "".join(generate(one.model, one.tokenizer, texts["prompt"], config))
    assert texts == measured(one)["texts"]


def test_any_unit_can_be_chosen() -> None:
    one = subject("lstm")
    result = measured(one, state="f", layer=1, unit=5, label="word length so far")
    assert result["chosen"] | {"found": 0, "score": 0, "sign": 0} == {
        "layer": 1, "state": "f", "unit": 5, "found": 0, "score": 0, "sign": 0
    }  # fmt: skip
    assert result["measure"] == "spearman" and result["causal"] and all(0 < value < 1 for value in result["values"])
    assert measured(one, state="c")["chosen"]["state"] == "c" and measured(one, layer=0)["chosen"]["layer"] == 0


def test_the_values_are_those_of_the_model_as_it_reads_the_whole_text() -> None:
    one = subject("gru")
    result = measured(one, layer=1, state="h", unit=3)
    start = TEXT.index("".join(result["pieces"]))  # the text repeats, and the model forgets what was before that
    with torch.no_grad():
        _, states = one.model(torch.from_numpy(one.ids[: start + 300].astype(np.int64))[None])
    assert result["values"][299] == pytest.approx(float(states[0][1, 0, 3]), abs=1e-3)


def test_words_and_subwords_have_units_too() -> None:
    for tokenizer in (WordTokenizer.fit(TEXT, "cased"), BPETokenizer.fit(TEXT, 280)):
        result = measured(subject("gru", TEXT * 2, tokenizer), label="inside quotes")
        assert result["causal"] and result["texts"] and "".join(result["pieces"]).strip()


def test_what_cannot_be_measured_is_said_in_a_sentence() -> None:
    def fails(one: Subject, match: str, **settings: int | str) -> None:
        with pytest.raises(MeasurementError, match=match) as caught:
            steps(one, **settings)
        assert str(caught.value).count(". ") == 0

    fails(subject("ngram"), "n-gram, has no units")
    fails(subject(text=TEXT[:300]), "at least 400 tokens")
    fails(subject(text=""), "at least 400 tokens")
    fails(subject(), "no state or gate c; it has h, r, z, n", state="c")
    fails(subject(), "layer 2 is not among the model's 2", layer=2)
    fails(subject(), "unit 24 is not among", unit=24)
    plain = subject(text="the cat sat by the door and saw it " * 40)
    fails(plain, "inside quotes: 0 places with it", label="inside quotes")
    result = measured(plain)
    assert result["label"] not in {one["label"] for one in result["left_out"]}
    assert {"inside quotes", "digit", "capital next"} <= {one["label"] for one in result["left_out"]}
    fails(subject(text="a" * 800), "too few places of any label")
    broken = subject()
    with torch.no_grad():
        broken.model.get_parameter("rnn.weight_hh_l0")[0, 0] = torch.nan
    fails(broken, "diverged")


def test_too_many_units_are_refused_before_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_NUMBERS", 10_000)
    with pytest.raises(MeasurementError, match="192 units, too many"):
        steps(subject())


def test_the_finding_and_the_table_have_the_numbers() -> None:
    result = measured(quoting(), label="inside quotes", tokens=2400)
    causal = result["causal"]
    assert causal
    costs = f"{causal['there']:+.3f} nats there and {causal['elsewhere']:+.3f} elsewhere".replace("-", "−")
    one = Measured("RNN", "rnn", result)
    told = f"In the RNN h 0 of layer 0 follows “inside quotes” (AUROC 1.00; held at its mean, it costs {costs})"
    assert finding([one]) == f"{told}."
    assert finding([Measured("RNN", "rnn", {**result, "causal": None})]).endswith("(AUROC 1.00).")
    poor: Neurons = {**result, "chosen": {**result["chosen"], "score": 0.55, "sign": -1}}
    other = Measured("GRU", "gru", poor)
    none = "in the GRU no unit does (the best, h 0 of layer 0, has AUROC 0.55, falling)"
    assert finding([one, other]) == f"{told} and {none}."
    third = Measured("LSTM", "lstm", {**result, "label": "bracket depth", "measure": "spearman"})
    assert "in the LSTM h 0 of layer 0 follows “bracket depth” (Spearman 1.00" in finding([one, other, third])
    table = rows(measured(subject()))
    assert len(table) == 10 * len(LABELS) and table[0]["rank"] == 1
    assert set(table[0]) == {"label", "measure", "rank", "layer", "state", "unit", "sign", "found", "score"}


def test_it_can_be_stopped_and_leaves_the_model_as_it_was() -> None:
    one = subject("transformer")
    ids = torch.from_numpy(one.ids[:30].astype(np.int64))[None]
    with torch.no_grad():
        before = one.model(ids)[0]
    at_work = measure(one, Settings(tokens=1600))
    for _, step in zip(range(40), at_work, strict=False):
        assert 0 <= step.share < 1
    at_work.close()  # type: ignore[attr-defined]
    with torch.no_grad():
        assert torch.equal(one.model(ids)[0], before)
    shares = [step.share for step in steps(one)]
    assert shares == sorted(shares)
