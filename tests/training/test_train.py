"""Training: truncated backpropagation through time done right, budgets, schedules, and what ends it."""

import copy
import itertools
import math
import os
import platform
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from charlm.config import ModelConfig, TrainConfig
from charlm.data.batches import Dataset
from charlm.errors import JobError
from charlm.models import LanguageModel, build_model
from charlm.tokenizers import CharTokenizer
from charlm.training.evaluate import evaluate
from charlm.training.metrics import Metrics
from charlm.training.schedule import evaluation_interval, learning_rate, total_steps
from charlm.training.train import TrainState, train, update
from tests.tiny_runs import TRAINED

TEXT = "the fox and the hen met at the gate and sang until the moon came up over the hill. " * 12
CONFIG = TrainConfig(seq_len=16, batch_size=4, steps=30, warmup_steps=2, eval_every=10, learning_rate=1e-2)


def dataset(config: TrainConfig = CONFIG) -> tuple[Dataset, int]:
    tokenizer = CharTokenizer.fit(TEXT)
    return Dataset(tokenizer.encode(TEXT), config.batch_size, config.seq_len), tokenizer.vocab_size


def model_of(vocab_size: int, **settings: object) -> LanguageModel:
    return build_model(ModelConfig(vocab_size=vocab_size, hidden_size=24, num_layers=1, **settings), 7)  # type: ignore[arg-type]


@pytest.mark.parametrize("arch", TRAINED)
def test_it_learns(arch: str) -> None:
    data, vocab = dataset()
    rows = list(train(model_of(vocab, arch=arch, dropout=0.0), data, replace(CONFIG, steps=60, learning_rate=0.02)))
    assert [row.step for row in rows] == list(range(1, 61))
    assert 0.8 * math.log(vocab) < rows[0].train_loss < math.log(vocab) + 1.0
    assert rows[-1].train_loss < 0.6 * rows[0].train_loss
    assert [row.step for row in rows if row.val_loss is not None] == [10, 20, 30, 40, 50, 60]
    assert all(row.chars_per_second > 0 and row.grad_norm > 0 for row in rows)
    assert all(one.seconds < other.seconds for one, other in itertools.pairwise(rows))


def test_state_is_carried_within_an_epoch_detached_and_zero_at_its_start() -> None:
    data, vocab = dataset()
    model = model_of(vocab, dropout=0.0)
    state = TrainState.start(model, CONFIG)
    begun_with: list[tuple[torch.Tensor, ...]] = []
    forward = model.forward
    model.forward = lambda ids, hidden=None: (begun_with.append(hidden), forward(ids, hidden))[1]  # type: ignore[method-assign]
    steps = train(model, data, replace(CONFIG, eval_every=1000, steps=data.steps_per_epoch + 1), state)
    next(steps)
    carried = state.hidden
    assert carried is not None and not any(part.requires_grad for part in carried)
    rest = list(steps)
    assert not any(part.any() for part in begun_with[0]) and begun_with[1] is carried
    assert not any(part.any() for part in begun_with[data.steps_per_epoch])
    assert rest[-2].epoch == 1.0


def test_a_step_is_adams_on_the_clipped_gradient() -> None:
    data, vocab = dataset()
    config = replace(CONFIG, steps=1, warmup_steps=0, schedule="constant", grad_clip=0.05)
    model = model_of(vocab, dropout=0.0)
    reference = copy.deepcopy(model)
    row = next(train(model, data, config))
    inputs, targets = next(data.batches(0))
    logits, _ = reference(torch.from_numpy(inputs).long())
    loss = F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).long().reshape(-1))
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(reference.parameters(), config.grad_clip)
    adam = torch.optim.Adam(reference.parameters(), lr=config.learning_rate, betas=(config.beta1, config.beta2))
    adam.step()
    assert row.train_loss == pytest.approx(loss.item(), rel=1e-6)
    assert row.grad_norm == pytest.approx(norm.item(), rel=1e-5)
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_what_is_validated_is_the_running_average() -> None:
    data, vocab = dataset()
    config = replace(CONFIG, steps=8, eval_every=8, weight_average=0.7)
    model = model_of(vocab, dropout=0.0)
    state = TrainState.start(model, config)
    mean = {name: value.clone() for name, value in model.state_dict().items()}
    for row in train(model, data, config, state):
        share = min(0.7, row.step / (row.step + 9))  # the first of them count for little
        mean = {name: share * value + (1 - share) * model.state_dict()[name] for name, value in mean.items()}
    assert state.average is not None and not state.average.training
    for name, value in state.average.state_dict().items():
        torch.testing.assert_close(value, mean[name])
    ours, own = (evaluate(one, data.val_ids).nats_per_token for one in (state.average, model))
    assert row.val_loss == pytest.approx(ours, rel=1e-6) != pytest.approx(own, rel=1e-3)


def test_without_an_average_the_weights_themselves_are_validated() -> None:
    _, vocab = dataset()
    model = model_of(vocab)
    state = TrainState.start(model, CONFIG)
    assert state.average is None and state.learned(model) is model


@pytest.mark.parametrize("arch", TRAINED)
def test_the_same_seed_gives_the_same_run(arch: str) -> None:
    def losses(seed: int) -> list[float]:
        data, vocab = dataset()
        model = build_model(ModelConfig(arch=arch, vocab_size=vocab, hidden_size=8, dropout=0.4), seed)
        return [row.train_loss for row in train(model, data, replace(CONFIG, steps=8))]

    assert losses(1) == losses(1) != losses(2)


def test_budgets_whichever_comes_first() -> None:
    data, vocab = dataset()
    assert total_steps(replace(CONFIG, steps=0, epochs=2.5), 10) == 25
    assert total_steps(replace(CONFIG, steps=20, epochs=2.5), 10) == 20
    assert total_steps(replace(CONFIG, steps=0, minutes=1.0), 10) is None
    rows = list(train(model_of(vocab), data, replace(CONFIG, steps=0, minutes=0.002)))
    assert rows[-1].seconds >= 0.12 > rows[-1].seconds - 5 and rows[-1].val_loss is not None


def test_validation_interval() -> None:
    assert evaluation_interval(replace(CONFIG, eval_every=7), 10) == 7
    assert evaluation_interval(replace(CONFIG, eval_every=0, steps=0, epochs=30.0), 35) == 35  # the notebook's
    assert evaluation_interval(replace(CONFIG, eval_every=0, steps=1000), 157) == 83
    assert evaluation_interval(replace(CONFIG, eval_every=0, steps=3), 157) == 1
    assert evaluation_interval(replace(CONFIG, eval_every=0, steps=10**6, minutes=1.0), 157) == 157
    assert evaluation_interval(replace(CONFIG, eval_every=0, steps=0, minutes=1.0), 5000) == 200


def test_validations_take_no_more_than_their_share_unless_their_interval_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each is as slow here as if the held-out text were long: 20 steps once took 244 s, 9 of them for training."""
    data, vocab = dataset()
    monkeypatch.setattr("charlm.training.train.FREE_SECONDS", 0.0)
    monkeypatch.setattr("charlm.training.train.VALIDATION_SHARE", 1e-9)
    for every, validated in ((0, [1, 20]), (5, [5, 10, 15, 20])):
        rows = list(train(model_of(vocab), data, replace(CONFIG, steps=20, eval_every=every)))
        assert [row.step for row in rows if row.val_loss is not None] == validated
    monkeypatch.setattr("charlm.training.train.FREE_SECONDS", 1e9)
    rows = list(train(model_of(vocab), data, replace(CONFIG, steps=20, eval_every=0)))
    assert [row.step for row in rows if row.val_loss is not None] == list(range(1, 21))


def test_schedules() -> None:
    _, vocab = dataset()
    state = TrainState.start(model_of(vocab), CONFIG)
    state.step = 100
    cosine = replace(CONFIG, schedule="cosine", learning_rate=1.0)
    rates = [learning_rate(cosine, state.step, used, state.rate_scale) for used in (0.0, 0.5, 1.0)]
    assert rates == pytest.approx([1.0, 0.505, 0.01])
    linear = replace(cosine, schedule="linear")
    assert [learning_rate(linear, state.step, used, state.rate_scale) for used in (0.0, 0.5, 1.0)] == [1.0, 0.5, 0.0]
    assert learning_rate(replace(cosine, schedule="constant"), state.step, 0.9, state.rate_scale) == 1.0
    state.step = 0
    assert learning_rate(replace(cosine, warmup_steps=9), state.step, 0.0, state.rate_scale) == pytest.approx(0.1)
    plateau = replace(cosine, schedule="plateau", warmup_steps=0)
    for loss in (2.0, 2.1, 2.2):
        state.add_validation(loss)
    assert learning_rate(plateau, state.step, 0.5, state.rate_scale) == 0.5 and state.best_val_loss == 2.0


def test_patience_ends_a_run_that_does_not_improve() -> None:
    data, vocab = dataset()
    config = replace(CONFIG, steps=500, learning_rate=1e-7, warmup_steps=0, patience=3, eval_every=5)
    model = model_of(vocab)
    with torch.no_grad():
        model.fc.weight.zero_()  # nothing but noise to learn from at this rate
    state = TrainState.start(model, config)
    state.best_val_loss = 0.0
    assert list(train(model, data, config, state))[-1].step == 15


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_loss_that_is_no_number_ends_the_run_with_the_way_out(wrong: float) -> None:
    data, vocab = dataset()
    model = model_of(vocab)
    steps = train(model, data, CONFIG)
    next(steps)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.fc.bias.fill_(wrong)
    with pytest.raises(JobError, match=r"step 2 with learning_rate 0\.01; try a third"):
        next(steps)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if name != "fc.bias")


@pytest.mark.parametrize("second", [0.5, math.inf, math.nan])
def test_the_gpu_updates_what_the_cpu_would(second: float) -> None:
    """The branch for a GPU, on a CPU: fused AdamW leaves out a step there, too."""
    ends = []
    for on_gpu in (False, True):
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 20))
        optimizer, generator = torch.optim.AdamW([weight], lr=0.1, fused=True), torch.Generator().manual_seed(3)
        for norm in (1.0, second, 2.0):
            weight.grad = torch.randn(20, generator=generator)
            before, numbers = weight.detach().clone(), torch.tensor([0.25, norm])
            assert list(update(optimizer, *numbers, on_gpu)) == pytest.approx(numbers.tolist(), nan_ok=True)
            assert torch.equal(weight, before) == (not math.isfinite(norm))
        ends.append([weight.detach(), *optimizer.state[weight].values()])
    assert all(map(torch.equal, *ends))


def test_a_test_part_is_scored_at_each_epochs_end_and_decides_nothing() -> None:
    tokenizer = CharTokenizer.fit(TEXT)
    ids = tokenizer.encode(TEXT)
    config = replace(CONFIG, steps=0, epochs=2.0, eval_every=0)

    def rows_and_state(data: Dataset) -> tuple[list[Metrics], TrainState]:
        model = model_of(tokenizer.vocab_size)
        state = TrainState.start(model, config)
        return list(train(model, data, config, state)), state

    rows, state = rows_and_state(Dataset(ids, 4, 16, val_fraction=0.1, test_fraction=0.1))
    tested = [row for row in rows if row.test_loss is not None]
    assert [row.epoch for row in tested] == [1.0, 2.0] and all(row.val_loss is not None for row in tested)
    assert "test_loss" in tested[0].to_dict() and "test_loss" not in rows[0].to_dict()
    assert state.best_val_loss == min(row.val_loss for row in rows if row.val_loss is not None)
    parts = ids[: len(ids) * 8 // 10], ids[len(ids) * 8 // 10 : len(ids) * 9 // 10]
    others, _ = rows_and_state(Dataset((*parts, ids[:200]), 4, 16))
    assert [row.val_loss for row in others] == [row.val_loss for row in rows]
    assert not any(row.test_loss for row in rows_and_state(Dataset((*parts, ids[:1]), 4, 16))[0])


def test_torchs_operations_keep_to_one_core_in_a_step_and_to_the_callers_number_after_it() -> None:
    data, vocab_size = dataset()
    model, seen, before = model_of(vocab_size), [], torch.get_num_threads()
    loss = model.loss
    model.loss = lambda *given: (seen.append(torch.get_num_threads()), loss(*given))[1]  # type: ignore[method-assign]
    torch.set_num_threads(2)
    try:
        steps = train(model, data, CONFIG)
        next(steps)
        next(steps)
        assert seen == [1, 1] and torch.get_num_threads() == 2
        steps.close()  # type: ignore[attr-defined]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


FAULTS = """
import resource, charlm, numpy
from charlm import Dataset, ModelConfig, TrainConfig, build_model, train

data = Dataset(numpy.arange(40_000, dtype=numpy.uint8) % 50, 16, 64)
model = build_model(ModelConfig(vocab_size=50, hidden_size=128))
steps = train(model, data, TrainConfig(batch_size=16, seq_len=64, steps=60, eval_every=1_000))
faults = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt for _ in steps]
print((faults[50] - faults[20]) / 30)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such thresholds")
@pytest.mark.parametrize("trim", [None, "268435456"])  # as containers set it, it would make all tensors fault
def test_a_step_takes_the_memory_that_the_last_one_freed(trim: str | None) -> None:
    others = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    env = {**others, "OMP_NUM_THREADS": "1", **({"MALLOC_TRIM_THRESHOLD_": trim} if trim else {})}
    told = subprocess.run([sys.executable, "-c", FAULTS], env=env, capture_output=True, text=True, check=True)
    assert float(told.stdout) < 50  # some 500 with glibc's own thresholds


def test_text_learned_by_heart(lstm_text: str) -> None:
    tokenizer = CharTokenizer.fit(lstm_text)
    data = Dataset(tokenizer.encode(lstm_text), batch_size=1, seq_len=20)
    model = build_model(ModelConfig(vocab_size=tokenizer.vocab_size, hidden_size=64, dropout=0.0), 7)
    config = TrainConfig(seq_len=20, batch_size=1, steps=600, learning_rate=5e-3, eval_every=100)
    assert [row for row in train(model, data, config) if row.val_loss is not None][-1].val_loss < 0.1
    assert np.isfinite(data.val_ids).all()
