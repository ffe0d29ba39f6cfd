"""Is the difference luck? Runs of several architectures, each trained with several seeds, and what they show."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from charlm.analysis.seeds import LEVEL, Mean, SeedDifference, compare_all, level_at, mean_of
from charlm.architectures import ARCH_NAMES
from charlm.errors import ConfigError
from charlm.files import finite
from charlm.runs.run import Run
from charlm.training.metrics import Blocks

LEAST = 0.01  # nats per token: the difference that more seeds are asked for
TESTED = "Measured on the test text, on which nothing was chosen."
CHOSEN_ON = "Measured on the validation text, on which each run's weights were chosen."
ENDED = ("finished", "stopped")
ALIKE, NEAR = 0.02, 1.15  # numbers that differ by so small a share count as equal; by this factor, as nearly so


@dataclass(frozen=True)
class Group:
    """One architecture with one set of settings.

    Attributes:
        name: what it is called beside the others.
        runs: by seed; the same seeds in every group of a comparison, in the same order. An n-gram, which has no seed,
            is one run for all of them.
        is_tested: whether their losses are of the test part.
    """

    name: str
    runs: Mapping[int, Run]
    is_tested: bool

    @property
    def first(self) -> Run:
        """The run of the first seed."""
        return next(iter(self.runs.values()))

    @property
    def run_ids(self) -> list[str]:
        """Each once."""
        return list(dict.fromkeys(run.run_id for run in self.runs.values()))

    @cached_property
    def losses(self) -> Mean:
        """Of the weights that are kept, in nats per token."""
        means = [sum(loss for loss, _ in blocks) / sum(tokens for _, tokens in blocks) for blocks in self.blocks]
        return mean_of(means[:1] if self.first.model_config.is_counted else means)

    @cached_property
    def blocks(self) -> list[Blocks]:
        """For each seed, the losses by block of the weights that the run keeps."""
        return [run.test_blocks() if self.is_tested else run.val_blocks(run.best_step) for run in self.runs.values()]


@dataclass(frozen=True)
class Comparison:
    """What the seeds of several groups show.

    Attributes:
        groups: the lowest mean loss first.
        left_out: the labels of runs whose seed not every group has.
        looks: seeds after which the experiment may stop early, as fixed beforehand; empty: it may not.
    """

    groups: Sequence[Group]
    left_out: Sequence[str]
    looks: Sequence[int] = ()

    @property
    def level(self) -> float:
        """The probability of a false claim that is accepted here, and what the intervals of differences may miss."""
        return level_at(len(self.groups[0].runs), self.looks) if self.looks else LEVEL

    @property
    def is_settled(self) -> bool:
        """Whether it may be claimed that the best is better than each other one, so that no more seeds are needed."""
        best, *others = self.groups
        return bool(others) and all(self.differences[best.name, other.name][1] for other in others)

    @property
    def ended_early(self) -> bool:
        """Whether a look ended the experiment before its last one: all runs have ended, and the best is told apart."""
        if not self.looks or len(self.groups[0].runs) == self.looks[-1]:
            return False
        runs = [run for group in self.groups for run in group.runs.values()]
        return self.is_settled and all(run.status in ENDED for run in runs)

    @cached_property
    def differences(self) -> dict[tuple[str, str], tuple[SeedDifference, bool]]:
        """By names of a better and a worse group: the worse's loss minus the better's, and whether it is a claim."""
        return compare_all({group.name: group.blocks for group in self.groups}, level=self.level)

    def rows(self) -> list[dict[str, Any]]:
        """A line for each group: means over seeds, and how far it is behind the first, in nats per token."""
        best, shown = self.groups[0], list[dict[str, Any]]()
        for group in self.groups:
            mean, deviation, margin, seeds = group.losses
            behind = self.differences.get((best.name, group.name), (None, False))[0]
            shown.append(
                {"model": group.name, "parameters": f"{group.first.num_parameters:,}", "mean": mean,
                 "deviation": deviation, "±": margin, "seeds": seeds,
                 "behind": behind.mean if behind else 0.0, "± behind": behind.margin if behind else math.nan}
            )  # fmt: skip
        return [dict(finite(row)) for row in shown]

    def sentences(self) -> list[str]:
        """What may be claimed of the best against each other one, and what not; then what it rests on."""
        best, *others = self.groups
        said = [_claim(best.name, other.name, *self.differences[best.name, other.name]) for other in others]
        if not others:
            mean, deviation, margin, _ = best.losses
            said = [f"{best.name}: {mean:.3f} ± {margin:.3f} nats per token, {deviation:.3f} between seeds."]
        seeds, blocks = len(best.runs), len(best.blocks[0])
        ground = TESTED if best.is_tested else CHOSEN_ON
        of_text = f"{blocks} block{'s' if blocks > 1 else ''} of text"
        how = "; ".join([f"{seeds} seeds each, paired", *self.equal, of_text])
        return [*said, f"{how}. {ground}", *self._look()]

    def _look(self) -> list[str]:
        """Which of the looks that were fixed beforehand this is."""
        if not self.looks:
            return []
        *others, last = map(str, self.looks)
        seeds, sure = len(self.groups[0].runs), 1.0 - self.level
        every = f"{', '.join(others)} and {last}" if others else last
        saved = (self.looks[-1] - seeds) * sum(not group.first.model_config.is_counted for group in self.groups)
        end = [
            f"It ended early: after {seeds} of {last} seeds {self.groups[0].name} is told apart from "
            f"{'the other' if len(self.groups) == 2 else 'all others'}, and "
            f"{saved} training{'s were' if saved > 1 else ' was'} not needed."
        ]
        return (end if self.ended_early else []) + [
            f"To be looked at after {every} seeds, as fixed beforehand; this is the look after {seeds}. It claims at a "
            f"level of {self.level:.2g}, with intervals of {100 * sure:.4g} %, so that all looks together make a false "
            f"claim in at most {100 * LEVEL:g} % of experiments."
        ]

    @cached_property
    def equal(self) -> list[str]:
        """What all networks have the same of: `equal parameters`, `equal steps` and so on, or what they have not."""
        runs = [group.first for group in self.groups if not group.first.model_config.is_counted]
        return [_equal_size(runs), _equal_budget(runs)] if len(runs) > 1 else []

    def to_dict(self) -> dict[str, Any]:
        """As JSON: `groups`, `differences` of every pair, `sentences`, `left_out`; losses in nats per token.

        `measured_on` is test or validation, `equal` says what the networks have the same of; `level` is that of the
        claims and intervals, `looks` the seeds after which the experiment may stop early; `ended_early`: it did.
        """
        groups = [
            {"name": group.name, "arch": group.first.arch, "parameters": group.first.num_parameters,
             "hidden_size": group.first.model_config.hidden_size, **group.losses._asdict(),
             "runs": group.run_ids}
            for group in self.groups
        ]  # fmt: skip
        differences = [
            {"better": better, "worse": worse, "difference": one.mean, "margin": one.margin, "freedom": one.freedom,
             "chance": one.chance, "claimed": is_claimed, "seeds_for_0.01": one.seeds_for(LEAST)}
            for (better, worse), (one, is_claimed) in self.differences.items()
        ]  # fmt: skip
        found = {
            "seeds": list(self.groups[0].runs), "blocks": len(self.groups[0].blocks[0]),
            "measured_on": "test" if self.groups[0].is_tested else "validation", "equal": self.equal, "groups": groups,
            "differences": differences, "sentences": self.sentences(), "left_out": list(self.left_out),
            "level": self.level, "looks": list(self.looks), "ended_early": self.ended_early,
        }  # fmt: skip
        return dict(finite(found))


def is_settled(runs: Sequence[Run]) -> bool:
    """Whether these runs of an experiment show which architecture is the best; see `Comparison.is_settled`."""
    try:
        return compare([run for run in runs if run.status in ENDED]).is_settled
    except ConfigError:  # too little was trained
        return False


def with_race(runs: Sequence[Run], known: Sequence[Run]) -> Sequence[Run]:
    """The runs; of a single one that took part in a race, all of it that has come to a loss.

    Args:
        runs: to be compared.
        known: all runs that there are.
    """
    if len(runs) != 1 or not (group := runs[0].group):
        return runs
    return [run for run in known if run.group == group and run.shipped == runs[0].shipped and run.best_val_loss]


def with_other_seeds(runs: Sequence[Run], known: Sequence[Run]) -> Comparison | None:
    """What the other seeds of races say of runs that took part in them; None where one of them has no other seeds.

    Args:
        runs: to be compared.
        known: all runs that there are.
    """
    kinds = {(run.group, _settings(run)) for run in runs if run.group and run.train_config.random_start}
    if len(kinds) < max(2, len(runs)):
        return None
    try:
        return compare([run for run in known if (run.group, _settings(run)) in kinds])
    except ConfigError:
        return None


def compare(runs: Sequence[Run]) -> Comparison:
    """`grouped`, of two groups or more.

    Raises:
        ConfigError: they do not make up two groups, or see there.
    """
    return grouped(runs, 2)


def grouped(runs: Sequence[Run], least: int = 1) -> Comparison:
    """Group runs by what they were trained with besides their seed, and pair the groups by seed.

    Args:
        runs: finished or stopped ones, on one text.
        least: how many groups there must be.

    Raises:
        ConfigError: there are fewer groups, they have not two seeds or more in common, or their losses are of different
            text or tokens, or are not known by block.
    """
    groups: dict[tuple[Any, ...], dict[int, Run]] = {}
    counted: dict[tuple[Any, ...], Run] = {}
    for run in runs:
        if run.best_val_loss is None or not run.val_blocks(run.best_step):
            raise ConfigError(f"{run.label} has no losses by block of its validation text; resume it, or train it anew")
        if run.model_config.is_counted:
            counted.setdefault(_settings(run), run)
            continue
        found = groups.setdefault(_settings(run), {})
        if (other := found.setdefault(run.train_config.seed, run)) is not run:
            seed = run.train_config.seed
            raise ConfigError(f"{other.label} and {run.label} have the same settings and seed {seed}; leave one out")
    if len(groups) + len(counted) < least:
        raise ConfigError("these runs differ in nothing but their seeds; name runs of another architecture, too")
    if len({(run.corpus.get("sha256"), run.corpus.get("val_chars"), run.level) for run in runs}) > 1:
        raise ConfigError("these runs were not validated on the same tokens of one text")
    common = sorted(set.intersection(*(set(found) for found in groups.values()))) if groups else []
    if len(common) < 2:
        raise ConfigError(
            f"these architectures have {len(common)} of their seeds in common, and 2 are needed; train each with "
            "--seed 1, --seed 2 and so on"
        )
    if looks := _looks(runs):
        reached = [look for look in looks if look <= len(common)]
        if not reached:
            raise ConfigError(f"this experiment is first looked at after {looks[0]} seeds; {len(common)} are trained")
        common = common[: reached[-1]]
    paired = [{seed: found[seed] for seed in common} for found in groups.values()]
    paired += [dict.fromkeys(common, run) for run in counted.values()]
    kept = {run.run_id: run for found in paired for run in found.values()}
    is_tested = all(run.test_blocks() for run in kept.values())
    made = [Group(name, found, is_tested) for name, found in zip(_names(paired), paired, strict=True)]
    return Comparison(
        sorted(made, key=lambda group: group.losses.mean), [run.label for run in runs if run.run_id not in kept], looks
    )


def _looks(runs: Sequence[Run]) -> list[int]:
    """The looks of the one experiment that all these runs are part of; empty if it has none."""
    return runs[0].looks if runs and len({run.group for run in runs}) == 1 else []


def _settings(run: Run) -> tuple[Any, ...]:
    """What a run was trained with, but for its seed and name."""
    return run.arch, run.model_config, replace(run.train_config, seed=0, label="")


def _equal_size(runs: Sequence[Run]) -> str:
    """Whether networks have equal parameters or layers."""
    sizes = [run.num_parameters for run in runs]
    if max(sizes) <= (1.0 + ALIKE) * min(sizes):
        return "equal parameters"
    least, most = f"{min(sizes):,}", f"{max(sizes):,}"
    if len({(run.model_config.num_layers, run.model_config.hidden_size) for run in runs}) == 1:
        return f"equal layers ({least} to {most} parameters)"
    if max(sizes) <= NEAR * min(sizes):
        return f"nearly equal parameters ({least} to {most})"
    return f"{least} to {most} parameters"


def _equal_budget(runs: Sequence[Run]) -> str:
    """What of training networks had equally much of."""
    trains = [run.train_config for run in runs]
    if all(train.minutes and not (train.steps or train.epochs) for train in trains):
        minutes = {train.minutes for train in trains}
        return f"equal seconds ({60 * minutes.pop():g})" if len(minutes) == 1 else "different seconds"
    steps = [run.total_steps or run.step for run in runs]
    if len(set(steps)) == 1:
        return "equal steps"
    from charlm.training.racers import work_per_token  # torch takes seconds: not before it is needed

    work = [count * work_per_token(run.model_config) for count, run in zip(steps, runs, strict=True)]
    same = "equal multiply-adds" if max(work) <= (1.0 + ALIKE) * min(work) else "different budgets"
    return f"{same} ({min(steps):,} to {max(steps):,} steps)"


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
    if not math.isfinite(found.margin):
        return (
            f"{better} is {found.mean:.3f} nats per token below {worse}; how much of that is chance cannot be said of "
            f"{found.blocks} block{'s' if found.blocks > 1 else ''} of held-out text: hold out more."
        )
    number = f"{found.mean:.3f} ± {found.margin:.3f} nats per token"
    if is_claimed:
        return f"{better} beats {worse} by {number}."
    wanted = f"{found.needed_for(LEAST)} would be needed"
    return f"No difference found between {better} and {worse}: {number}; {wanted} to show one of {LEAST:g}."
