"""A small model's batch without autograd, against the same model's layers and autograd."""

from typing import Any

import pytest
import torch

from charlm.config import ModelConfig
from charlm.models import NeuralModel, State, build_model
from charlm.models.base import LanguageModel
from charlm.models.kernels import small
from charlm.models.kernels.jit import is_wanted
from tests.tiny_runs import TRAINED

V = 27
compiled_only = pytest.mark.skipif(not is_wanted(), reason="compiled only")


def model_of(arch: str, **sizes: Any) -> NeuralModel:
    usual = {"vocab_size": V, "hidden_size": 16, "num_heads": 2, "context": 8}
    model = build_model(ModelConfig(arch=arch, **{**usual, **sizes}), seed=3)
    assert isinstance(model, NeuralModel)
    return model.train()


def batch(model: NeuralModel, rows: int, steps: int) -> tuple[torch.Tensor, torch.Tensor, State]:
    """Ids, targets of which the first two do not count, and the state after another batch."""
    generator = torch.Generator().manual_seed(rows * steps)
    ids, targets = torch.randint(model.config.vocab_size, (2, rows, steps), generator=generator)
    targets[0, :2] = -1
    return ids, targets, usual(model, ids, ids, model.initial_state(rows), 1)[1]


def usual(model: NeuralModel, *given: Any) -> Any:
    """The gradients by autograd."""
    return LanguageModel.gradients(model, *given, list(model.parameters()))


def ours(model: NeuralModel, *given: Any) -> Any:
    return model.gradients(*given, list(model.parameters()))


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The tapes that are made."""
    made: list[Any] = []

    def make(*given: Any) -> small.Tape:
        made.append(small.Tape(*given))
        return made[-1]

    monkeypatch.setattr("charlm.models.base.Tape", make)
    return made


CASES: list[tuple[dict[str, Any], int, int]] = [
    ({"num_layers": 1}, 1, 20),  # fewer tokens than the vocabulary has
    ({"num_layers": 3, "hidden_size": 48, "dropout": 0.3}, 4, 9),
    ({"num_layers": 2, "dropout": 0.4, "output_dropout": 0.0, "vocab_size": 150}, 3, 2),
    ({"num_layers": 1, "vocab_size": 2, "init": "notebook"}, 7, 1),
    ({"num_layers": 2, "init": "xavier", "dropout": 0.0, "output_dropout": 0.2}, 2, 33),
]
KINDS: list[dict[str, Any]] = [
    {"arch": "lstm"}, {"arch": "gru"}, {"arch": "rnn"}, {"arch": "rnn", "nonlinearity": "relu"},
    {"arch": "lstm", "locked_dropout": True}, {"arch": "transformer"}, {"arch": "transformer", "context": 1},
    {"arch": "transformer", "embed_dim": 32}, {"arch": "mingru"}, {"arch": "mingru", "embed_dim": 16},
]  # fmt: skip


@compiled_only
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize(("sizes", "rows", "steps"), CASES)
def test_loss_state_and_gradients_are_those_of_autograd(
    kind: dict[str, Any], sizes: dict[str, Any], rows: int, steps: int, tapes: list[Any]
) -> None:
    model = model_of(**kind, **sizes)
    ids, targets, state = batch(model, rows, steps)
    results = []
    for compute in (ours, usual):
        model.generator.manual_seed(5)
        results.append((*compute(model, ids, targets, state, 99), torch.rand(3, generator=model.generator)))
    assert len(tapes) == 1
    (loss, end, grads, drawn), (same_loss, same_end, same_grads, same_drawn) = results
    assert loss.dim() == 0 and loss.item() == pytest.approx(same_loss.item(), rel=2e-6)
    for one, other in zip((*end, *grads), (*same_end, *same_grads), strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape and one.is_contiguous()
        most = float(other.abs().max()) if other.numel() else 0.0
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5 * most + 1e-9)
    assert torch.equal(drawn, same_drawn)  # the same masks, and the same numbers after them


@compiled_only
def test_tied_weights_have_the_sum_of_both_gradients(tapes: list[Any]) -> None:
    model = model_of("transformer", embed_dim=16, tie_weights=True, dropout=0.0)
    given = (*batch(model, 2, 5), 9)
    (loss, _, grads), (same_loss, _, same_grads) = ours(model, *given), usual(model, *given)
    assert len(tapes) == 1 and loss.item() == pytest.approx(same_loss.item(), rel=2e-6)
    for one, other in zip(grads, same_grads, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("arch", "sizes"),
    [("lstm", {"hidden_size": 12}), ("gru", {"embed_dim": 8}), ("rnn", {"embed_dropout": 0.1}),
     ("lstm", {"weight_dropout": 0.2}), ("gru", {"vocab_size": 1500}), ("transformer", {"hidden_size": 12}),
     ("transformer", {"locked_dropout": True}), ("mingru", {"embed_dropout": 0.1}),
     ("mingru", {"embed_dim": 16, "input_dropout": 0.1}), ("mingru", {"vocab_size": 1500}),
     ("transformer", {"embed_dim": 8})],
)  # fmt: skip
def test_what_is_not_the_plain_case_is_left_to_autograd(arch: str, sizes: dict[str, Any], tapes: list[Any]) -> None:
    model = model_of(arch, **sizes)
    loss, _, grads = ours(model, *batch(model, 2, 4), 6)
    assert not tapes and torch.isfinite(loss) and len(grads) == len(list(model.parameters()))


@pytest.mark.parametrize("arch", TRAINED)
def test_what_is_large_is_left_to_autograd(arch: str, tapes: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "MOST_NUMBERS", 127)
    model = model_of(arch)
    assert torch.isfinite(ours(model, *batch(model, 2, 4), 6)[0]) and not tapes


def test_more_than_a_transformer_reads_at_once_is_left_to_autograd(tapes: list[Any]) -> None:
    model = model_of("transformer")
    assert torch.isfinite(ours(model, *batch(model, 1, 65), 6)[0]) and not tapes


@pytest.mark.parametrize("arch", TRAINED)
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float64])
def test_other_number_formats_are_left_to_autograd(arch: str, precision: torch.dtype, tapes: list[Any]) -> None:
    model = model_of(arch)
    if precision == torch.float64:
        model.double()
    else:
        model.precision = precision
    assert torch.isfinite(ours(model, *batch(model, 2, 4), 6)[0]) and not tapes


@compiled_only
@pytest.mark.parametrize("arch", TRAINED)
@pytest.mark.parametrize("wrong", [-1, V, -(10**12), 10**12])
def test_an_id_outside_the_vocabulary_is_refused(arch: str, wrong: int) -> None:
    model = model_of(arch)
    ids, targets, state = batch(model, 2, 3)
    ids[1, 2] = wrong
    with pytest.raises(IndexError, match=f"{wrong} is outside this model's 0 to {V - 1}"):
        ours(model, ids, targets, state, 6)
    if wrong != -1:
        ids[1, 2], targets[1, 2] = 0, wrong
        with pytest.raises(IndexError, match=str(wrong)):
            ours(model, ids, targets, state, 6)


@compiled_only
@pytest.mark.parametrize("arch", TRAINED)
def test_the_state_before_may_be_a_part_of_a_larger_one(arch: str) -> None:
    model = model_of(arch, num_layers=2, dropout=0.0)
    ids, targets, state = batch(model, 6, 4)
    whole, *parts = (ours(model, ids[at], targets[at], tuple(part[:, at] for part in state), 22)
                     for at in (slice(0, 6), slice(0, 2), slice(2, 6)))  # fmt: skip
    for one, other in zip(whole[1], zip(*(part[1] for part in parts), strict=True), strict=True):
        assert torch.allclose(one, torch.cat(other, dim=1), atol=1e-6)
    assert whole[0].item() == pytest.approx(sum(part[0].item() for part in parts))


def test_what_never_came_into_the_loss_has_no_slope() -> None:
    used, unused = torch.ones(16, 16), torch.ones(3)
    tape = small.Tape([used, unused], small.arrays_of([used, unused])[1], torch.Generator())
    assert [part.shape for part in tape.gradients()] == [(16, 16), (3,)]
    assert all(not part.any() for part in tape.gradients())
