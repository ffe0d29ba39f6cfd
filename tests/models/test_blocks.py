"""What Transformer and minGRU share: kinds of dropout, first weights, many tokens, products in fewer bits."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.config import ModelConfig
from charlm.models import build_model
from charlm.models.blocks import ResidualModel
from charlm.training.data_parallel import DataParallelStep

V, H = 13, 8
both = pytest.mark.parametrize("arch", ["transformer", "mingru"])


def model_of(arch: str, **options: object) -> ResidualModel:
    values = {"vocab_size": V, "hidden_size": H, "dropout": 0.0, **options}
    model = build_model(ModelConfig(arch=arch, **values), seed=3).train()  # type: ignore[arg-type]
    assert isinstance(model, ResidualModel)
    return model


def some_ids(vocab_size: int = V, rows: int = 4, steps: int = 20) -> Tensor:
    return torch.randint(vocab_size, (rows, steps), generator=torch.Generator().manual_seed(5))


@both
def test_locked_dropout_silences_the_same_units_all_along(arch: str) -> None:
    x = torch.ones(3, 30, H)
    silent = model_of(arch, dropout=0.5, locked_dropout=True).sequence_dropout(x) == 0
    assert torch.equal(silent, silent[:, :1].expand_as(silent)) and 0 < silent.float().mean() < 1
    free = model_of(arch, dropout=0.5).sequence_dropout(x) == 0
    assert not torch.equal(free, free[:, :1].expand_as(free))


@both
def test_tokens_are_dropped_as_wholes_wherever_they_stand(arch: str) -> None:
    model, ids = model_of(arch, embed_dropout=0.5), some_ids()
    silent = (model.embed_inputs(ids) == 0).all(2)
    dropped = set(ids[silent].tolist())
    assert 0 < len(dropped) < V and dropped.isdisjoint(ids[~silent].tolist())
    model.eval()
    assert not (model.embed_inputs(ids) == 0).all(2).any()


@both
def test_what_fc_reads_has_a_share_of_its_own(arch: str) -> None:
    def silent(**options: float) -> float:
        return (model_of(arch, **options).features(some_ids())[0] == 0).float().mean().item()

    assert silent() == 0 and silent(dropout=0.5, output_dropout=0.0) == 0
    assert silent(dropout=0.5) == pytest.approx(0.5, abs=0.1) == silent(output_dropout=0.5)


@both
@pytest.mark.parametrize("init", ["tuned", "torch", "xavier", "notebook"])
def test_first_weights_are_the_seeds_and_guess_nothing_yet(arch: str, init: str) -> None:
    ids = some_ids(rows=8)
    one, same, other = (
        build_model(ModelConfig(arch=arch, vocab_size=V, hidden_size=H, init=init), s) for s in (1, 1, 2)
    )
    torch.manual_seed(99)  # plays no part
    assert all(map(torch.equal, one.parameters(), same.parameters()))
    assert not all(map(torch.equal, one.parameters(), other.parameters()))
    with torch.no_grad():
        assert one.eval().loss(ids, ids.roll(-1, 1))[0].item() / ids.numel() == pytest.approx(math.log(V), abs=0.5)


@both
def test_of_many_tokens_the_loss_is_that_of_all_logits(arch: str) -> None:
    """No further from it in float64 than torch's own loss of all logits is; how far that is, the processor decides."""
    many = 1_100
    model, ids = model_of(arch, vocab_size=many), some_ids(many)
    targets = ids.roll(-1, 1)

    def of_all_logits(model: ResidualModel) -> tuple[float, tuple[Tensor, ...]]:
        whole = F.cross_entropy(model(ids)[0].flatten(0, 1), targets.reshape(-1), reduction="sum")
        return whole.item(), torch.autograd.grad(whole, list(model.parameters()))

    whole, exact = of_all_logits(copy.deepcopy(model).double())
    _, plain = of_all_logits(model)
    loss, _ = model.loss(ids, targets)
    assert loss.item() == pytest.approx(whole, rel=1e-6)
    grads = torch.autograd.grad(loss, list(model.parameters()))
    for mine, torchs, wanted in zip(grads, plain, exact, strict=True):
        size = wanted.to_dense().norm()
        off, allowed = ((one.to_dense() - wanted.to_dense()).norm() / size for one in (mine, torchs))
        assert off < 4 * allowed + 1e-6 and allowed < 1e-3


@both
@pytest.mark.parametrize("vocab_size", [V, 1_100])
def test_products_in_bfloat16_come_close(arch: str, vocab_size: int) -> None:
    model, ids = model_of(arch, vocab_size=vocab_size, hidden_size=32), some_ids(vocab_size)
    losses, norms = [], []
    for precision in (torch.float32, torch.bfloat16):
        model.precision = precision
        with DataParallelStep(model, 1) as shards:
            loss, state = shards.gradients(ids, ids.roll(-1, 1), None)
            losses.append(float(shards.gradients(ids, ids.roll(-1, 1), state)[0] + loss))
        norms.append(math.hypot(*(one.grad.norm().item() for one in model.parameters() if one.grad is not None)))
        assert all(part.dtype in (torch.float32, torch.int64) for part in state)
    assert losses[0] == pytest.approx(losses[1], rel=0.01) and norms[0] == pytest.approx(norms[1], rel=0.1)
