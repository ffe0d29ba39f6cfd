"""Our attention: results, windows and gradients are those of torch's operations."""

import pytest
import torch
from torch import Tensor

from charlm.config import ModelConfig
from charlm.models import build_model
from charlm.models.base import State
from charlm.models.kernels.jit import is_wanted
from charlm.models.transformer import TransformerModel

pytestmark = pytest.mark.skipif(not is_wanted(), reason="compiled only")
TOKENS = 31


def made(context: int, size: int = 32, heads: int = 2) -> TransformerModel:
    """A model in training, of two layers."""
    sizes = {"vocab_size": TOKENS, "hidden_size": size, "num_layers": 2, "context": context, "num_heads": heads}
    config = ModelConfig("transformer", dropout=0.0, **sizes)
    model = build_model(config, seed=1)
    assert isinstance(model, TransformerModel)
    return model.train()


def outcome(model: TransformerModel, ids: Tensor, state: State | None) -> tuple[Tensor, State, tuple[Tensor, ...]]:
    """The loss of predicting the ids themselves, the next state, and the gradients."""
    loss, end = model.loss(ids, ids, state)
    return loss.detach(), tuple(part.detach() for part in end), torch.autograd.grad(loss, list(model.parameters()))


def by_torch(model: TransformerModel, ids: Tensor, state: State | None, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """The same by torch's operations."""
    with monkeypatch.context() as patched:
        patched.setattr(TransformerModel, "_is_compiled", lambda self, x, alone: False)
        return outcome(model, ids, state)


def same(ours: Tensor, torchs: Tensor) -> None:
    torch.testing.assert_close(ours, torchs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    ("context", "size", "heads", "steps"),
    [(1, 32, 2, 5), (2, 32, 2, 17), (20, 64, 1, 20), (9, 16, 4, 40), (50, 48, 2, 16), (33, 80, 5, 33), (64, 32, 2, 64)],
)
def test_it_is_torchs(
    context: int, size: int, heads: int, steps: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, state = made(context, size, heads), None
    for seed in range(4):  # the window fills
        ids = torch.randint(TOKENS, (rows, steps), generator=torch.Generator().manual_seed(seed))
        ours, torchs = outcome(model, ids, state), by_torch(model, ids, state, monkeypatch)
        same(ours[0], torchs[0])
        for one, two in zip((*ours[1], *ours[2]), (*torchs[1], *torchs[2]), strict=True):
            same(one, two)
        state = ours[1]


def test_windows_may_be_filled_unequally(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = made(24), torch.randint(TOKENS, (4, 20), generator=torch.Generator().manual_seed(0))
    keys, values, _ = outcome(model, ids, None)[1]
    state = keys, values, torch.tensor([[0, 20, 3, 17]])
    ours, torchs = outcome(model, ids, state), by_torch(model, ids, state, monkeypatch)
    for one, two in zip((ours[0], *ours[1], *ours[2]), (torchs[0], *torchs[1], *torchs[2]), strict=True):
        same(one, two)


def test_a_row_is_the_same_alone_and_in_company() -> None:
    model, ids = made(24), torch.randint(TOKENS, (5, 40), generator=torch.Generator().manual_seed(0))
    together = model(ids)[0]
    for row, logits in zip(ids, together, strict=True):
        torch.testing.assert_close(model(row[None])[0][0], logits, rtol=0, atol=2e-6)  # torch's own layers differ a bit


def test_the_gradient_of_a_long_sequence_reaches_its_earlier_pieces() -> None:
    model = made(24)
    model.piece = 10
    ids = torch.randint(TOKENS, (2, 40), generator=torch.Generator().manual_seed(0))
    for one, two in zip(outcome(model, ids, None)[2], outcome(model.eval(), ids, None)[2], strict=True):
        same(one, two)


def test_a_long_text_is_read_in_pieces_where_no_gradient_is_wanted() -> None:
    model, ids = made(24).eval(), torch.randint(TOKENS, (2, 100), generator=torch.Generator().manual_seed(0))
    model.piece = 30
    expected = model.loss(ids, ids)
    with torch.no_grad():
        loss, state = model.loss(ids, ids)
    for one, two in zip((loss, *state), (expected[0], *expected[1]), strict=True):
        same(one, two.detach())
    assert state[0].grad_fn is None and expected[1][0].grad_fn is not None


def test_scores_are_as_sharp_as_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    model = made(40, 256, 1)
    with torch.no_grad():
        for block in model.blocks:
            block.qkv.weight[256:512] = block.qkv.weight[:256]  # a key is its query: the largest score there is
    ids = torch.zeros(1, 40, dtype=torch.long)
    ours, torchs = outcome(model, ids, None), by_torch(model, ids, None, monkeypatch)
    for one, two in zip((ours[0], *ours[2]), (torchs[0], *torchs[2]), strict=True):
        same(one, two)


def test_what_is_not_a_number_is_not_hidden() -> None:
    model = made(8)
    with torch.no_grad():
        model.blocks[0].qkv.weight[0, 0] = torch.nan
    assert outcome(model, torch.zeros(1, 8, dtype=torch.long), None)[0].isnan()


def test_training_in_bfloat16_takes_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = made(24), torch.randint(TOKENS, (4, 20), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        ours, torchs = outcome(model, ids, None), by_torch(model, ids, None, monkeypatch)
    torch.testing.assert_close(ours[0], torchs[0], rtol=1e-2, atol=0)
    assert all(part.dtype in (torch.float32, torch.int64) for part in ours[1])
