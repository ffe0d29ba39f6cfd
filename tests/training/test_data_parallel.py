"""A batch in shards gives the gradients of the whole batch, the same ones each time, and leaves no thread behind."""

import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils import clip_grad_norm_

from charlm.config import ModelConfig
from charlm.models import LanguageModel, build_model
from charlm.models.kernels.plan import team
from charlm.training.data_parallel import DataParallelStep
from tests.tiny_runs import TRAINED

V = 11


def model_of(arch: str, dropout: float = 0.0) -> LanguageModel:
    return build_model(ModelConfig(arch=arch, vocab_size=V, hidden_size=8, num_layers=2, dropout=dropout), 3).train()


def batch(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    inputs, targets = torch.randint(V, (2, rows, 8), generator=torch.Generator().manual_seed(1))
    return inputs, targets


def grads_of(model: LanguageModel) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("rows, count", [(4, 2), (5, 2), (5, 4), (2, 3)])
@pytest.mark.parametrize("arch", TRAINED)
def test_gradients_are_those_of_the_whole_batch(arch: str, rows: int, count: int) -> None:
    model, (inputs, targets) = model_of(arch), batch(rows)
    before = tuple(part.detach() for part in model(inputs.flip(0))[1])
    logits, end = model(inputs, before)
    whole = F.cross_entropy(logits.flatten(0, 1), targets.reshape(-1))
    whole.backward()
    wanted = grads_of(model)
    with DataParallelStep(model, count) as shards:
        loss, state = shards.gradients(inputs, targets, before)
    assert loss == pytest.approx(whole.item(), rel=1e-6)
    for mine, other in zip((*grads_of(model), *state), (*wanted, *end), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)
    assert not any(part.requires_grad for part in state)


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="oneDNN has no bfloat16 here")
def test_what_is_laid_out_for_all_shards_is_that_step_s() -> None:
    """The weights move between two steps: a matrix laid out for the first would give the second's old gradients."""
    model, (inputs, targets) = model_of("lstm"), (part.repeat(1, 3) for part in batch(6))  # (6, 24)
    model.precision = torch.bfloat16
    assert model.shared_matrices(inputs.shape[1], 3)
    found = []
    for count in (1, 2):
        again = model_of("lstm")
        again.precision = torch.bfloat16
        with DataParallelStep(again, count) as shards:
            shards.gradients(inputs, targets, None)
            first = grads_of(shards.model)
            with torch.no_grad():
                for layer in range(2):
                    shards.model.get_parameter(f"rnn.weight_hh_l{layer}").mul_(-1.0)
            shards.gradients(inputs, targets, None)
            found.append(torch.cat([part.flatten() for part in grads_of(shards.model)]))
    alone, shared = found
    before = torch.cat([part.flatten() for part in first])
    assert (alone - shared).norm() < 0.1 * (alone - before).norm()


@pytest.mark.parametrize("count", [1, 3])
def test_every_dropout_is_drawn_anew_by_each_shard_and_repeats_with_the_seed(count: int) -> None:
    inputs, targets = batch(6)
    everything = {"input_dropout": 0.2, "embed_dropout": 0.2, "weight_dropout": 0.5, "locked_dropout": True}
    losses = []
    for _ in range(2):
        config = ModelConfig(vocab_size=V, embed_dim=4, hidden_size=6, dropout=0.5, **everything)  # type: ignore[arg-type]
        with DataParallelStep(build_model(config, 3).train(), count) as shards:
            losses.append([shards.gradients(inputs, targets, None)[0] for _ in range(3)])
    assert losses[0] == losses[1] and len(set(losses[0])) == 3


@pytest.mark.parametrize("count", [1, 3])
def test_dropout_is_drawn_anew_each_step_and_the_same_from_the_same_seed(count: int) -> None:
    inputs, targets = batch(6)
    losses = []
    for _ in range(2):
        model = model_of("gru", dropout=0.5)
        with DataParallelStep(model, count) as shards:
            losses.append([shards.gradients(inputs, targets, None)[0] for _ in range(3)])
    assert losses[0] == losses[1] and len(set(losses[0])) == 3


def test_evaluation_mode_of_the_model_is_the_shards() -> None:
    inputs, targets = batch(4)
    model = model_of("lstm", dropout=0.5).eval()
    with DataParallelStep(model, 2) as shards:
        assert shards.gradients(inputs, targets, None)[0] == shards.gradients(inputs, targets, None)[0]


def test_no_thread_is_left_and_an_error_arrives() -> None:
    inputs, targets = batch(4)
    before = threading.active_count()
    with DataParallelStep(model_of("rnn"), 2) as shards:
        shards.gradients(inputs, targets, None)
        with pytest.raises((IndexError, RuntimeError)):
            shards.gradients(inputs + 2 * V, targets, None)
    assert threading.active_count() == before


@pytest.mark.parametrize("count", [1, 2])
def test_a_team_answers_in_order(count: int) -> None:
    with team(count) as share_out:
        assert list(share_out(lambda number: number * number, range(5))) == [0, 1, 4, 9, 16]


@pytest.mark.parametrize(
    "more", [{}, {"locked_dropout": True, "embed_dim": 6, "input_dropout": 0.1, "embed_dropout": 0.1}]
)
@pytest.mark.parametrize("arch", TRAINED)
def test_the_cpu_waits_for_no_gpu(arch: str, more: dict[str, Any]) -> None:
    """On torch's meta device, which has no numbers: whatever looked at one, as when a GPU is waited for, would fail."""
    config = ModelConfig(arch=arch, vocab_size=V, hidden_size=8, num_layers=2, dropout=0.2, **more)
    model, (inputs, targets) = build_model(config).to("meta").train(), batch(4)
    with DataParallelStep(model, 1) as step:
        loss, state = step.gradients(inputs, targets, None)
        loss, state = step.gradients(inputs, targets, state)
    length = clip_grad_norm_(model.parameters(), 1.0)
    assert loss.device.type == length.device.type == "meta" and all(one.is_meta for one in grads_of(model))
