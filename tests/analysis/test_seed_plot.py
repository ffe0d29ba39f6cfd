"""The picture of several seeds: means, bands, single curves."""

import math

import numpy as np
import pytest
from scipy import stats

from charlm.analysis.seed_plot import SeedCurves, mean_rows, seed_plot


def curve(*losses: float, every: int = 10) -> list[dict[str, float]]:
    return [{"step": every * (at + 1), "seconds": at + 0.5, "val_loss": loss} for at, loss in enumerate(losses)]


THREE = [curve(3.0, 2.0, 1.5), curve(3.2, 2.1, 1.7), curve(3.1, 2.3)]


def test_means_and_margins_are_those_of_the_seeds() -> None:
    rows = mean_rows(THREE)
    assert [row["step"] for row in rows] == [10, 20]  # the third validation is not everyone's yet
    for place, row in enumerate(rows):
        losses = [one[place]["val_loss"] for one in THREE]
        low, high = stats.t.interval(0.95, 2, np.mean(losses), stats.sem(losses))
        assert (row["val_loss"] - row["margin"], row["val_loss"] + row["margin"]) == pytest.approx((low, high))


def test_one_seed_has_neither_band_nor_faint_curve() -> None:
    plot = seed_plot([SeedCurves("n-gram", "ngram", [curve(2.0, 1.9)])])
    assert [trace["meta"]["kind"] for trace in plot["data"]] == ["val"]
    assert mean_rows([curve(2.0)])[0]["margin"] is None and mean_rows([]) == []


@pytest.mark.parametrize("by, xs", [("step", [10, 20]), ("seconds", [0.5, 1.5])])
def test_band_single_curves_and_mean_lie_over_each_other(by: str, xs: list[float]) -> None:
    plot = seed_plot([SeedCurves("GRU", "gru", THREE)], by=by)  # type: ignore[arg-type]
    kinds = [trace["meta"]["kind"] for trace in plot["data"]]
    assert kinds == ["band", "band", "seed", "seed", "seed", "val"]
    low, high, *_, mean = plot["data"]
    assert list(low["x"]) == list(high["x"]) == list(mean["x"]) == xs and high["fill"] == "tonexty"
    assert all(below < middle < above for below, middle, above in zip(low["y"], mean["y"], high["y"], strict=True))
    assert all(math.isfinite(value) for trace in plot["data"] for value in trace["y"])
    assert plot["layout"]["yaxis"]["range"][0] < low["y"][-1]  # the last interval is in sight
    assert "<b>GRU</b>" in [note["text"] for note in plot["layout"]["annotations"]]
