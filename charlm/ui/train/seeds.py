"""A race of several seeds, as the Train tab shows it: means with intervals, and what may be claimed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charlm.analysis.comparison import Comparison, Group, grouped
from charlm.analysis.plots import By
from charlm.analysis.seed_plot import SeedCurves, seed_plot
from charlm.errors import ConfigError
from charlm.runs.run import Run
from charlm.ui.formatting import MISSING, listed, nats, whole
from charlm.ui.html import Cell, section, swatch, table
from charlm.ui.verdict import loss_unit

if TYPE_CHECKING:
    from charlm.ui.train.gradient import Moving

TITLE = "All seeds"
HEAD = ("", "Parameters", "Mean", "Std. deviation", "95 % interval", "Behind the best", "Seeds")
PHONE_COLUMNS = (0, 2, 5)
FINAL = "The claim is judged once the race is over; until then every look is one more chance to be wrong."
AT_LOOKS = "The claim is judged at these looks alone, each when all its seeds are trained."


def of_first_seed(runs: Sequence[Run]) -> list[Run]:
    """Of each training of a race that was repeated with other seeds, the first; all others as they are."""
    first: dict[Any, Run] = {}
    for run in sorted(runs, key=lambda run: run.train_config.seed):
        key = (run.group, run.arch) if run.group and run.train_config.random_start else run.run_id
        first.setdefault(key, run)
    kept = {run.run_id for run in first.values()}
    return [run for run in runs if run.run_id in kept]


@dataclass(frozen=True)
class Seeds:
    """What all seeds of a race show at one moment.

    Attributes:
        found: means and differences; None as long as there are none.
        curves: of each run, by its id, its validations: step, seconds, val_loss.
        is_over: whether nothing of the race is being trained.
        trouble: why there are no means; empty: there are some.
    """

    found: Comparison | None
    curves: Mapping[str, Sequence[Mapping[str, Any]]]
    is_over: bool
    trouble: str = ""

    @property
    def title(self) -> str:
        """The claim about the best and the second; empty without two of them."""
        if self.found is None or len(self.found.groups) < 2:
            return ""
        first = self.found.sentences()[0]
        return first if self.is_over else f"So far: {first}"

    @property
    def lead(self) -> str:
        """The other claims, and what they rest on."""
        if self.found is None:
            return self.trouble
        said = self.found.sentences()
        rest = said[1:] if len(self.found.groups) > 1 else said
        return " ".join(rest if self.is_over else [*rest, AT_LOOKS if self.found.looks else FINAL])

    def moving(self) -> "Moving | None":
        """The section: a title, a plot, and the table under it."""
        if self.found is None:
            return None
        groups, runs = self.found.groups, [run for group in self.found.groups for run in group.runs.values()]
        by: By = "seconds" if all(run.train_config.minutes and not run.train_config.steps for run in runs) else "step"
        drawn = [
            SeedCurves(group.name, group.first.arch, [self.curves[run_id] for run_id in group.run_ids])
            for group in groups
        ]
        figure = seed_plot(drawn, by=by, unit=loss_unit(runs)[0])
        hint = "Bold: the mean over seeds; band: its 95 % interval; faint: single seeds. Above: the first seed."
        if groups[0].is_tested:
            hint += " The curves are of the validation part, the table is of the test part."
        return {"html": section(TITLE, hint) + self._table(), "figure": figure, "alt": alt(groups)}

    def _table(self) -> str:
        """A line for each architecture, the best first."""
        assert self.found is not None
        best, lines = self.found.groups[0], list[list[Cell | str]]()
        for group in self.found.groups:
            mean, deviation, margin, seeds = group.losses
            behind, is_claimed = self.found.differences.get((best.name, group.name), (None, False))
            gap = nats(behind.mean if behind else None)
            gap += f" ± {behind.margin:.3f}" if behind and math.isfinite(behind.margin) else ""
            lines.append(
                [
                    Cell(html=swatch(group.first.arch) + group.name), whole(group.first.num_parameters),
                    Cell(nats(mean), strong=True), nats(deviation), _interval(mean, margin),
                    Cell(gap, strong=is_claimed), str(seeds),
                ]
            )  # fmt: skip
        return table(HEAD, lines, keep=PHONE_COLUMNS, kind="standing", id="train-seeds-table")


def alt(groups: Sequence[Group]) -> str:
    """The plot in words."""
    ends = [f"{group.name} {group.losses.mean:.3f}" for group in groups]
    return f"Mean validation loss over seeds against training, with 95 % intervals. At the end: {listed(ends)}."


def seeds_of(runs: Sequence[Run], curves: Mapping[str, Sequence[Mapping[str, Any]]], is_over: bool) -> Seeds:
    """What the runs of a race show together.

    Args:
        runs: of one race, several seeds of each architecture.
        curves: see `Seeds`.
        is_over: see `Seeds`.
    """
    try:
        return Seeds(grouped([run for run in runs if run.best_val_loss is not None]), curves, is_over)
    except ConfigError as error:
        known = any(run.best_val_loss is not None for run in runs)
        return Seeds(None, curves, is_over, f"{str(error)[:1].upper()}{str(error)[1:]}." if known else "")


def _interval(mean: float, margin: float) -> str:
    return MISSING if math.isnan(margin) else f"{mean - margin:.3f} to {mean + margin:.3f}"
