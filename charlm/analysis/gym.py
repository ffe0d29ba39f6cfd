"""Memory gym: synthetic tasks whose answer is known, learned by several architectures over growing delays.

Unlike the other measurements it has no Subject: the models are its own, of nearly equal parameter counts, made and
trained when it is asked for. `measure(settings)` yields as the others do, and `finding` and `rows` take what it found.

Training: each step takes one batch of fresh sequences of one delay. Half of the batches have the longest delay reached
so far, the other half one from `first_delay` up to it, drawn evenly on a logarithmic scale. Once the last PASSES
batches of the longest delay were all at least SOLVED right, the delay grows to the next of the grid; a training ends
early when, at the grid's end, the last LAST batches were. The gradient is that of the answers alone: all else is
random. Every architecture has the same optimizer (Adam), learning rate and number of steps.

What is reported: the accuracy on HELD_OUT fresh sequences of each delay of the grid, also of delays that a model never
trained on because it did not solve the shorter ones.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any, TypedDict

import numpy as np
import torch

from charlm.analysis.gym_tasks import TASKS, Batch, Task
from charlm.analysis.measurement import Measured, Progress, listed
from charlm.analysis.settings import GymSettings
from charlm.architectures import ARCH_NAMES, ARCHITECTURES
from charlm.config import ModelConfig
from charlm.errors import MeasurementError
from charlm.models import LanguageModel, build_model, model_class
from charlm.training.optimizer import AdamW, clip_gradients

Settings = GymSettings

BATCH = 32  # sequences of a training step
HELD_OUT, AT_ONCE = 256, 64  # sequences of each delay that the accuracy is measured on, and how many in one pass
SOLVED = 0.9  # accuracy from which on a delay counts as solved
PASSES, LAST = 4, 32  # batches that must be solved before the delay grows, and before a training ends early
CLIP = 1.0  # largest L2 norm of the gradient
WARMUP = 50  # steps in which the learning rate rises; it then falls linearly to 0
REPORT = 8  # steps between two reports of progress
WIDEST = 1024  # units of a layer
# An induction over earlier tokens takes attention two layers (Olsson et al. 2022); the others have one.
LAYERS, HEADS = {"transformer": 2}, 2


class Row(TypedDict):
    """Accuracy at one delay: of each seed, and the mean, lowest and highest of them."""

    delay: int
    mean: float
    low: float
    high: float
    accuracies: list[float]


class Learner(TypedDict):
    """An architecture: its size, the steps that each training took, and its accuracies.

    `reach` is the longest delay of the grid up to which the mean accuracy is at least SOLVED; None: not the first.
    """

    arch: str
    parameters: int
    hidden_size: int
    layers: int
    steps: list[int]
    reach: int | None
    rows: list[Row]


class Gym(TypedDict):
    """What `measure` finds."""

    task: str
    title: str
    delay: str
    chance: float
    seeds: int
    learners: list[Learner]


def measure(settings: Settings) -> Iterator[Progress[Gym]]:
    """Let the architectures learn the task, one seed of all of them after the other.

    On one thread the same settings give the same bits.

    Args:
        settings: see Settings.

    Yields:
        How far it is, after each training with what was found.

    Raises:
        MeasurementError: a loss stopped being a finite number.

    Source:
        Delayed copy and first symbol after Hochreiter and Schmidhuber (1997); counting after Gers and Schmidhuber
        (2001); growing delays are a curriculum (Bengio et al. 2009).
    """
    task, delays = TASKS[settings.task], settings.delays
    held_out = [task.make(np.random.default_rng([settings.seed, 1, delay]), delay, HELD_OUT) for delay in delays]
    longest = max(batch["ids"].shape[1] for batch in held_out)
    configs = {arch: sized(arch, len(task.tokens), settings, longest) for arch in settings.archs}
    found: dict[str, list[tuple[int, list[float]]]] = {arch: [] for arch in settings.archs}
    part = 1.0 / (settings.seeds * len(configs))
    for seed in range(settings.seed, settings.seed + settings.seeds):
        for arch, config in configs.items():
            done, model, step = part * sum(map(len, found.values())), build_model(config, seed), 0
            for step in _train(model, task, settings, seed):
                if step % REPORT == 0:
                    yield Progress(done + 0.9 * part * step / settings.steps)
            accuracies = []
            for place, batch in enumerate(held_out):
                accuracies.append(accuracy(model.eval(), task, batch))
                yield Progress(done + part * (0.9 + 0.09 * place / len(held_out)))
            found[arch].append((step, accuracies))
            is_last = sum(map(len, found.values())) == settings.seeds * len(configs)
            yield Progress(1.0 if is_last else done + part, _result(settings, configs, found))


def sized(arch: str, vocab_size: int, settings: Settings, length: int) -> ModelConfig:
    """The model of an architecture whose parameter count is nearest to the one wanted.

    Args:
        arch: a key of ARCHITECTURES.
        vocab_size: tokens of the task.
        settings: with `parameters`.
        length: tokens of the longest sequence, all of which attention sees.
    """
    step = 2 * HEADS if ARCHITECTURES[arch].attends else 1
    best, least = None, 0
    for hidden in range(step, WIDEST, step):
        config = ModelConfig(
            arch=arch, vocab_size=vocab_size, hidden_size=hidden, num_layers=LAYERS.get(arch, 1), num_heads=HEADS,
            dropout=0.0, context=length if ARCHITECTURES[arch].attends else 0, init=settings.init,
        )  # fmt: skip
        count = model_class(arch).on_meta_device(config).num_parameters
        if best is None or abs(count - settings.parameters) < least:
            best, least = config, abs(count - settings.parameters)
        if count >= settings.parameters:
            break
    assert best is not None
    return best


def accuracy(model: LanguageModel, task: Task, batch: Batch) -> float:
    """The share of answers, or of whole sequences, that the most likely tokens get right.

    Args:
        model: in evaluation mode.
        task: says which.
        batch: of sequences.
    """
    right = []
    for start in range(0, len(batch["ids"]), AT_ONCE):
        ids, targets = _tensors(batch, slice(start, start + AT_ONCE))
        with torch.no_grad():
            right.append(_right(model(ids)[0], targets, task.whole))
    return round(float(torch.cat(right).mean()), 5)


def _tensors(batch: Batch, rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """The ids that a model reads, (B, T), and the answers to give after each of them, (B, T), -1 where none is."""
    ids = torch.from_numpy(batch["ids"][rows])
    targets = torch.from_numpy(np.where(batch["answers"], batch["ids"], -1)[rows])
    return ids[:, :-1].contiguous(), targets[:, 1:].contiguous()


def _right(logits: torch.Tensor, targets: torch.Tensor, whole: bool) -> torch.Tensor:
    """1 for each right answer or sequence, else 0.

    Args:
        logits: (B, T, V).
        targets: (B, T), -1 where none is asked for.
        whole: whether sequences are scored.
    """
    hits = logits.argmax(-1) == targets
    return ((hits | (targets < 0)).all(dim=1) if whole else hits[targets >= 0]).float()


def _train(model: LanguageModel, task: Task, settings: Settings, seed: int) -> Iterator[int]:
    """Train on growing delays; yields the number of steps taken, after each of them.

    Args:
        model: new.
        task: to be learned.
        settings: steps, delays and learning rate.
        seed: of the sequences.

    Raises:
        MeasurementError: the loss is no finite number.
    """
    rng, delays, level = np.random.default_rng([seed, 0]), settings.delays, 0
    optimizer = AdamW(model.parameters(), betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    at_longest: list[float] = []
    recent: list[float] = []
    model.train()
    for step in range(settings.steps):
        longest = delays[level]
        octaves = rng.random() * math.log2(longest / settings.first_delay)
        delay = longest if rng.random() < 0.5 else round(settings.first_delay * 2.0**octaves)
        ids, targets = _tensors(task.make(rng, delay, BATCH), slice(None))
        logits = model(ids)[0]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
        if not torch.isfinite(loss):
            raise MeasurementError(
                f"the loss of the {ARCH_NAMES[model.config.arch]} grew beyond all numbers at step {step:,}; "
                f"learning_rate {settings.learning_rate:g} is too high for it"
            )
        rise, fall = min(1.0, (step + 1) / WARMUP), 1.0 - step / settings.steps
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * rise * fall
        optimizer.zero_grad()
        loss.backward()
        clip_gradients(list(model.parameters()), CLIP)
        optimizer.step()
        yield step + 1
        score = float(_right(logits.detach(), targets, task.whole).mean())
        recent = [*recent[1 - LAST :], score]
        at_longest = [*at_longest[1 - PASSES :], score] if delay == longest else at_longest
        if len(at_longest) == PASSES and min(at_longest) >= SOLVED:
            if level + 1 < len(delays):
                level, at_longest, recent = level + 1, [], []
            elif len(recent) == LAST and min(recent) >= SOLVED:
                return


def _result(
    settings: Settings, configs: dict[str, ModelConfig], found: dict[str, list[tuple[int, list[float]]]]
) -> Gym:
    """What was found so far.

    Args:
        settings: of the measurement.
        configs: of the models.
        found: for each architecture and seed the steps taken, and the accuracy at each delay.
    """
    task, learners = TASKS[settings.task], []
    for arch, config in configs.items():
        if not found[arch]:
            continue
        table: list[Row] = []
        for delay, scores in zip(
            settings.delays, zip(*(scores for _, scores in found[arch]), strict=True), strict=True
        ):
            table.append(Row(
                delay=delay, mean=round(fmean(scores), 5), low=min(scores), high=max(scores), accuracies=list(scores)
            ))  # fmt: skip
        learners.append(Learner(
            arch=arch, parameters=model_class(arch).on_meta_device(config).num_parameters,
            hidden_size=config.hidden_size, layers=config.num_layers, steps=[steps for steps, _ in found[arch]],
            reach=_reach(table), rows=table,
        ))  # fmt: skip
    return Gym(
        task=settings.task, title=task.title, delay=task.delay, chance=round(task.chance, 5),
        seeds=max(map(len, found.values())), learners=learners,
    )  # fmt: skip


def _reach(table: Sequence[Row]) -> int | None:
    """The longest delay up to which the mean accuracy is at least SOLVED."""
    solved = [row["delay"] for row in itertools.takewhile(lambda row: row["mean"] >= SOLVED, table)]
    return solved[-1] if solved else None


def finding(found: Sequence[Measured[Gym]]) -> str:
    """How far each architecture reaches, a sentence for each task.

    Args:
        found: one for each task; their labels and architectures do not count.
    """
    return " ".join(_sentence(one.result) for one in found if one.result["learners"])


def _sentence(result: Gym) -> str:
    reaches = [(ARCH_NAMES[one["arch"]], one["reach"]) for one in result["learners"]]
    solved = [f"up to {reach:,} {result['delay']} with the {name}" for name, reach in reaches if reach is not None][:1]
    solved += [f"up to {reach:,} with the {name}" for name, reach in reaches if reach is not None][1:]
    failed = [f"the {name}" for name, reach in reaches if reach is None]
    parts = [listed(solved)] if solved else []
    parts += [f"at no delay with {listed(failed)}"] if failed else []
    seeds = "one seed" if result["seeds"] == 1 else f"mean of {result['seeds']} seeds"
    return (
        f"{result['title']}: at least {100 * SOLVED:.0f} % right {', '.join(parts)} "
        f"({seeds}; chance {100 * result['chance']:.1f} %)."
    )


def rows(result: Gym) -> list[dict[str, Any]]:
    """A row for each architecture and delay."""
    return [
        {
            "task": result["task"], "arch": one["arch"], "parameters": one["parameters"], "delay": row["delay"],
            "accuracy": row["mean"], "lowest": row["low"], "highest": row["high"], "chance": result["chance"],
        }
        for one in result["learners"]
        for row in one["rows"]
    ]  # fmt: skip
