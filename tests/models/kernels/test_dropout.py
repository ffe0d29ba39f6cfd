"""What is silenced while training: shares, scales, what stays silent for how long; and nothing outside training."""

from typing import Any

import pytest
import torch

from charlm.config import ModelConfig
from charlm.errors import ConfigError
from charlm.models import NeuralModel, build_model
from charlm.models.kernels.jit import is_wanted
from charlm.models.recurrent import RecurrentModel

V, H, T, B = 12, 32, 20, 6
EVERY: dict[str, Any] = {
    "embed_dim": 16,
    "dropout": 0.3,
    "output_dropout": 0.4,
    "input_dropout": 0.2,
    "embed_dropout": 0.3,
    "weight_dropout": 0.5,
    "locked_dropout": True,
}


@pytest.fixture(params=["compiled", "torch"], autouse=True)
def masks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a hash in a compiled loop, and by torch's random numbers."""
    if request.param == "compiled" and not is_wanted():
        pytest.skip("nothing is compiled here")
    monkeypatch.setattr("charlm.models.kernels.plan.is_wanted", lambda: request.param == "compiled")


def model_of(arch: str = "lstm", seed: int = 3, **settings: Any) -> RecurrentModel:
    config = {"vocab_size": V, "hidden_size": H, "num_layers": 2, "dropout": 0.0, **settings}
    model = build_model(ModelConfig(arch=arch, **config), seed).train()
    assert isinstance(model, RecurrentModel)
    return model


def ids() -> torch.Tensor:
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(5))


def features(model: NeuralModel) -> torch.Tensor:
    return model.features(ids())[0].detach()


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.65])
def test_a_share_is_silenced_and_the_rest_makes_up_for_it(share: float, locked: bool) -> None:
    x = torch.ones(40, 30, 50, requires_grad=True)
    out = model_of().dropout(x, share, locked)
    silent = out == 0
    assert abs(silent.float().mean() - share) < (0.05 if locked else 0.01)
    torch.testing.assert_close(out[~silent], torch.full_like(out[~silent], 1 / (1 - share)))
    assert torch.equal(silent, silent[:1].expand_as(silent)) is locked
    assert not torch.equal(silent[0, 0], silent[0, 1])  # each row of a batch has a mask of its own
    out.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, out.detach())


def test_output_dropout_takes_dropouts_share_unless_it_has_its_own() -> None:
    assert ModelConfig(dropout=0.3).dropout_before_output == 0.3
    assert ModelConfig(dropout=0.3, output_dropout=0.0).dropout_before_output == 0.0
    for share in (0.0, 0.5):
        silent = features(model_of(num_layers=1, dropout=0.2, output_dropout=share)) == 0
        assert abs(silent.float().mean() - share) < 0.03


def test_locked_dropout_silences_the_same_units_at_all_steps() -> None:
    silent = features(model_of(num_layers=1, dropout=0.5, locked_dropout=True)) == 0  # (B, T, H)
    assert torch.equal(silent, silent[:, :1].expand_as(silent)) and not torch.equal(silent[0], silent[1])
    other = features(model_of(num_layers=1, dropout=0.5)) == 0
    assert not torch.equal(other, other[:, :1].expand_as(other))


@pytest.mark.parametrize("embed_dim", [0, 16])
def test_embed_dropout_silences_whole_tokens(embed_dim: int) -> None:
    """A token that is not seen gives what a token of nothing would: in a layer without past, its biases' state."""
    model = model_of("rnn", num_layers=1, embed_dim=embed_dim, embed_dropout=0.5)
    with torch.no_grad():
        model.rnn.weight_hh_l0.zero_()
        model.rnn.bias_ih_l0.fill_(0.3)
    out, blank = features(model), torch.tanh(model.rnn.bias_ih_l0 + model.rnn.bias_hh_l0)
    unseen = (out - blank).abs().amax(-1) < 1e-6  # (B, T)
    tokens = [unseen[ids() == token] for token in range(V)]
    assert all(bool(places.all()) or not bool(places.any()) for places in tokens)
    assert 0 < sum(bool(places.all()) for places in tokens) < V
    with torch.no_grad():
        whole = model.eval().features(ids())[0]
    assert not ((whole - blank).abs().amax(-1) < 1e-6).any()


def test_weight_dropout_leaves_out_weights_for_a_batch_and_gives_them_no_gradient() -> None:
    model = model_of(num_layers=1, weight_dropout=0.5, embed_dim=8)
    features_of = model.features(ids())[0]
    features_of.square().sum().backward()
    silent = model.rnn.weight_hh_l0.grad == 0
    assert abs(silent.float().mean() - 0.5) < 0.03
    assert (model.rnn.weight_ih_l0.grad != 0).all()
    assert not torch.equal(features(model), features(model))  # anew in each batch


@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn"])
def test_nothing_is_silenced_outside_training(arch: str) -> None:
    silent, plain = model_of(arch, **EVERY).eval(), model_of(arch, embed_dim=16).eval()
    assert torch.equal(features(silent), features(plain))
    assert torch.equal(features(silent), features(silent))


@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn"])
def test_masks_repeat_with_the_seed_and_change_from_batch_to_batch(arch: str) -> None:
    one, other = model_of(arch, **EVERY), model_of(arch, **EVERY)
    first, second = features(one), features(one)
    torch.manual_seed(99)  # the global generator plays no part
    assert torch.equal(features(other), first) and torch.equal(features(other), second)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embed_dim", [0, 16])
def test_every_weight_learns_with_everything_on(arch: str, embed_dim: int) -> None:
    settings = {**EVERY, "embed_dim": embed_dim, "input_dropout": 0.2 if embed_dim else 0.0}
    model = model_of(arch, **settings)
    model.loss(ids(), ids())[0].backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn"])
def test_layers_by_torchs_own_function_are_the_same(arch: str) -> None:
    """What a GPU computes with, by way of the CPU."""
    model = model_of(arch, embed_dim=16).eval()
    ours = features(model)
    model._layer = model._torch_layer  # type: ignore[method-assign]
    torch.testing.assert_close(features(model), ours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"output_dropout": -0.5}, "output_dropout -0.5"), ({"input_dropout": 0.2}, "embed_dim 0"),
     ({"weight_dropout": 0.96}, "weight_dropout 0.96"), ({"locked_dropout": 1}, "true or false")],
)  # fmt: skip
def test_shares_out_of_range_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ModelConfig(**settings)
