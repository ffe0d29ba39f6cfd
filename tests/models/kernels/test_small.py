"""A small recurrent model's few compiled calls, against the same model's layers and autograd."""

from typing import Any

import pytest
import torch

from charlm.config import ModelConfig
from charlm.models import LanguageModel, State, build_model
from charlm.models.kernels import small
from charlm.models.kernels.jit import is_wanted

V = 27
compiled_only = pytest.mark.skipif(not is_wanted(), reason="compiled only")


def model_of(arch: str, **sizes: Any) -> LanguageModel:
    return build_model(ModelConfig(**{"arch": arch, "vocab_size": V, "hidden_size": 16, **sizes}), seed=3).train()


def batch(model: LanguageModel, rows: int, steps: int) -> tuple[torch.Tensor, torch.Tensor, State]:
    """Ids, targets of which the first two do not count, and a state."""
    generator = torch.Generator().manual_seed(rows * steps)
    ids, targets = torch.randint(model.config.vocab_size, (2, rows, steps), generator=generator)
    targets[0, :2] = -1
    shapes = [part.shape for part in model.initial_state(rows)]
    return ids, targets, tuple(0.5 * torch.randn(shape, generator=generator) for shape in shapes)


def usual(model: LanguageModel, *given: Any) -> Any:
    """The gradients by autograd."""
    return LanguageModel.gradients(model, *given, list(model.parameters()))


def ours(model: LanguageModel, *given: Any) -> Any:
    return model.gradients(*given, list(model.parameters()))


CASES: list[tuple[dict[str, Any], int, int]] = [
    ({}, 1, 20),  # fewer tokens than the vocabulary has
    ({"num_layers": 3, "hidden_size": 48, "dropout": 0.3}, 4, 9),
    ({"num_layers": 2, "dropout": 0.4, "locked_dropout": True, "output_dropout": 0.1}, 5, 12),
    ({"num_layers": 2, "dropout": 0.4, "output_dropout": 0.0, "vocab_size": 150}, 3, 2),
    ({"num_layers": 1, "vocab_size": 2, "init": "notebook"}, 7, 1),
]


@compiled_only
@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn", "relu"])
@pytest.mark.parametrize(("sizes", "rows", "steps"), CASES)
def test_loss_state_and_gradients_are_those_of_autograd(
    arch: str, sizes: dict[str, Any], rows: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = {"arch": "rnn", "nonlinearity": "relu"} if arch == "relu" else {"arch": arch}
    model = model_of(**kind, **sizes)
    ids, targets, state = batch(model, rows, steps)
    called: list[Any] = []
    small_one = small.loss_and_gradients
    monkeypatch.setattr(small, "loss_and_gradients", lambda *given: called.append(1) or small_one(*given))
    results = []
    for compute in (ours, usual):
        model.generator.manual_seed(5)
        results.append((*compute(model, ids, targets, state, 99), torch.rand(3, generator=model.generator)))
    assert called == [1]
    (loss, end, grads, drawn), (same_loss, same_end, same_grads, same_drawn) = results
    assert loss.dim() == 0 and loss.item() == pytest.approx(same_loss.item(), rel=1e-6)
    for one, other in zip((*end, *grads), (*same_end, *same_grads), strict=True):
        assert one.dtype == torch.float32 and one.shape == other.shape and one.is_contiguous()
        assert torch.allclose(one, other, rtol=1e-4, atol=2e-6 * float(other.abs().max()) + 1e-9)
    assert torch.equal(drawn, same_drawn)  # the same masks, and the same numbers after them


@pytest.mark.parametrize(
    "sizes",
    [{"hidden_size": 12}, {"embed_dim": 8}, {"embed_dropout": 0.1}, {"weight_dropout": 0.2}, {"vocab_size": 1500}],
)
def test_what_is_not_the_plain_case_is_left_to_autograd(sizes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "loss_and_gradients", lambda *_: pytest.fail("not the plain case"))
    model = model_of("lstm", **sizes)
    loss, _, grads = ours(model, *batch(model, 2, 4), 6)
    assert torch.isfinite(loss) and len(grads) == len(list(model.parameters()))


def test_a_large_batch_is_left_to_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "loss_and_gradients", lambda *_: pytest.fail("too large"))
    monkeypatch.setattr(small, "MOST_NUMBERS", 2 * 4 * 64 - 1)
    model = model_of("lstm")
    assert torch.isfinite(ours(model, *batch(model, 2, 4), 6)[0])


@compiled_only
@pytest.mark.parametrize("wrong", [-1, V, -(10**12), 10**12])
def test_an_id_outside_the_vocabulary_is_refused(wrong: int) -> None:
    model = model_of("gru")
    ids, targets, state = batch(model, 2, 3)
    ids[1, 2] = wrong
    with pytest.raises(IndexError, match=f"{wrong} is outside this model's 0 to {V - 1}"):
        ours(model, ids, targets, state, 6)
    if wrong != -1:
        ids[1, 2], targets[1, 2] = 0, wrong
        with pytest.raises(IndexError, match=str(wrong)):
            ours(model, ids, targets, state, 6)


@compiled_only
def test_the_state_before_may_be_a_part_of_a_larger_one() -> None:
    model = model_of("lstm", num_layers=2, dropout=0.0)
    ids, targets, state = batch(model, 6, 4)
    whole, *parts = (ours(model, ids[at], targets[at], tuple(part[:, at] for part in state), 22)
                     for at in (slice(0, 6), slice(0, 2), slice(2, 6)))  # fmt: skip
    for one, other in zip(whole[1], zip(*(part[1] for part in parts), strict=True), strict=True):
        assert torch.equal(one, torch.cat(other, dim=1))
    assert whole[0].item() == pytest.approx(sum(part[0].item() for part in parts))
