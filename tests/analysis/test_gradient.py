"""Gradient through time: against torch's own layers, finite differences, and models whose answer is known."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.analysis import backpropagation, gradient
from charlm.analysis.gradient import Result, Settings, finding, half_life, measure, record, rows
from charlm.analysis.measurement import Measured, Subject
from charlm.architectures import ARCHS
from charlm.config import ModelConfig
from charlm.errors import ConfigError, MeasurementError
from charlm.models import LanguageModel, build_model
from charlm.models.mingru import MinGRUModel
from charlm.models.recurrent import RecurrentModel, RNNModel
from charlm.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer

TEXT = "the cat sat on the mat and the dog sat on the log while it rained all day long. " * 8
TOKENIZER = CharTokenizer.fit(TEXT)
QUICK = Settings(positions=5, lags=20, warmup=7)
RECURRENT = [("lstm", "tanh"), ("gru", "tanh"), ("rnn", "tanh"), ("rnn", "relu"), ("mingru", "tanh")]


def built(arch: str, tokenizer: Tokenizer = TOKENIZER, **sizes: Any) -> LanguageModel:
    given = {"num_layers": 2, "hidden_size": 8, "context": 6, **sizes}
    return build_model(ModelConfig(arch=arch, vocab_size=tokenizer.vocab_size, **given), 3).eval()


def subject(model: LanguageModel, tokenizer: Tokenizer = TOKENIZER, **more: Any) -> Subject:
    return Subject(model, tokenizer, TEXT, tokenizer.encode(TEXT), **more)


def measured(model: LanguageModel, settings: Settings = QUICK) -> Result:
    *_, last = measure(subject(model), settings)
    assert last.share == 1.0 and last.result is not None
    return last.result


def curve(result: gradient.Curves, state: str, layer: int = 0) -> list[float]:
    found = [row for row in result["rows"] if (row["state"], row["layer"]) == (state, layer)]
    assert [row["lag"] for row in found] == list(range(len(found)))
    return [row["log10_norm"] if row["log10_norm"] is not None else -math.inf for row in found]


class Plain:
    """The same model from torch's own modules, one a layer, with something added to any state at any step."""

    def __init__(self, model: LanguageModel) -> None:
        assert isinstance(model, RecurrentModel)
        self.model, config, state = model, model.config, model.state_dict()
        self.layers = []
        for layer in range(config.num_layers):
            size = state[f"rnn.weight_ih_l{layer}"].shape[1]
            part = type(model).MODULE(size, config.hidden_size, 1, **model._cell_options())
            weights = {name: state[f"rnn.{name[:-1]}{layer}"] for name in part.state_dict()}
            part.load_state_dict(weights)
            self.layers.append(part.double())
        self.fc = nn.Linear(config.hidden_size, config.vocab_size)
        self.fc.load_state_dict({"weight": state["fc.weight"], "bias": state["fc.bias"]})
        self.fc.double()

    def loss(self, window: Tensor, added: dict[tuple[str, int, int], Tensor]) -> Tensor:
        """The loss of the last of the ids (T,) after those before, with `added` at (state, layer, step)."""
        config = self.model.config
        names = "hc" if config.arch == "lstm" else "h"
        states = [[torch.zeros(1, 1, config.hidden_size).double() for _ in names] for _ in self.layers]
        x = torch.empty(0)
        for step, token in enumerate(window[:-1]):
            table = self.model.embed.weight if self.model.embed is not None else torch.eye(config.vocab_size)
            x = table[token].detach().double()[None, None]
            x = x + added.get(("input", 0, step), torch.zeros(()))
            for layer, module in enumerate(self.layers):
                x = self._advance(module, x, states[layer], {name: added.get((name, layer, step)) for name in names})
        return F.cross_entropy(self.fc(x[0]), window[-1:])

    def _advance(self, module: Any, x: Tensor, state: list[Tensor], added: dict[str, Tensor | None]) -> Tensor:
        """One step of one layer; what is added to an LSTM's cell reaches its h through the output gate."""
        _, end = module(x, tuple(state) if len(state) > 1 else state[0])
        new = list(end) if len(state) > 1 else [end]
        if added.get("c") is not None:
            size = module.hidden_size
            w_ih, w_hh = (part[3 * size :] for part in (module.weight_ih_l0, module.weight_hh_l0))
            bias = (module.bias_ih_l0 + module.bias_hh_l0)[3 * size :]
            new[1] = new[1] + added["c"]
            new[0] = (x @ w_ih.t() + state[0] @ w_hh.t() + bias).sigmoid() * new[1].tanh()
        if added["h"] is not None:
            new[0] = new[0] + added["h"]
        state[:] = new
        return new[0]


def windows_of(settings: Settings) -> Tensor:
    return gradient._cut(TOKENIZER.encode(TEXT), settings)


@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("sizes", [{}, {"num_layers": 3, "embed_dim": 5}, {"nonlinearity": "relu", "num_layers": 1}])
def test_equals_autograd_through_torchs_own_layers(arch: str, sizes: dict[str, Any]) -> None:
    model = built(arch, **sizes)
    result, plain, windows = measured(model), Plain(model), windows_of(QUICK)
    layers, last = model.config.num_layers, QUICK.warmup + QUICK.lags - 1  # the step that the loss comes after
    states = [(name, layer) for name in ("hc" if arch == "lstm" else "h") for layer in range(layers)]
    for name, layer in [*states, ("input", 0)]:
        size = (model.config.embed_dim or model.config.vocab_size) if name == "input" else model.config.hidden_size
        sums = np.zeros(QUICK.lags)
        for window in windows:
            # the input of the last step is lag 0, as is the state that the last step reads
            steps = [last - lag - (name != "input") for lag in range(QUICK.lags)]
            bumps = {(name, layer, step): torch.zeros(size, dtype=torch.float64, requires_grad=True) for step in steps}
            grads = torch.autograd.grad(plain.loss(window, bumps), list(bumps.values()))
            sums += [float(grad.norm().log10()) for grad in grads]
        assert curve(result, name, layer) == pytest.approx(sums / len(windows), abs=2e-5)


@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn"])
def test_equals_finite_differences(arch: str) -> None:
    """The total derivative: a small change of a state, with all that it does to the later steps and layers above."""
    settings = Settings(positions=2, lags=6, warmup=4)
    model = built(arch, hidden_size=4)
    result, plain, windows = measured(model, settings), Plain(model), windows_of(settings)
    for name, layer in [("h", 0), ("h", 1), *([("c", 0)] if arch == "lstm" else [])]:
        for lag in (0, 1, 5):
            step, logs = settings.warmup + settings.lags - 2 - lag, []
            for window in windows:
                slopes = []
                for unit in range(4):
                    bump = torch.zeros(4, dtype=torch.float64)
                    bump[unit] = 1e-5
                    ends = [plain.loss(window, {(name, layer, step): sign * bump}) for sign in (1, -1)]
                    slopes.append((ends[0] - ends[1]).item() / 2e-5)
                logs.append(math.log10(math.hypot(*slopes)))
            assert curve(result, name, layer)[lag] == pytest.approx(np.mean(logs), abs=1e-4)


@pytest.mark.parametrize("arch", ["mingru", "transformer"])
def test_input_equals_autograd_through_the_whole_model(arch: str) -> None:
    """By the model's own forward, with leaves in place of what the embedding returns."""
    model, windows = built(arch, embed_dim=4), windows_of(QUICK)
    found = curve(measured(model), "input")
    model.double()
    sums = np.zeros(len(found))
    leaves: list[Tensor] = []
    assert isinstance(model.embed, nn.Embedding)
    handle = model.embed.register_forward_hook(
        lambda module, args, output: leaves.append(output.detach().requires_grad_()) or leaves[-1]
    )
    for window in windows:
        logits, _ = model(window[None, :-1])
        grads = torch.autograd.grad(F.cross_entropy(logits[:, -1], window[-1:]), leaves[-1])[0][0]
        sums += grads.norm(dim=1).log10().flip(0).numpy()[: len(found)]
    handle.remove()
    assert found == pytest.approx(sums / len(windows), abs=2e-5)


@pytest.mark.parametrize(("a", "lag"), [(0.9, 7), (0.5, 1), (0.99, 69), (1.0, None)])
def test_a_scaled_rotation_loses_a_at_each_step(a: float, lag: int | None) -> None:
    """Relu of positive sums is the identity: h' = a Q h + W x with a permutation Q and W > 0 is linear, and exact."""
    model = build_model(
        ModelConfig(arch="rnn", nonlinearity="relu", vocab_size=TOKENIZER.vocab_size, hidden_size=8, num_layers=1), 3
    )
    assert isinstance(model, RNNModel)
    with torch.no_grad():
        model.rnn.weight_hh_l0.copy_(a * torch.eye(8)[torch.tensor([3, 0, 7, 1, 2, 6, 4, 5])])
        model.rnn.weight_ih_l0.uniform_(0.1, 1.0)
        model.rnn.bias_ih_l0.zero_()
        model.rnn.bias_hh_l0.zero_()
    result = measured(model, Settings(positions=4, lags=100, warmup=7))
    found = curve(result, "h")
    weight = float(np.float32(a))  # as the model holds it
    assert found == pytest.approx([found[0] + k * math.log10(weight) for k in range(100)], abs=2e-5)
    assert result["half_life"] == lag
    assert result["decades"] == pytest.approx(99 * math.log10(weight), abs=2e-5)


def test_nothing_underflows() -> None:
    """300 steps of 0.01 lose 600 decades, twice as many as numbers of 8 bytes have."""
    model = build_model(
        ModelConfig(arch="rnn", nonlinearity="relu", vocab_size=TOKENIZER.vocab_size, hidden_size=4, num_layers=1), 3
    )
    assert isinstance(model, RNNModel)
    with torch.no_grad():
        model.rnn.weight_hh_l0.copy_(0.01 * torch.eye(4))
        model.rnn.weight_ih_l0.uniform_(0.1, 1.0)
    found = curve(measured(model, Settings(positions=2, lags=300, warmup=1)), "h")
    assert found[-1] - found[0] == pytest.approx(-299 * 2, abs=1e-3)


def test_a_gradient_of_zero_is_none() -> None:
    model = build_model(ModelConfig(arch="rnn", vocab_size=TOKENIZER.vocab_size, hidden_size=4, num_layers=1), 3)
    assert isinstance(model, RNNModel)
    with torch.no_grad():
        model.rnn.weight_hh_l0.zero_()  # no past at all
    result = measured(model)
    assert {row["log10_norm"] for row in result["rows"] if row["state"] == "h"} == {None}
    assert [value > -math.inf for value in curve(result, "input")] == [True] + [False] * 19
    assert result["half_life"] is None and result["decades"] is None
    assert "none of it" in finding([Measured("rnn", "rnn", result)])


@pytest.mark.parametrize(("arch", "nonlinearity"), RECURRENT)
def test_what_is_found_of_every_recurrent_model(arch: str, nonlinearity: str) -> None:
    result = measured(built(arch, nonlinearity=nonlinearity))
    states = {(row["state"], row["layer"]) for row in result["rows"]}
    assert states == {("h", 0), ("h", 1), ("input", 0)} | ({("c", 0), ("c", 1)} if arch == "lstm" else set())
    assert {(one["state"], one["layer"]) for one in result["half_lives"]} == states
    assert len(result["rows"]) == len(states) * 20 and result["positions"] == 5 and result["far"] == 19
    assert all(row["stderr"] is not None and row["stderr"] > 0 for row in result["rows"])
    top = [row for row in result["rows"] if (row["state"], row["layer"]) == ("h", 1)]
    assert result["half_life"] == half_life(top)
    assert result["initial"] is None and result["snapshots"] == []


def test_a_transformers_lags_end_where_its_layers_reach() -> None:
    result = measured(built("transformer", context=4), Settings(positions=3, lags=30, warmup=7))
    found = curve(result, "input")  # 2 layers, 3 tokens before the newest one each
    assert len(found) == 7 and all(math.isfinite(value) for value in found)
    assert result["half_lives"] == [{"state": "input", "layer": 0, "half_life": result["half_life"]}]


def test_now_initial_and_snapshots_stand_side_by_side() -> None:
    models = {0: built("gru"), 10: built("gru", init="torch"), 20: built("gru", init="xavier")}
    about = subject(models[20], initial=lambda: models[0], snapshots=(10, 20), at=models.__getitem__, seq_len=9)
    settings = Settings(positions=20, lags=20, warmup=7)
    results = [progress.result for progress in measure(about, settings) if progress.result is not None]
    assert results[0]["positions"] == 16 and results[0]["initial"] is None  # a first picture
    last = results[-1]
    assert last["positions"] == 20 and last["initial"] is not None and last["initial"]["positions"] == 20
    assert [one["at"] for one in last["snapshots"]] == ["10", "20"] and last["far"] == 9
    assert curve(last["initial"], "h", 1) == curve(measured(models[0], settings), "h", 1)
    assert curve(last, "h", 1) == curve(measured(models[20], settings), "h", 1)
    assert {row["at"] for row in rows(last)} == {"now", "initial", "10", "20"}
    *_, of_step = measure(about, Settings(positions=20, lags=20, warmup=7, at="10"))
    assert of_step.result is not None and of_step.result["at"] == "10"
    assert curve(of_step.result, "h", 1) == curve(measured(models[10], settings), "h", 1)
    assert [one["at"] for one in of_step.result["snapshots"]] == ["20"]


def test_progress_rises_and_results_come_early() -> None:
    shares = [progress.share for progress in measure(subject(built("lstm")), Settings(positions=40, lags=40, warmup=9))]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) > 15


@pytest.mark.parametrize("arch", ["gru", "transformer"])
def test_between_its_steps_other_measurements_can_differentiate(arch: str) -> None:
    """All share a thread: what one switches off stays off for the next."""
    assert all([torch.is_grad_enabled() for _ in gradient.measure(subject(built(arch)), QUICK)])


def test_a_small_batch_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = built("gru")
    whole = measured(model)
    monkeypatch.setattr(backpropagation, "MOST_NUMBERS", 1)
    assert measured(model)["rows"] == [
        {name: pytest.approx(value, abs=1e-5) if isinstance(value, float) else value for name, value in row.items()}
        for row in whole["rows"]
    ]


@pytest.mark.parametrize("arch", [arch for arch in ARCHS if arch != "ngram"])
def test_a_training_records_its_curve_and_stays_as_it_is(arch: str) -> None:
    model = built(arch, dropout=0.5).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    drawn = model.generator.get_state()
    found = record(model, TOKENIZER.encode(TEXT), positions=4, lags=10)
    assert found["positions"] == 4 and found["rows"] == record(model, TOKENIZER.encode(TEXT), 4, 10)["rows"]
    assert model.training and torch.equal(model.generator.get_state(), drawn)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("tokenizer", [WordTokenizer.fit(TEXT, "lower"), BPETokenizer.fit(TEXT, 260)])
def test_tokens_may_be_words_or_subwords(tokenizer: Tokenizer) -> None:
    about = subject(built("lstm", tokenizer), tokenizer)
    *_, last = measure(about, QUICK)
    assert last.result is not None and last.result["half_life"] is not None


def test_the_sentence_has_the_numbers_of_the_result() -> None:
    def found(
        label: str, half: int | None, decades: float | None, far: int = 64, unit: str = "characters", at: str = "now"
    ) -> Any:
        row = {"state": "h", "layer": 0, "lag": 255, "log10_norm": -1.0, "stderr": 0.1}
        result: Any = {"at": at, "half_life": half, "decades": decades, "far": far, "rows": [row]}
        return Measured(label, "lstm", result, 64, unit)

    def said(*some: Any) -> str:
        return finding(some)

    assert said(found("LSTM", 2, -3.29)) == (
        "The gradient of the loss has halved 2 characters back in the LSTM; 64 characters back, 10⁻³·³ of it is left."
    )
    assert said(found("LSTM", 2, -3.29), found("GRU", None, -2.0), found("RNN", 1, None)) == (
        "The gradient of the loss has halved 2 characters back in the LSTM, 1 in the RNN and not within 255 characters "
        "in the GRU; 64 characters back, 10⁻³·³, 10⁻²·⁰ and none of it are left."
    )
    assert said(found("GRU", None, -0.2), found("my-run", None, -0.1)) == (
        "The gradient of the loss has halved nowhere: not within 255 characters in the GRU and not within 255 "
        "characters in my-run; 64 characters back, 10⁻⁰·² and 10⁻⁰·¹ of it are left."
    )
    assert said(found("LSTM", 2, -3.29, at="initial")).startswith(
        "Before training, the gradient of the loss has halved"
    )
    assert said(found("LSTM", 2, -3.29, at="1200")).startswith("At step 1,200, the gradient of the loss has halved 2 ")
    mixed = said(found("LSTM", 1, -3.29), found("words", 2, -1.0, 32, "words"))
    assert "1 character back in the LSTM and 2 words back in words" in mixed
    assert "further back, 10⁻³·³ (LSTM, 64 back) and 10⁻¹·⁰ (words, 32 back) of it" in mixed
    assert finding([]) == ""


def failing(about: Subject, settings: Settings = QUICK) -> str:
    with pytest.raises(MeasurementError) as caught:
        list(measure(about, settings))
    return str(caught.value)


def test_what_cannot_be_measured_says_why() -> None:
    assert "counts tokens" in failing(subject(built("ngram")))
    short = Subject(built("lstm"), TOKENIZER, "the cat", TOKENIZER.encode("the cat"))
    assert failing(short).startswith("the text has 7 tokens and the gradient needs 32")
    assert "at initial are not kept; those that are: now" in failing(
        subject(built("lstm")), Settings(positions=5, lags=20, warmup=7, at="initial")
    )
    kept = subject(built("lstm"), snapshots=(10,), at=lambda step: built("lstm"))
    assert "now, 10" in failing(kept, Settings(positions=5, lags=20, warmup=7, at="11"))


@pytest.mark.parametrize("arch", ["lstm", "transformer"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverged_weight_is_said_in_one_sentence(arch: str, value: float) -> None:
    model = built(arch)
    with torch.no_grad():
        model.get_parameter("fc.weight")[0, 0] = value
    assert "not finite" in failing(subject(model))


@pytest.mark.parametrize("arch", ["gru", "transformer"])
def test_a_snapshot_that_diverged_is_left_out(arch: str) -> None:
    broken = built(arch)
    with torch.no_grad():
        broken.get_parameter("fc.bias").fill_(math.nan)
    about = subject(built(arch), snapshots=(10, 20), at={10: broken, 20: built(arch)}.__getitem__)
    *_, last = measure(about, QUICK)
    assert last.result is not None and [one["at"] for one in last.result["snapshots"]] == ["20"]


def test_states_that_explode_are_said_in_one_sentence() -> None:
    model = built("rnn", nonlinearity="relu", num_layers=1)
    assert isinstance(model, RNNModel)
    with torch.no_grad():
        model.rnn.weight_hh_l0.fill_(1e30)
        model.rnn.weight_ih_l0.fill_(1.0)
    assert "without limit" in failing(subject(model))


@pytest.mark.parametrize("at", ["", "later", "-1", "1.5", "١"])
def test_weights_are_named(at: str) -> None:
    with pytest.raises(ConfigError, match="at "):
        Settings(at=at)


def test_a_users_own_architecture_is_differentiated_by_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = built("mingru"), TOKENIZER.encode(TEXT)
    assert isinstance(model, MinGRUModel)
    by_states = record(model, ids, 3, 10)
    monkeypatch.setattr(backpropagation, "has_state", lambda one: False)
    by_input: Sequence[Any] = record(model, ids, 3, 10)["rows"]
    assert [row["log10_norm"] for row in by_input] == pytest.approx(curve(by_states, "input"), abs=1e-4)
