"""minGRU: blocks as they are described, a state that goes on, and the same with and without compiled loops."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.config import ModelConfig
from charlm.models import LanguageModel, build_model
from charlm.models.kernels import scan as scans
from charlm.models.mingru import TAPS

V, H = 11, 6


def model_of(**settings: object) -> LanguageModel:
    config = ModelConfig(arch="mingru", vocab_size=V, hidden_size=H, num_layers=2, **settings)  # type: ignore[arg-type]
    return build_model(config, seed=3).eval()


def some_ids(rows: int = 2, steps: int = 12) -> Tensor:
    return torch.randint(V, (rows, steps), generator=torch.Generator().manual_seed(5))


def expected(model: LanguageModel, ids: list[int]) -> Tensor:
    """The logits after each id of one text, from the weights by name, a token at a time."""
    w = model.state_dict()

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (H,), w[f"{name}.weight"], w[f"{name}.bias"])

    states, seen = [torch.zeros(H)] * 2, [[torch.zeros(H)] * TAPS for _ in range(2)]
    logits = []
    for token in ids:
        x = w["embed.weight"][token]
        for layer in range(2):
            at = f"blocks.{layer}"
            seen[layer] = [*seen[layer][1:], norm(f"{at}.norm", x)]
            mixed = sum((tap * value for tap, value in zip(w[f"{at}.conv.weight"], seen[layer], strict=True)))
            k, c = (w[f"{at}.gates.weight"] @ mixed + w[f"{at}.gates.bias"]).chunk(2)
            z, bent = k.sigmoid(), torch.where(c >= 0, c + 0.5, c.sigmoid())
            states[layer] = (1 - z) * states[layer] + z * bent
            x = x + states[layer]
            x = x + w[f"{at}.wide.down.weight"] @ F.gelu(w[f"{at}.wide.up.weight"] @ norm(f"{at}.wide.norm", x))
        logits.append(w["fc.weight"] @ norm("norm", x) + w["fc.bias"])
    return torch.stack(logits)


@pytest.mark.parametrize("init", ["tuned", "torch", "notebook"])
def test_logits_are_those_of_the_formulas(init: str) -> None:
    model, ids = model_of(init=init), some_ids()
    with torch.no_grad():
        logits = model(ids)[0]
    for row, text in zip(logits, ids.tolist(), strict=True):
        torch.testing.assert_close(row, expected(model, text), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("cut", [1, 2, 5, 11])
def test_state_goes_on_from_any_place(cut: int) -> None:
    model, ids = model_of(), some_ids()
    with torch.no_grad():
        whole, end = model(ids)
        first, state = model(ids[:, :cut])
        second, carried = model(ids[:, cut:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=1e-5, atol=1e-6)
    for one, other in zip(carried, end, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_compiled_or_not_a_training_step_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = model_of(dropout=0.0).train(), some_ids()
    grads = []
    for compiled in (True, False):
        monkeypatch.setattr(scans, "is_wanted", lambda compiled=compiled: compiled and torch.get_num_threads() > 0)
        grads.append(torch.autograd.grad(model.loss(ids, ids)[0], list(model.parameters())))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_vectors_of_another_length_are_turned_into_a_layers() -> None:
    model = model_of(embed_dim=3)
    assert model.state_dict()["widen.weight"].shape == (H, 3) and model(some_ids())[0].shape == (2, 12, V)
    tied = model_of(tie_weights=True, embed_dim=H)
    assert tied.fc.weight is tied.embed.weight  # type: ignore[union-attr]


def test_first_guesses_are_as_good_as_none() -> None:
    ids = some_ids(8, 30)
    for settings in ({}, {"init": "torch"}, {"init": "notebook"}):
        cost = model_of(**settings).loss(ids, ids)[0].item() / ids.numel()
        assert cost == pytest.approx(math.log(V), abs=0.4)
