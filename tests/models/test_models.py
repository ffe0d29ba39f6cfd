"""The architectures as whole models: an id lookup that equals one-hot input, torch's parameters, carried state."""

import numpy as np
import pytest
import torch
from torch import nn

from charlm.architectures import ARCHITECTURES, ARCHS, RACE_ARCHS
from charlm.config import ModelConfig
from charlm.errors import ConfigError
from charlm.models import LanguageModel, build_model, model_class
from tests.tiny_runs import TRAINED

V, H, L = 11, 8, 2
TORCH = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def model_of(arch: str, **settings: object) -> LanguageModel:
    return build_model(ModelConfig(arch=arch, vocab_size=V, hidden_size=H, num_layers=L, **settings), seed=3).eval()  # type: ignore[arg-type]


def ids(rows: int = 2, steps: int = 20) -> torch.Tensor:
    return torch.randint(V, (rows, steps), generator=torch.Generator().manual_seed(5))


def test_every_architecture_has_a_class() -> None:
    assert tuple(ARCHITECTURES) == ARCHS
    assert all(issubclass(model_class(arch), LanguageModel) for arch in ARCHS)


@pytest.mark.parametrize("arch", RACE_ARCHS)
@pytest.mark.parametrize("settings", [{}, {"nonlinearity": "relu"}, {"init": "torch"}, {"init": "notebook"}])
def test_without_embedding_it_is_torchs_module_on_one_hot_input(arch: str, settings: dict[str, str]) -> None:
    model = model_of(arch, **settings)
    options = {"nonlinearity": settings.get("nonlinearity", "tanh")} if arch == "rnn" else {}
    reference = TORCH[arch](V, H, L, batch_first=True, **options)
    reference.load_state_dict(
        {name[4:]: value for name, value in model.state_dict().items() if name.startswith("rnn.")}
    )
    hidden, _ = reference(torch.eye(V)[ids()])
    torch.testing.assert_close(model(ids())[0], model.fc(hidden), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", RACE_ARCHS)
def test_with_embedding_it_is_torchs_module_on_vectors(arch: str) -> None:
    model = model_of(arch, embed_dim=5)
    state = {name[4:]: value for name, value in model.state_dict().items() if name.startswith("rnn.")}
    reference = TORCH[arch](5, H, L, batch_first=True)
    reference.load_state_dict(state)
    hidden, _ = reference(model.state_dict()["embed.weight"][ids()])
    torch.testing.assert_close(model(ids())[0], model.fc(hidden), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHS)
def test_state_carries_over(arch: str) -> None:
    model, text = model_of(arch), ids()
    whole, end = model(text)
    first, state = model(text[:, :7])
    second, carried = model(text[:, 7:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=1e-4, atol=1e-5)
    for one, other in zip(carried, end, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", TRAINED)
def test_all_parameters_learn(arch: str) -> None:
    model = model_of(arch, embed_dim=4).train()
    model(ids())[0].square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_dropout_is_off_in_evaluation_and_repeats_with_the_seed() -> None:
    model = model_of("lstm", dropout=0.5)
    assert torch.equal(model(ids())[0], model(ids())[0])
    model.train()
    first, second = model(ids())[0], model(ids())[0]
    assert not torch.equal(first, second)
    torch.manual_seed(123)  # the global generator plays no part
    assert torch.equal(model_of("lstm", dropout=0.5).train()(ids())[0], first)


def test_tied_weights_are_one_tensor() -> None:
    model = model_of("gru", embed_dim=H, tie_weights=True)
    assert model.fc.weight is model.embed.weight
    with pytest.raises(ConfigError, match="tie_weights"):
        ModelConfig(embed_dim=3, hidden_size=4, tie_weights=True)


def test_tuned_weights_are_orthogonal_and_the_forget_gate_is_open() -> None:
    model = model_of("lstm")
    state = model.state_dict()
    for gate in state["rnn.weight_hh_l0"].split(H):
        torch.testing.assert_close(gate @ gate.t(), torch.eye(H), rtol=1e-4, atol=1e-5)
    assert state["rnn.bias_ih_l1"].tolist() == [0.0] * H + [1.0] * H + [0.0] * 2 * H
    for gate in model_of("gru").state_dict()["rnn.weight_hh_l1"].split(H):
        torch.testing.assert_close(gate @ gate.t(), 0.7**2 * torch.eye(H), rtol=1e-4, atol=1e-5)


def test_notebook_weights() -> None:
    state = model_of("rnn", init="notebook").state_dict()
    assert state["fc.weight"].abs().max() > 0.5 and state["fc.weight"].abs().max() <= 1
    assert not state["fc.bias"].any()


def test_two_tokens_at_least() -> None:
    with pytest.raises(ConfigError, match="vocab_size 1"):
        build_model(ModelConfig(vocab_size=1))


@pytest.mark.parametrize("arch", TRAINED)
def test_a_tuned_model_expects_tokens_as_often_as_they_were_counted(arch: str) -> None:
    counts = np.array([7, 0, 3] + [10] * (V - 3))
    model, torchs = model_of(arch), model_of(arch, init="torch")
    model.init_output_bias(counts)
    with torch.no_grad():
        model.fc.weight.zero_()
        shares = model(ids())[0].softmax(-1)
    torch.testing.assert_close(shares[0, 0], torch.from_numpy((counts + 0.5) / (counts + 0.5).sum()).float())
    before = torchs.fc.bias.clone()
    torchs.init_output_bias(counts)
    assert torch.equal(torchs.fc.bias, before)  # as others begin
