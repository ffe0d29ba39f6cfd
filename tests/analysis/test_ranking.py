"""Who is ahead, at equal steps and at equal seconds."""

from typing import Any

from charlm.analysis.plots import best_until, common_limit, ranked


def rows(*losses: float | None, pace: float = 1.0) -> list[dict[str, Any]]:
    return [{"step": 10 * at, "seconds": pace * at, "val_loss": loss} for at, loss in enumerate(losses, 1)]


def test_ranked_at_the_step_that_all_have_reached() -> None:
    runs = {"a": rows(3.0, 2.5, 1.0), "b": rows(2.9, 2.4)}
    assert common_limit(runs, "step") == 20
    assert ranked(runs, "step") == [("b", 2.4), ("a", 2.5)]


def test_at_equal_seconds_the_slower_one_is_judged_earlier() -> None:
    runs = {"fast": rows(3.0, 2.5, 2.2, 2.0), "slow": rows(2.6, 2.1, pace=2.0)}
    assert dict(ranked(runs, "seconds")) == {"fast": 2.0, "slow": 2.1}
    runs["slow"] = rows(2.6, pace=2.0)
    assert dict(ranked(runs, "seconds")) == {"fast": 2.5, "slow": 2.6}


def test_the_best_so_far_counts_not_the_last() -> None:
    assert best_until(rows(2.0, 3.0, None), "step", 30) == 2.0
    assert best_until(rows(None, None), "step", 20) is None
    assert best_until([], "step", 20) is None


def test_who_has_no_validation_yet_is_left_out() -> None:
    assert ranked({"a": rows(2.0), "b": rows(None)}, "step") == [("a", 2.0)]
    assert ranked({"a": rows(2.0), "b": []}, "step") == []
    assert ranked({}, "step") == [] and common_limit({}, "step") == 0.0
