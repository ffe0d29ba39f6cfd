"""The loss in chunks is torch's cross-entropy, its gradients too; drawn tokens stand for all of them on average."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from charlm.config import ModelConfig
from charlm.models import LanguageModel, NeuralModel, build_model
from charlm.models.kernels import cross_entropy
from charlm.models.kernels.cross_entropy import MANY_TOKENS, CrossEntropy, Sampler, output_loss
from charlm.models.kernels.jit import is_wanted
from charlm.models.kernels.plan import BufferPool, ComputePlan
from charlm.training.data_parallel import DataParallelStep

N, D, V = 13, 6, 300  # more than the lanes of a compiled loop, and no multiple


@pytest.fixture(params=["compiled", "torch"])
def plan(request: pytest.FixtureRequest) -> Callable[..., ComputePlan]:
    """Of a number format: by a compiled loop, and by torch's operations."""
    if request.param == "compiled" and not is_wanted():
        pytest.skip("nothing is compiled here")
    return lambda dtype=torch.float32: ComputePlan(dtype, BufferPool(), request.param == "compiled")


def layer(dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Features, weight and bias that give logits of some size."""
    generator = torch.Generator().manual_seed(3)
    shapes = (N, D), (V, D), (V,)
    return [torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def targets(ignored: int = 2) -> torch.Tensor:
    wanted = torch.randint(V, (N,), generator=torch.Generator().manual_seed(4))
    wanted[:ignored] = -1
    return wanted


def usual(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(F.linear(features, weight, bias), wanted, ignore_index=-1, reduction="sum")


@pytest.mark.parametrize("ignored", [0, 2, N])
@pytest.mark.parametrize(("chunk", "block"), [(V, 1), (4 * V, 3 * V), (10**6, 10**6)])
def test_loss_and_gradients_are_torchs(
    plan: Any, chunk: int, block: int, ignored: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cross_entropy, "CHUNK", chunk)
    monkeypatch.setattr(cross_entropy, "BLOCK", block)
    leaves, wanted = layer(), targets(ignored)
    mine, other = CrossEntropy.apply(plan(), True, *leaves, wanted), usual(*leaves, wanted)
    torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)
    pairs = zip(torch.autograd.grad(mine / 7, leaves), torch.autograd.grad(other / 7, leaves), strict=True)
    for one, two in pairs:
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(CrossEntropy.apply(plan(), False, *leaves, wanted), mine)


def test_products_in_bfloat16_come_close(plan: Any) -> None:
    leaves, wanted = layer(), targets()
    mine, other = CrossEntropy.apply(plan(torch.bfloat16), True, *leaves, wanted), usual(*leaves, wanted)
    assert mine.dtype == torch.float32 and mine.item() == pytest.approx(other.item(), rel=1e-2)
    for one, two in zip(torch.autograd.grad(mine, leaves), torch.autograd.grad(other, leaves), strict=True):
        assert one.dtype == torch.float32 and (one - two).abs().max() < 0.02 * two.abs().max()


def test_a_logit_far_beyond_the_others_is_no_infinite_loss(plan: Any) -> None:
    features, weight, bias = layer()
    bias = bias.detach() * 0
    bias[0] = 500.0
    loss = CrossEntropy.apply(plan(), False, features, weight, bias, torch.tensor([1] * N))
    assert torch.isfinite(loss) and loss > 400 * N


def test_it_is_differentiated_once(plan: Any) -> None:
    loss = CrossEntropy.apply(plan(), True, *layer(), targets())
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        loss.backward()


def test_the_logits_of_a_batch_are_never_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of many tokens asks for a chunk's room at a time, whatever the batch."""
    monkeypatch.setattr(cross_entropy, "CHUNK", 4 * MANY_TOKENS)
    largest = 0
    losses = cross_entropy._losses

    def watched(plan: ComputePlan, logits: torch.Tensor, *others: Any) -> torch.Tensor | float:
        nonlocal largest
        largest = max(largest, logits.numel())
        return losses(plan, logits, *others)

    monkeypatch.setattr(cross_entropy, "_losses", watched)
    model, (ids, wanted) = many(embed_dim=4), batch()
    for forward in (model.train, model.eval):
        forward()
        largest = 0
        monkeypatch.setattr(type(model), "forward", lambda *_: pytest.fail("logits of the whole batch"))
        model.loss(ids, wanted)
        assert 0 < largest <= 4 * MANY_TOKENS < ids.numel() * MANY_TOKENS


# --- models of many tokens


def many(vocab_size: int = MANY_TOKENS, **settings: Any) -> NeuralModel:
    config = ModelConfig(vocab_size=vocab_size, hidden_size=4, num_layers=1, dropout=0.0, **settings)
    model = build_model(config, 5)
    assert isinstance(model, NeuralModel)
    return model


def batch(vocab_size: int = MANY_TOKENS, rows: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    ids, wanted = torch.randint(vocab_size, (2, rows, 6), generator=torch.Generator().manual_seed(6))
    return ids, wanted


def gradients(model: LanguageModel, count: int) -> list[torch.Tensor]:
    """After a step of so many shards, each as a tensor of the parameter's shape."""
    with DataParallelStep(model, count) as shards:
        shards.gradients(*batch(), None)
    assert all(parameter.grad is not None and not parameter.grad.is_sparse for parameter in model.parameters())
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(
    "settings",
    [
        {"embed_dim": 4},
        {"embed_dim": 4, "tie_weights": True},
        {},
        {"arch": "transformer", "num_heads": 2},
        {"arch": "mingru", "embed_dim": 4, "tie_weights": True},
    ],
)
def test_shards_give_the_usual_gradients_of_many_tokens(settings: dict[str, Any], count: int) -> None:
    model, (ids, wanted) = many(**settings).train(), batch()
    logits, _ = model(ids)
    wanted_grads = torch.autograd.grad(F.cross_entropy(logits.flatten(0, 1), wanted.reshape(-1)), [*model.parameters()])
    for _ in range(2):  # gradients of the step before do not show through
        mine = gradients(model, count)
    for one, other in zip(mine, wanted_grads, strict=True):
        torch.testing.assert_close(one, other.to_dense(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("settings", [{"embed_dim": 4}, {"embed_dim": 4, "tie_weights": True}, {}])
def test_with_all_tokens_drawn_it_is_the_whole_softmax(settings: dict[str, Any], count: int) -> None:
    model = many(**settings).train()
    whole = gradients(model, count)
    model.sampler = Sampler(torch.ones(MANY_TOKENS), MANY_TOKENS)
    for one, other in zip(gradients(model, count), whole, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_validations_are_among_all_tokens() -> None:
    model, (ids, wanted) = many(embed_dim=4).eval(), batch()
    whole, _ = model.loss(ids, wanted)
    model.sampler = Sampler(torch.ones(MANY_TOKENS), 10)
    assert torch.equal(model.loss(ids, wanted)[0], whole)


# --- drawing


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60), st.integers(1, 80))
@settings(max_examples=60, deadline=None)
def test_chances_are_shares_that_add_up_to_the_size(counts: list[int], size: int) -> None:
    chances = Sampler(torch.tensor(counts), size).chances
    assert ((chances > 0) & (chances <= 1)).all()
    assert chances.sum().item() == pytest.approx(min(size, len(counts)), rel=1e-4)
    order = torch.tensor(counts).argsort()
    assert (chances[order].diff() >= -1e-6).all()  # what is frequent is not drawn less often


def test_targets_are_drawn_for_certain_and_found() -> None:
    sampler, generator = Sampler(torch.arange(V), 5), torch.Generator().manual_seed(1)
    wanted = targets(ignored=0)
    for _ in range(20):
        ids, raised, places = sampler.draw(wanted, generator)
        assert torch.equal(ids, ids.unique()) and torch.equal(ids[places], wanted)
        assert not raised[places].any() and (raised >= 0).all()


def test_drawn_tokens_stand_for_all_on_average(plan: Any) -> None:
    """The sum of the drawn tokens' raised exponentials is that of all, and so is the gradient, to a small bias."""
    features, weight, bias = (0.5 * part.detach().double() for part in layer())
    wanted, generator = targets(ignored=0), torch.Generator().manual_seed(2)
    output = nn.Linear(D, V)
    output.weight, output.bias = nn.Parameter(weight), nn.Parameter(bias)
    weight, bias = output.weight, output.bias
    exact = usual(features, weight, bias, wanted)
    [wanted_grad] = torch.autograd.grad(exact, [weight])
    sampler = Sampler(torch.arange(V) + 20, 30)
    sums, grads, rounds = torch.zeros(N, dtype=torch.double), torch.zeros_like(weight), 600
    for _ in range(rounds):
        drawn = sampler.draw(wanted, generator)
        logits = features @ weight[drawn.ids].t() + bias[drawn.ids] + drawn.raised
        sums += logits.detach().exp().sum(1) / rounds
        loss = output_loss(plan(torch.double), features, output, wanted, drawn)
        grads += torch.autograd.grad(loss, [weight])[0].to_dense() / rounds
    torch.testing.assert_close(sums, (features @ weight.t() + bias).detach().exp().sum(1), rtol=0.05, atol=0.0)
    assert (grads - wanted_grad).norm() < 0.1 * wanted_grad.norm()


def test_draws_repeat_with_the_generator() -> None:
    sampler = Sampler(torch.arange(V), 9)
    one, other = (sampler.draw(targets(0), torch.Generator().manual_seed(8))[0] for _ in range(2))
    assert torch.equal(one, other)
