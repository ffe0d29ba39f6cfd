"""The dynamics of recurrent models whose time scales, radii and exponents are known, and by other computations."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from charlm.analysis import dynamics
from charlm.analysis.dynamics import Result, Settings, finding, measure, rows
from charlm.analysis.measurement import Measured, Subject
from charlm.analysis.unrolled import Unrolled
from charlm.config import ModelConfig
from charlm.errors import MeasurementError
from charlm.models import LanguageModel, build_model
from charlm.models.mingru import MinGRUModel
from charlm.models.recurrent import RecurrentModel
from charlm.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer

TEXT = "the sun rose over the hills and the river ran on to the sea, slowly, as it had always done. " * 28
TOKENIZER = CharTokenizer.fit(TEXT)
QUICK = Settings(tokens=2000, warmup=20)
RECURRENT = [("lstm", "tanh"), ("gru", "tanh"), ("rnn", "tanh"), ("rnn", "relu"), ("mingru", "tanh")]


def built(arch: str, tokenizer: Tokenizer = TOKENIZER, **sizes: Any) -> LanguageModel:
    given = {"num_layers": 2, "hidden_size": 6, "num_heads": 1, "context": 6, **sizes}
    return build_model(ModelConfig(arch=arch, vocab_size=tokenizer.vocab_size, **given), 3).eval()


def subject(model: LanguageModel, tokenizer: Tokenizer = TOKENIZER) -> Subject:
    return Subject(model, tokenizer, TEXT, tokenizer.encode(TEXT))


def measured(model: LanguageModel, settings: Settings = QUICK) -> Result:
    *_, last = measure(subject(model), settings)
    assert last.share == 1.0 and last.result is not None
    return last.result


def logit(share: float) -> float:
    return math.log(share / (1 - share))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("arch", ["lstm", "gru", "mingru"])
def test_constant_gates_give_the_time_scale_they_were_set_to(arch: str, share: float) -> None:
    """`share` of its past is what every unit keeps from token to token, whatever it reads."""
    model = built(arch)
    with torch.no_grad():
        if isinstance(model, MinGRUModel):
            for block in model.blocks:
                block.gates.weight[:6] = 0
                block.gates.bias[:6] = logit(1 - share)  # minGRU keeps 1 - z
        else:
            assert isinstance(model, RecurrentModel)
            for layer in range(2):
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                    model.get_parameter(f"rnn.{name}_l{layer}")[6:12] = 0  # f of the LSTM, z of the GRU
                model.get_parameter(f"rnn.bias_ih_l{layer}")[6:12] = logit(share)
    result = measured(model)
    scale = -1 / math.log(share)
    assert [unit["time_scale"] for unit in result["units"]] == pytest.approx([scale] * 12, rel=1e-3)
    assert [layer["median"] for layer in result["layers"]] == pytest.approx([scale] * 2, rel=1e-3)
    value = 1 - share if arch == "mingru" else share
    for unit in result["units"]:
        assert (unit["low"], unit["high"]) == (float(value < 0.1), float(value > 0.9))
        assert unit["histogram"] == [float(place == int(value * 10 + 1e-6)) for place in range(10)]


def test_a_gate_that_never_closes_has_a_finite_number() -> None:
    model = built("lstm")
    with torch.no_grad():
        model.get_parameter("rnn.bias_ih_l0")[6:12] = 1e4
    assert measured(model)["units"][0]["time_scale"] == dynamics.LONGEST


@pytest.mark.parametrize("a", [0.5, 0.9, 1.0, 1.1])
def test_the_exponent_of_a_scaled_rotation_is_its_logarithm(a: float) -> None:
    """Relu of positive sums is the identity: h' = a Q h + W x with a permutation Q and W > 0."""
    model = built("rnn", nonlinearity="relu", num_layers=1)
    with torch.no_grad():
        model.get_parameter("rnn.weight_hh_l0").copy_(a * torch.eye(6)[torch.tensor([3, 0, 5, 1, 2, 4])])
        model.get_parameter("rnn.weight_ih_l0").uniform_(0.1, 1.0)
        model.get_parameter("rnn.bias_ih_l0").zero_()
    # of 1.1 the states themselves grow, by 1.1^500, which is less than the largest number of 4 bytes
    result = measured(model, Settings(tokens=2000, warmup=20))
    assert result["lyapunov"] == pytest.approx(math.log(a), abs=2e-5)
    assert result["interval"] == pytest.approx([math.log(a)] * 2, abs=5e-5)
    assert result["matrices"][0]["radius"] == pytest.approx(a, abs=1e-4)
    assert result["matrices"][0]["norm"] == pytest.approx(a, abs=1e-4)


def test_a_rotation_of_a_saturated_state_has_no_exponent() -> None:
    model = built("rnn", num_layers=1)
    with torch.no_grad():
        model.get_parameter("rnn.weight_hh_l0").zero_()
    result = measured(model)
    assert result["lyapunov"] is None and result["interval"] is None
    assert "minus infinity in the RNN" in finding([Measured("RNN", "rnn", result)])


@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn", "mingru"])
def test_the_exponent_is_that_of_the_product_of_jacobians(arch: str) -> None:
    """From explicit Jacobians of the full state by reverse-mode differentiation, and the same first small change."""
    unrolled, ids = Unrolled(built(arch, hidden_size=3)), torch.from_numpy(TOKENIZER.encode(TEXT)[:90]).long()
    shapes = [[(name, part.shape[1:]) for name, part in layer.items()] for layer in unrolled.initial(1)]

    def advance(flat: Tensor, token: Tensor) -> Tensor:
        states, place = [], 0
        for layer in shapes:
            named = {}
            for name, shape in layer:
                named[name] = flat[place : place + shape.numel()].view(1, *shape)
                place += shape.numel()
            states.append(named)
        after = unrolled.step(token[None], states)[1]
        return torch.cat([after[layer][name].flatten() for layer, parts in enumerate(shapes) for name, _ in parts])

    reading, sums = dynamics._Reading(unrolled, 1, 7), 0.0
    flat = torch.zeros(sum(shape.numel() for layer in shapes for _, shape in layer), dtype=torch.float64)
    change = torch.cat([(part[1] - part[0]).flatten() for layer in reading._states for part in layer.values()])
    for step, token in enumerate(ids):
        reading.step(token[None], counts=step >= 40)
        jacobian: Any = torch.autograd.functional.jacobian(lambda h, token=token: advance(h, token), flat)
        flat = advance(flat, token).detach()
        change = jacobian @ (change / change.norm())
        sums += float(change.norm().log()) if step >= 40 else 0.0
    assert reading.result([])["lyapunov"] == pytest.approx(sums / 50, abs=2e-5)


@pytest.mark.parametrize(("arch", "nonlinearity"), RECURRENT)
def test_what_is_found_of_every_recurrent_model(arch: str, nonlinearity: str) -> None:
    model = built(arch, nonlinearity=nonlinearity)
    result = measured(model)
    assert result["tokens"] >= 2000 and len(result["units"]) == 12 and len(result["layers"]) == 2
    gates = {"lstm": "ifo", "gru": "rz", "rnn": "h", "mingru": "z"}[arch]
    assert {(gate["layer"], gate["gate"]) for gate in result["gates"]} == {(n, gate) for n in (0, 1) for gate in gates}
    matrices = {"lstm": "ifgo", "gru": "rzn", "rnn": "h", "mingru": ""}[arch]
    assert [(one["layer"], one["gate"]) for one in result["matrices"]] == [
        (n, gate) for n in (0, 1) for gate in matrices
    ]
    for one in [*result["gates"], *result["units"]]:
        assert sum(one["histogram"]) == pytest.approx(1.0, abs=1e-3)
        assert one["histogram"][0] == pytest.approx(one["low"], abs=1e-3)
        assert one["histogram"][9] == pytest.approx(one["high"], abs=1e-3)
    assert all((unit["time_scale"] is None) == (arch == "rnn") for unit in result["units"])
    low, high = result["interval"] or (1.0, 0.0)
    assert result["lyapunov"] is not None and low <= result["lyapunov"] <= high
    table = rows(result)
    assert (
        len({tuple(row) for row in table}) == 1
        and len(table) == 1 + 2 * max(len(gates), len(set(gates + matrices))) + 12
    )
    if matrices:
        weight = model.get_parameter("rnn.weight_hh_l1")[:6].detach().numpy().astype(np.float64)
        assert result["matrices"][len(matrices)]["radius"] == pytest.approx(
            np.abs(np.linalg.eigvals(weight)).max(), abs=1e-3
        )
        assert result["matrices"][len(matrices)]["norm"] == pytest.approx(np.linalg.norm(weight, 2), abs=1e-3)


def test_results_grow_and_progress_rises() -> None:
    found = list(measure(subject(built("lstm")), QUICK))
    shares, results = [one.share for one in found], [one.result for one in found if one.result is not None]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(found) > 10
    assert not results[0]["matrices"] and len(results[-1]["matrices"]) == 8
    assert [one["tokens"] for one in results] == sorted(one["tokens"] for one in results)


def test_a_short_text_has_fewer_places_and_a_long_one_as_many_tokens_as_asked() -> None:
    def lanes(length: int, tokens: int) -> tuple[int, int]:
        found = dynamics._lanes(np.arange(length, dtype=np.int64), Settings(tokens=tokens, warmup=100))
        assert len(set(torch.stack(list(found)).flatten().tolist())) == len(found) * len(found[0])  # none overlap
        return len(found[0]), len(found) - 100

    assert lanes(100_000, 8192) == (16, 512)
    assert lanes(2148, 16_384) == (1, 2048)
    assert lanes(2148 + 64, 16_384) == (1, 2112)
    count, steps = lanes(10_000, 4096)
    assert count > 1 and count * steps >= 4096


def failing(about: Subject) -> str:
    with pytest.raises(MeasurementError) as caught:
        list(measure(about, QUICK))
    return str(caught.value)


def test_what_has_no_dynamics_says_why() -> None:
    assert "the Transformer has no dynamics: it carries no recurrent state" in failing(subject(built("transformer")))
    assert "table of counts" in failing(subject(built("ngram")))
    short = Subject(built("lstm"), TOKENIZER, TEXT[:500], TOKENIZER.encode(TEXT[:500]))
    assert failing(short) == (
        "the text has 500 tokens and the dynamics need 2,068, 20 of them to warm up; take a longer text"
    )


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverged_weight_is_said_in_one_sentence(value: float) -> None:
    model = built("gru")
    with torch.no_grad():
        model.get_parameter("rnn.weight_hh_l1")[0, 0] = value
    assert "weight_hh_l1 hold numbers that are not finite" in failing(subject(model))


def test_states_that_explode_are_said_in_one_sentence() -> None:
    model = built("rnn", nonlinearity="relu", num_layers=1)
    with torch.no_grad():
        model.get_parameter("rnn.weight_hh_l0").fill_(1e30)
        model.get_parameter("rnn.weight_ih_l0").fill_(1.0)
    assert "without limit" in failing(subject(model))


@pytest.mark.parametrize("tokenizer", [WordTokenizer.fit(TEXT, "lower"), BPETokenizer.fit(TEXT, 260)])
def test_tokens_may_be_words_or_subwords(tokenizer: Tokenizer) -> None:
    text = TEXT * 5
    about = Subject(built("gru", tokenizer), tokenizer, text, tokenizer.encode(text))
    *_, last = measure(about, QUICK)
    assert last.result is not None and last.result["tokens"] >= 2000


def test_a_matrix_too_large_for_eigenvalues_has_its_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamics, "MOST_UNITS", 5)
    assert all(one["radius"] is None and one["norm"] > 0 for one in measured(built("gru"))["matrices"])


def test_the_sentence_has_the_numbers_of_the_result() -> None:
    lstm, rnn = measured(built("lstm")), measured(built("rnn"))
    said = finding([Measured("LSTM", "lstm", lstm), Measured("RNN", "rnn", rnn)])
    assert f"{lstm['lyapunov']:.3f} in the LSTM and {rnn['lyapunov']:.3f} in the RNN" in said
    assert f"at least {lstm['layers'][1]['median']:.1f} characters in the LSTM." in said
    assert finding([Measured("RNN", "rnn", rnn)]).startswith("The largest Lyapunov exponent per character is ")
    assert finding([]) == ""
