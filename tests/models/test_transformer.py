"""The Transformer: each token sees exactly the last `context` ones, however the text is cut into calls."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from charlm.config import ModelConfig
from charlm.errors import ConfigError
from charlm.models import build_model
from charlm.models.transformer import SHARPNESS, TransformerModel

V, H, L, N = 11, 8, 2, 2
LONG = 40


def model_of(context: int = 5, **options: object) -> TransformerModel:
    values = {"vocab_size": V, "hidden_size": H, "num_layers": L, "num_heads": N, "context": context, **options}
    model = build_model(ModelConfig(arch="transformer", **values), seed=3).eval()  # type: ignore[arg-type]
    assert isinstance(model, TransformerModel)
    return model


def some_ids(rows: int = 2, steps: int = LONG) -> Tensor:
    return torch.randint(V, (rows, steps), generator=torch.Generator().manual_seed(5))


def turned(x: Tensor, place: int, context: int) -> Tensor:
    """A head's query or key (D,) at its place in the text, pairs (j, j + D / 2) turned as Su et al. write."""
    half = len(x) // 2
    out = x.clone()
    for j in range(half):
        angle = place * context ** (-j / half)
        out[j] = x[j] * math.cos(angle) - x[j + half] * math.sin(angle)
        out[j + half] = x[j] * math.sin(angle) + x[j + half] * math.cos(angle)
    return out


def expected(model: TransformerModel, ids: Tensor, context: int) -> Tensor:
    """The logits after each id (T,) of one text, from the weights by name, places counted from its beginning."""
    w = {name: value.double() for name, value in model.state_dict().items()}
    x, width = w["embed.weight"][ids], H // N

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (H,), w[f"{name}.weight"], w[f"{name}.bias"])

    for layer in range(L):
        at = f"blocks.{layer}"
        q, k, v = (norm(f"{at}.norm", x) @ w[f"{at}.qkv.weight"].t()).view(len(ids), 3, N, width).unbind(1)
        q, k = F.layer_norm(q, (width,)), F.layer_norm(k, (width,))
        seen = torch.zeros(len(ids), N, width, dtype=torch.double)
        for head in range(N):
            for t in range(len(ids)):
                places = range(max(0, t - context + 1), t + 1)
                scores = [turned(q[t, head], t, context) @ turned(k[s, head], s, context) for s in places]
                shares = (torch.stack(scores) * SHARPNESS / math.sqrt(width)).softmax(0)
                seen[t, head] = shares @ v[list(places), head]
        x = x + seen.flatten(1) @ w[f"{at}.out.weight"].t()
        wide = F.gelu(norm(f"{at}.wide.norm", x) @ w[f"{at}.wide.up.weight"].t())
        x = x + wide @ w[f"{at}.wide.down.weight"].t()
    return norm("norm", x) @ w["fc.weight"].t() + w["fc.bias"]


@pytest.mark.parametrize(("context", "piece"), [(1, 64), (2, 64), (5, 64), (5, 7), (100, 64)])
def test_logits_are_those_of_the_formulas(context: int, piece: int) -> None:
    model, ids = model_of(context), some_ids()
    model.piece = piece
    with torch.no_grad():
        logits = model(ids)[0].double()
    for row, text in zip(logits, ids, strict=True):
        torch.testing.assert_close(row, expected(model, text, context), rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.integers(1, 9), st.lists(st.integers(1, 15), min_size=1, max_size=8))
def test_however_a_text_is_cut_the_logits_are_those_of_the_whole(context: int, piece: int, cuts: list[int]) -> None:
    model, ids = model_of(context), some_ids(steps=sum(cuts))
    with torch.no_grad():
        whole, end = model(ids)
        model.piece = piece
        parts, state = [], None
        for part in ids.split(cuts, dim=1):
            logits, state = model(part, state)
            parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-5)
    for one, other in zip(state or (), end, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=4), st.integers(1, 3))
def test_texts_of_different_lengths_go_on_beside_each_other(read: list[int], steps: int) -> None:
    model, ids = model_of(), some_ids(len(read), 12)
    with torch.no_grad():
        states = [model(row[None, :count])[1] if count else model.initial_state(1)
                  for row, count in zip(ids, read, strict=True)]  # fmt: skip
        more = torch.stack([row[count : count + steps] for row, count in zip(ids, read, strict=True)])
        together, _ = model(more, tuple(torch.cat(parts, dim=1) for parts in zip(*states, strict=True)))
        for logits, row, state in zip(together, more, states, strict=True):
            torch.testing.assert_close(logits, model(row[None], state)[0][0], rtol=1e-4, atol=1e-5)


def test_what_lies_further_back_than_its_layers_reach_has_no_part() -> None:
    """Each layer looks `context` - 1 tokens further back; so does the first that still counts, and no other."""
    model, context = model_of(context=4), 4
    reach = L * (context - 1)
    ids = some_ids(1, 30)
    with torch.no_grad():
        last = model(ids)[0][0, -1]
        for distance in range(30):
            changed = ids.clone()
            changed[0, -1 - distance] = (ids[0, -1 - distance] + 1) % V
            same = torch.allclose(model(changed)[0][0, -1], last, atol=1e-6)
            assert same == (distance > reach), distance


def test_nothing_grows_with_the_text() -> None:
    """After millions of tokens, angles are as exact as after a hundred: they are those of places in the window."""
    model, ids = model_of(), some_ids(1, 400)
    sizes = {tuple(part.shape) for part in model.initial_state(1)}
    with torch.no_grad():
        state = model(ids)[1]
        assert {tuple(part.shape) for part in state} == sizes and int(state[2]) == model.window
        late = model(ids[:, :20], state)[0]
        early = model(ids[:, :20], model(ids[:, -12:])[1])[0]
    torch.testing.assert_close(late, early, rtol=1e-4, atol=1e-5)
    assert all(
        len(table) == model.window + model.piece for tables in model._cached_rotations.values() for table in tables
    )


def test_gradients_are_those_of_the_formulas() -> None:
    model, ids = model_of().train().requires_grad_(), some_ids(1, 9)
    model.config = ModelConfig(**{**model.config.to_dict(), "dropout": 0.0})
    grads = torch.autograd.grad(model(ids)[0].square().sum(), list(model.parameters()))
    doubled = model_of()
    doubled.load_state_dict(model.state_dict())
    step, generator = 1e-3, torch.Generator().manual_seed(2)
    for parameter, grad in zip(doubled.parameters(), grads, strict=True):
        direction = torch.randn(grad.shape, generator=generator)
        sums = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * step * direction)
                sums.append(expected(doubled, ids[0], 5).square().sum())
                parameter.sub_(sign * step * direction)
        slope = (sums[0] - sums[1]) / (2 * step)
        torch.testing.assert_close(slope.float(), (grad * direction).sum(), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("filled", [-7, 10**12, -(10**12)])
def test_a_strangers_state_does_no_harm(filled: int) -> None:
    model = model_of()
    keys, values, count = model.initial_state(2)
    with torch.no_grad():
        logits, state = model(some_ids(2, 3), (keys, values, count + filled))
    assert logits.isfinite().all() and 0 <= int(state[2].max()) <= model.window


def test_heads_must_fit() -> None:
    with pytest.raises(ConfigError, match=r"num_heads 4 does not divide hidden_size 12 .* may be 1, 2, 3, 6"):
        ModelConfig(arch="transformer", hidden_size=12)
    with pytest.raises(ConfigError, match="choose an even hidden_size"):
        ModelConfig(arch="transformer", hidden_size=7)
    ModelConfig(arch="lstm", hidden_size=7)


def test_the_context_is_the_sequence_unless_it_is_set() -> None:
    config = ModelConfig()
    assert config.resolve_for("transformer", 9, 100, 24).context == 24
    assert ModelConfig(context=6).resolve_for("transformer", 9, 100, 24).context == 6
    assert config.resolve_for("gru", 9, 100, 24).context == 0


def test_vectors_may_have_another_length_or_be_the_outputs() -> None:
    assert model_of(embed_dim=3).state_dict()["widen.weight"].shape == (H, 3)
    tied = model_of(tie_weights=True, embed_dim=H)
    assert tied.fc.weight is tied.embed.weight
    with pytest.raises(ConfigError, match="tie_weights needs embed_dim equal to hidden_size"):
        model_of(tie_weights=True, embed_dim=3)


OPTIONS = [{}, {"init": "torch"}, {"init": "notebook"}, {"tie_weights": True, "embed_dim": H}]


@pytest.mark.parametrize("options", OPTIONS)
def test_first_guesses_are_as_good_as_none(options: dict[str, object]) -> None:
    ids = some_ids(8, 30)
    cost = model_of(**options).loss(ids, ids.roll(-1, 1))[0].item() / ids.numel()
    assert cost == pytest.approx(math.log(V), abs=0.5)


def test_dropout_draws_from_the_models_own_generator() -> None:
    def twice() -> list[Tensor]:
        model = model_of(dropout=0.5).train()
        return [model(some_ids())[0] for _ in range(2)]

    first, torch_seed = twice(), torch.manual_seed(123)
    assert torch_seed and not torch.equal(*first)
    assert all(map(torch.equal, first, twice()))
