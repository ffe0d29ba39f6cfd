"""Is the difference luck? Runs of several architectures, each trained with several seeds, and what they show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from charlm.analysis.seeds import Mean, SeedDifference, compare_all, mean_of
from charlm.architectures import ARCH_NAMES
from charlm.errors import ConfigError
from charlm.runs.run import Run
from charlm.training.metrics import Blocks

LEAST = 0.01  # nats per token: the difference that more seeds are asked for
CHOSEN_ON = "The losses are of the validation text, on which each run's weights were chosen."


@dataclass(frozen=True)
class Group:
    """One architecture with one set of settings.

    Attributes:
        name: what it is called beside the others.
        runs: by seed; the same seeds in every group of a comparison, in the same order.
    """

    name: str
    runs: Mapping[int, Run]

    @cached_property
    def losses(self) -> Mean:
        """Of the lowest validation losses, in nats per token."""
        return mean_of([run.best_val_loss or 0.0 for run in self.runs.values()])

    @cached_property
    def blocks(self) -> list[Blocks]:
        """For each seed, the losses by block of the validation whose weights the run keeps."""
        return [run.val_blocks(run.best_step) for run in self.runs.values()]


@dataclass(frozen=True)
class Comparison:
    """What the seeds of several groups show.

    Attributes:
        groups: the lowest mean loss first.
        left_out: the labels of runs whose seed not every group has.
    """

    groups: Sequence[Group]
    left_out: Sequence[str]

    @cached_property
    def differences(self) -> dict[tuple[str, str], tuple[SeedDifference, bool]]:
        """By names of a better and a worse group: the worse's loss minus the better's, and whether it is a claim."""
        return compare_all({group.name: group.blocks for group in self.groups})

    def sentences(self) -> list[str]:
        """What may be claimed of the best against each other one, and what not; then what it rests on."""
        best, *others = self.groups
        said = [_claim(best.name, other.name, *self.differences[best.name, other.name]) for other in others]
        seeds, blocks = len(best.runs), len(best.blocks[0])
        return [*said, f"{seeds} seeds each, paired; {blocks} blocks of text. {CHOSEN_ON}"]

    def to_dict(self) -> dict[str, Any]:
        """As JSON: `groups`, `differences` of every pair, `sentences`, `left_out`; losses in nats per token."""
        groups = [
            {"name": group.name, "arch": next(iter(group.runs.values())).arch, **group.losses._asdict(),
             "runs": [run.run_id for run in group.runs.values()]}
            for group in self.groups
        ]  # fmt: skip
        differences = [
            {"better": better, "worse": worse, "difference": one.mean, "margin": one.margin, "freedom": one.freedom,
             "chance": one.chance, "claimed": is_claimed, "seeds_for_0.01": one.seeds_for(LEAST)}
            for (better, worse), (one, is_claimed) in self.differences.items()
        ]  # fmt: skip
        return {
            "seeds": list(self.groups[0].runs), "blocks": len(self.groups[0].blocks[0]), "groups": groups,
            "differences": differences, "sentences": self.sentences(), "left_out": list(self.left_out),
        }  # fmt: skip


def compare(runs: Sequence[Run]) -> Comparison:
    """Group runs by what they were trained with besides their seed, and pair the groups by seed.

    Args:
        runs: finished or stopped ones, on one text.

    Raises:
        ConfigError: they do not make up two groups with two seeds or more in common, or their losses are of different
            text or tokens, or are not known by block.
    """
    groups: dict[tuple[Any, ...], dict[int, Run]] = {}
    for run in runs:
        if run.best_val_loss is None or not run.val_blocks(run.best_step):
            raise ConfigError(f"{run.label} has no losses by block of its validation text; resume it, or train it anew")
        found = groups.setdefault(_settings(run), {})
        if (other := found.setdefault(run.train_config.seed, run)) is not run:
            seed = run.train_config.seed
            raise ConfigError(f"{other.label} and {run.label} have the same settings and seed {seed}; leave one out")
    if len(groups) < 2:
        raise ConfigError("these runs differ in nothing but their seeds; name runs of another architecture, too")
    if len({(run.corpus.get("sha256"), run.corpus.get("val_chars"), run.level) for run in runs}) > 1:
        raise ConfigError("these runs were not validated on the same tokens of one text")
    common = sorted(set.intersection(*(set(found) for found in groups.values())))
    if len(common) < 2:
        raise ConfigError(
            f"these architectures have {len(common)} of their seeds in common, and 2 are needed; train each with "
            "--seed 1, --seed 2 and so on"
        )
    paired = [{seed: found[seed] for seed in common} for found in groups.values()]
    kept = {run.run_id for found in paired for run in found.values()}
    made = [Group(name, found) for name, found in zip(_names(paired), paired, strict=True)]
    return Comparison(
        sorted(made, key=lambda group: group.losses.mean), [run.label for run in runs if run.run_id not in kept]
    )


def _settings(run: Run) -> tuple[Any, ...]:
    """What a run was trained with, but for its seed and name."""
    return run.arch, run.model_config, replace(run.train_config, seed=0, label="")


def _names(groups: Sequence[Mapping[int, Run]]) -> list[str]:
    """The architecture; with the shape, and then a label, where that is not enough to tell groups apart."""
    firsts = [next(iter(found.values())) for found in groups]
    names = [ARCH_NAMES.get(run.arch, run.arch) for run in firsts]
    for more in (lambda run: str(run.model_config.shape), lambda run: run.label):
        names = [
            name if names.count(name) == 1 else f"{name}, {more(run)}" for name, run in zip(names, firsts, strict=True)
        ]
    return names


def _claim(better: str, worse: str, found: SeedDifference, is_claimed: bool) -> str:
    """`LSTM beats GRU by 0.041 ± 0.012 nats per token.`, or what would be needed to say so."""
    number = f"{found.mean:.3f} ± {found.margin:.3f} nats per token"
    if is_claimed:
        return f"{better} beats {worse} by {number}."
    needed = found.seeds_for(LEAST)
    wanted = "a longer validation text would be needed" if needed is None else f"{needed} seeds would be needed"
    return f"No difference found between {better} and {worse}: {number}; {wanted} to show one of {LEAST:g}."
