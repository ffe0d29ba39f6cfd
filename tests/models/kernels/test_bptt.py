"""Our recurrent layers against torch's own, in double precision: outputs, states and gradients."""

import pytest
import torch
from torch import nn

from charlm.config import ModelConfig
from charlm.models import build_model
from charlm.models.kernels import bptt
from charlm.models.kernels import plan as plans
from charlm.models.kernels.bptt import GRU, LSTM, RELU, RNN, CellSpec, RecurrentLayer
from charlm.models.kernels.jit import is_wanted
from charlm.models.kernels.plan import BufferPool, ComputePlan, Dropout, pack_weight, weight_key

compiled_only = pytest.mark.skipif(not is_wanted(), reason="nothing is compiled here")

T, B, D, H = 5, 3, 4, 6  # steps, rows, inputs, units


def weights(cell: nn.RNNBase) -> tuple[torch.Tensor, ...]:
    """weight_ih, weight_hh, bias_ih, bias_hh of a one-layer cell."""
    return tuple(getattr(cell, f"{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


def kind_of(cell: nn.RNNBase) -> CellSpec:
    if isinstance(cell, nn.RNN):
        return RELU if cell.nonlinearity == "relu" else RNN
    return LSTM if isinstance(cell, nn.LSTM) else GRU


def ours(
    plan: ComputePlan, cell: nn.RNNBase, x: torch.Tensor, state: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, ...]:
    """The cell's outputs and last states through our layer."""
    return RecurrentLayer.apply(kind_of(cell), plan, True, x, *weights(cell), *state)


def theirs(cell: nn.RNNBase, x: torch.Tensor, state: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The same through torch's module."""
    stacked = tuple(part[None] for part in state)
    out, end = cell(x, stacked if isinstance(cell, nn.LSTM) else stacked[0])
    ends = end if isinstance(end, tuple) else (end,)
    return out, *(part[0] for part in ends)


CELLS = {
    "lstm": lambda: nn.LSTM(D, H),
    "gru": lambda: nn.GRU(D, H),
    "tanh": lambda: nn.RNN(D, H, nonlinearity="tanh"),
    "relu": lambda: nn.RNN(D, H, nonlinearity="relu"),
}


@pytest.fixture
def plan() -> ComputePlan:
    """Double precision."""
    if not is_wanted():
        pytest.skip("nothing is compiled here")
    return ComputePlan(torch.double, BufferPool(), True)


def gradients(outputs: tuple[torch.Tensor, ...], leaves: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """Of a loss in which every output has a weight of its own."""
    mix = [torch.sin(torch.arange(part.numel(), dtype=part.dtype)).view_as(part) for part in outputs]
    loss = sum((part * factor).sum() for part, factor in zip(outputs, mix, strict=True))
    return torch.autograd.grad(loss, leaves)


def states_of(name: str, dtype: torch.dtype = torch.double) -> tuple[torch.Tensor, ...]:
    return tuple(torch.randn(B, H, dtype=dtype, requires_grad=True) for _ in range(2 if name == "lstm" else 1))


@pytest.mark.parametrize("steps", [1, T])
@pytest.mark.parametrize("piece_rows", [1, 2 * B, 512])
@pytest.mark.parametrize("name", CELLS)
def test_outputs_and_gradients_are_torchs(
    plan: ComputePlan, name: str, steps: int, piece_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bptt, "PIECE_ROWS", piece_rows)
    torch.manual_seed(1)
    cell = CELLS[name]().double()
    x = torch.randn(steps, B, D, dtype=torch.double, requires_grad=True)
    state = states_of(name)
    leaves = [x, *state, *weights(cell)]
    mine, other = ours(plan, cell, x, state), theirs(cell, x, state)
    pairs = zip(mine + gradients(mine, leaves), other + gradients(other, leaves), strict=True)
    for one, two in pairs:
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("steps", [1, T])
@pytest.mark.parametrize("name", CELLS)
def test_ids_are_what_one_hot_inputs_would_be(plan: ComputePlan, name: str, steps: int) -> None:
    torch.manual_seed(3)
    cell = CELLS[name]().double()
    ids, state = torch.randint(D, (steps, B)), states_of(name)
    leaves = [*state, *weights(cell)]
    mine, other = ours(plan, cell, ids, state), theirs(cell, nn.functional.one_hot(ids, D).double(), state)
    for one, two in zip(mine + gradients(mine, leaves), other + gradients(other, leaves), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_without_keeping_the_outputs_are_the_same(plan: ComputePlan, name: str) -> None:
    cell, state = CELLS[name]().double(), states_of(name)
    x = torch.randn(T, B, D, dtype=torch.double)
    kept = ours(plan, cell, x, state)
    with torch.no_grad():
        light = RecurrentLayer.apply(kind_of(cell), plan, False, x, *weights(cell), *state)
    for one, two in zip(kept, light, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("dtype, close", [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@compiled_only
@pytest.mark.parametrize("name", CELLS)
def test_smaller_number_formats_come_close(name: str, dtype: torch.dtype, close: float) -> None:
    torch.manual_seed(4)
    cell, state = CELLS[name](), states_of(name, torch.float32)
    x = torch.randn(T, B, D, requires_grad=True)
    leaves = [x, *state, *weights(cell)]
    mine, other = ours(ComputePlan(dtype, BufferPool(), True), cell, x, state), theirs(cell, x, state)
    mine = (mine[0].float(), *mine[1:])
    for one, two in zip(mine + gradients(mine, leaves), other + gradients(other, leaves), strict=True):
        assert (one - two).abs().max() <= close * (1 + two.abs().max())


@compiled_only
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 13, 16])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_tiled_products_come_as_close(name: str, rows: int) -> None:
    torch.manual_seed(5)
    cell = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[name](16, 32)
    x = torch.randn(6, rows, 16, requires_grad=True)
    state = tuple(torch.randn(rows, 32) for _ in range(2 if name == "lstm" else 1))
    leaves = [x, *weights(cell)]
    mine = ours(ComputePlan(torch.float32, BufferPool(), True, tiled=True), cell, x, state)
    other = theirs(cell, x, state)
    for one, two in zip(mine + gradients(mine, leaves), other + gradients(other, leaves), strict=True):
        assert (one - two).abs().max() <= 1e-5 * (1 + two.abs().max())


@compiled_only
@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN has no bfloat16 here")
@pytest.mark.parametrize("rows", [1, 5, 16])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_packed_products_come_as_close(name: str, shared: bool, rows: int) -> None:
    torch.manual_seed(7)
    cell = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[name](16, 48)
    x = torch.randn(plans.PACKED_USES, rows, 16, requires_grad=True)
    state = tuple(torch.randn(rows, 48) for _ in range(2 if name == "lstm" else 1))
    leaves, weight = [x, *weights(cell)], cell.weight_hh_l0.detach()
    packs = {weight_key(matrix): pack_weight(matrix) for matrix in (weight, weight.t())} if shared else {}
    plan = ComputePlan(torch.bfloat16, BufferPool(), True, packed=True, packed_weights=packs)
    assert plan.uses_packed(len(x), rows) and not plan.uses_packed(len(x) - 1, rows)
    mine, other = ours(plan, cell, x, state), theirs(cell, x, state)
    mine = (mine[0].float(), *mine[1:])
    for one, two in zip(mine + gradients(mine, leaves), other + gradients(other, leaves), strict=True):
        assert (one - two).abs().max() <= 0.05 * (1 + two.abs().max())


@compiled_only
@pytest.mark.parametrize("looked_up", [False, True])
@pytest.mark.parametrize("rows", [1, 3, plans.LOOP_ROWS, plans.LOOP_ROWS + 1])
@pytest.mark.parametrize("name", CELLS)
def test_few_rows_in_one_loop_come_as_close(
    name: str, rows: int, looked_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bptt, "PIECE_ROWS", 2 * rows)
    torch.manual_seed(6)
    cell, ids = CELLS[name](), torch.randint(D, (T, rows))
    numbers = nn.functional.one_hot(ids, D).float().requires_grad_()
    state = tuple(torch.randn(rows, H, requires_grad=True) for _ in range(2 if name == "lstm" else 1))
    leaves = [*([] if looked_up else [numbers]), *state, *weights(cell)]
    plan = ComputePlan(torch.float32, BufferPool(), True)
    assert plan.is_one_loop(rows) is (rows <= plans.LOOP_ROWS)
    mine = ours(plan, cell, ids if looked_up else numbers, state)
    other = theirs(cell, numbers, state)
    for one, two in zip(mine + gradients(mine, leaves), other + gradients(other, leaves), strict=True):
        assert (one - two).abs().max() <= 1e-5 * (1 + two.abs().max())


@pytest.mark.parametrize("cell", [LSTM, GRU, RNN], ids=["lstm", "gru", "rnn"])
def test_gradients_by_finite_differences(plan: ComputePlan, cell: CellSpec) -> None:
    torch.manual_seed(2)
    width, step = 3 * cell.gates, 1e-5
    shapes = [(3, 2, 4), (width, 4), (width, 3), (width,), (width,), *[(2, 3)] * cell.states]
    leaves = [(0.5 * torch.randn(*shape, dtype=torch.double)).requires_grad_() for shape in shapes]
    mine = gradients(RecurrentLayer.apply(cell, plan, True, *leaves), leaves)
    for place, grad in enumerate(mine):
        direction = torch.randn_like(grad)

        def loss(sign: int, place: int = place, direction: torch.Tensor = direction) -> torch.Tensor:
            moved = [leaf + sign * step * direction if at == place else leaf for at, leaf in enumerate(leaves)]
            outputs = RecurrentLayer.apply(cell, plan, False, *moved)
            return sum((o * torch.sin(torch.arange(o.numel(), dtype=o.dtype)).view_as(o)).sum() for o in outputs)

        with torch.no_grad():
            slope = (loss(1) - loss(-1)) / (2 * step)
        torch.testing.assert_close(slope, (grad * direction).sum(), rtol=1e-6, atol=1e-8)


@compiled_only
@pytest.mark.parametrize("settings", [{}, {"embed_dim": 7}, {"embed_dim": 8, "tie_weights": True}], ids=str)
@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn", "relu"])
def test_without_numba_a_model_computes_by_torchs_layers(
    arch: str, settings: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"arch": "rnn", "nonlinearity": "relu"} if arch == "relu" else {"arch": arch}
    model = build_model(ModelConfig(vocab_size=9, hidden_size=8, num_layers=2, dropout=0.0, **names, **settings), 3)
    ids = torch.randint(9, (3, 20), generator=torch.Generator().manual_seed(1))

    def computed() -> tuple[torch.Tensor, ...]:
        loss, state = model.loss(ids, ids)
        return loss, *state, *torch.autograd.grad(loss, list(model.parameters()))

    mine = computed()
    monkeypatch.setattr(plans, "is_wanted", lambda: False)
    monkeypatch.setattr(RecurrentLayer, "apply", lambda *_: pytest.fail("our own layer"))
    for one, other in zip(mine, computed(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_second_backward_is_refused(plan: ComputePlan) -> None:
    cell, state = CELLS["gru"]().double(), states_of("gru")
    out = ours(plan, cell, torch.randn(T, B, D, dtype=torch.double), state)[0].sum()
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="once"):
        out.backward()


@pytest.mark.parametrize("wrong", [-1, D, 10**9])
def test_unknown_ids_are_refused(plan: ComputePlan, wrong: int) -> None:
    cell, ids = CELLS["tanh"]().double(), torch.zeros(T, B, dtype=torch.long)
    ids[2, 1] = wrong
    with pytest.raises(IndexError, match=f"{wrong} is outside"):
        ours(plan, cell, ids, states_of("tanh"))


def test_buffers_are_used_again(plan: ComputePlan) -> None:
    cell, x = CELLS["lstm"]().double(), torch.randn(T, B, D, dtype=torch.double)
    places = []
    for _ in range(5):
        out = ours(plan, cell, x, states_of("lstm"))[0]
        places.append(out.data_ptr())
        out.sum().backward()
    assert len(set(places)) <= 2  # the LSTM's hidden states and cells have one shape, and take turns


def dropped(x: torch.Tensor, share: float, seed: int, locked: bool = False) -> torch.Tensor:
    return Dropout.apply(x, share, seed, locked)


@compiled_only
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_dropout_silences_its_share_and_keeps_the_mean(dtype: torch.dtype) -> None:
    x = torch.ones(200, 3, 50, dtype=dtype, requires_grad=True)
    out = dropped(x, 0.3, 5)
    silent = out == 0
    assert abs(silent.float().mean() - 0.3) < 0.015
    assert abs(silent.float().mean(dim=(0, 1)) - 0.3).max() < 0.1  # every unit falls as often
    assert torch.equal(silent, dropped(x, 0.3, 5) == 0) and not torch.equal(silent, dropped(x, 0.3, 6) == 0)
    torch.testing.assert_close(out[~silent], torch.full_like(out[~silent], 1 / 0.7))
    out.sum().backward()
    assert x.grad is not None and torch.equal(x.grad, out.detach())
