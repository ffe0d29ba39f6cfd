"""The recurrent models step by step: the same logits, states and gates as the models themselves compute."""

from typing import Any

import pytest
import torch
from torch import Tensor

from charlm.analysis.unrolled import Unrolled
from charlm.config import ModelConfig
from charlm.errors import MeasurementError
from charlm.models import LanguageModel, build_model

KINDS = [("lstm", "tanh"), ("gru", "tanh"), ("rnn", "tanh"), ("rnn", "relu"), ("mingru", "tanh")]
SIZES: list[dict[str, Any]] = [
    {"num_layers": 1},
    {"num_layers": 3, "embed_dim": 6},
    {"num_layers": 3, "embed_dim": 8, "tie_weights": True},
]


def built(arch: str, nonlinearity: str = "tanh", **sizes: Any) -> LanguageModel:
    config = ModelConfig(arch=arch, nonlinearity=nonlinearity, vocab_size=11, hidden_size=8, **sizes)
    return build_model(config, 3).eval()


def some_ids(rows: int = 3, length: int = 9) -> Tensor:
    return torch.randint(11, (rows, length), generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(("arch", "nonlinearity"), KINDS)
@pytest.mark.parametrize("sizes", SIZES)
def test_steps_are_the_models_own(arch: str, nonlinearity: str, sizes: dict[str, Any]) -> None:
    model, ids = built(arch, nonlinearity, **sizes), some_ids()
    with torch.no_grad():
        logits, end = model(ids)
        middle = model(ids[:, :4])[1]
    for dtype, close in ((torch.float64, 2e-5), (torch.float32, 5e-5)):
        unrolled = Unrolled(model, dtype)
        for first, states in ((0, unrolled.initial(3)), (4, unrolled.states(middle))):
            for place in range(first, ids.shape[1]):
                x = ids[:, place] if place % 2 else unrolled.embed(ids[:, place])  # both ways to read a token
                top, states, _ = unrolled.step(x, states)
                torch.testing.assert_close(unrolled.logits(top), logits[:, place].to(dtype), atol=close, rtol=close)
            for layer, after in enumerate(unrolled.states(end)):
                assert after.keys() == states[layer].keys()
                for name, value in after.items():
                    torch.testing.assert_close(states[layer][name], value, atol=close, rtol=close)


@pytest.mark.parametrize(("arch", "nonlinearity"), KINDS)
def test_gates_give_the_next_state(arch: str, nonlinearity: str) -> None:
    unrolled, ids = Unrolled(built(arch, nonlinearity, num_layers=2)), some_ids()
    _, before, _ = unrolled.step(ids[:, 0], unrolled.initial(3))
    _, after, gates = unrolled.step(ids[:, 1], before)
    for old, new, gate in zip(before, after, gates, strict=True):
        for name, value in gate.items():
            assert value.shape == (3, 8) and (name in "gn" or name == "h~" or bool(((value > 0) & (value < 1)).all()))
        if arch == "lstm":
            torch.testing.assert_close(new["c"], gate["f"] * old["c"] + gate["i"] * gate["g"])
            torch.testing.assert_close(new["h"], gate["o"] * new["c"].tanh())
        elif arch == "gru":
            torch.testing.assert_close(new["h"], (1 - gate["z"]) * gate["n"] + gate["z"] * old["h"])
        elif arch == "mingru":
            torch.testing.assert_close(new["h"], (1 - gate["z"]) * old["h"] + gate["z"] * gate["h~"])
        else:
            assert not gate


@pytest.mark.parametrize(("arch", "nonlinearity"), KINDS)
def test_a_clamped_unit_has_its_value_for_all_that_read_it(arch: str, nonlinearity: str) -> None:
    unrolled, ids = Unrolled(built(arch, nonlinearity, num_layers=2)), some_ids()
    name = unrolled.names[-1]  # the LSTM's c, the others' h

    def clamp(layer: int, state: str, value: Tensor) -> Tensor:
        if (layer, state) != (0, name):
            return value
        value = value.clone()
        value[1, 5] = 0.25  # a row, a unit
        return value

    free, held = unrolled.initial(3), unrolled.initial(3)
    for place in range(2):
        top, free, _ = unrolled.step(ids[:, place], free)
        clamped_top, held, _ = unrolled.step(ids[:, place], held, clamp)
        assert held[0][name][1, 5] == 0.25
        assert torch.equal(held[0][name][0], free[0][name][0])
        assert torch.equal(clamped_top[0], top[0]) and not torch.equal(clamped_top[1], top[1])
    if arch == "lstm":  # h follows c
        assert held[0]["h"][1, 5] != free[0]["h"][1, 5]


@pytest.mark.parametrize(("arch", "gates"), [("lstm", "ifgo"), ("gru", "rzn"), ("rnn", "h"), ("mingru", "")])
def test_recurrent_matrices_have_the_gates_names(arch: str, gates: str) -> None:
    model = built(arch, num_layers=2)
    found = Unrolled(model).recurrent_matrices(1)
    assert list(found) == list(gates)
    if gates:
        whole = model.state_dict()["rnn.weight_hh_l1"]
        torch.testing.assert_close(torch.cat(list(found.values())), whole.double())


@pytest.mark.parametrize("arch", ["transformer", "ngram"])
def test_what_has_no_state_says_so(arch: str) -> None:
    with pytest.raises(MeasurementError, match="no recurrent state"):
        Unrolled(built(arch))
