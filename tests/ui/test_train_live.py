"""What the Train tab says and draws of its runs, from their logs, and how a page keeps up with it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from charlm.jobs import Jobs
from charlm.run import Run
from charlm.serving import Serving
from charlm.ui import train_live, train_view
from charlm.ui.common import Services
from tests.training import entered, store_in

Losses = dict[int, float | None]


@pytest.fixture
def services(tmp_path: Path) -> Services:
    store = store_in(tmp_path)
    return Services(store, Jobs(store), Serving(store))


def row(step: int, val_loss: float | None, pace: float = 1.0) -> dict[str, Any]:
    return {
        "step": step, "epoch": step / 50, "train_loss": 3.0 - step / 1000, "val_loss": val_loss, "grad_norm": 0.5,
        "learning_rate": 1e-3, "chars_per_second": 1000.0, "seconds": pace * step,
    }  # fmt: skip


def logged(run: Run, losses: Losses, status: str = "finished", pace: float = 1.0, **fields: Any) -> Run:
    """A run whose log holds these validation losses by step."""
    for step, loss in losses.items():
        run.log.append(row(step, loss, pace))
    known = {loss: step for step, loss in losses.items() if loss is not None}
    best = min(known, default=None)
    progress = {"step": max(losses, default=0), "total_steps": 100, "best_val_loss": best,
                "best_step": known.get(best, 0) if best is not None else 0}  # fmt: skip
    run.update(progress, status=status, **fields)
    if status not in ("queued", "running"):
        run.release()
    return run


def race(services: Services, *losses: Losses, status: str = "finished", **fields: Any) -> list[Run]:
    made = entered(services.store, *("lstm", "gru", "rnn")[: len(losses)])
    return [logged(run, mine, status, **fields) for run, mine in zip(made, losses, strict=True)]


# --- the finding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "status", "said"),
    [([{50: 2.0}, {50: 2.016}], "running", "LSTM leads by 0.016 nats after 50 of 100 steps"),
     ([{50: 2.5, 100: 2.0}, {50: 2.4, 100: 1.9}], "finished", "GRU won by 0.100 nats after 100 steps"),
     ([{50: 2.0}, {50: 2.0001}], "finished", "LSTM and GRU are level after 50 steps"),
     ([{50: 2.0}], "running", "LSTM is at 2.000 nats per character after 50 of 100 steps"),
     ([{50: 2.0}], "stopped", "LSTM reached 2.000 nats per character after 50 steps"),
     ([{5: None}, {}], "running", "LSTM and GRU: the first validation is on its way"),
     ([{5: None}], "failed", "No validation yet"),
     ([{50: 2.0, 80: 1.0}, {50: 1.9}], "finished", "GRU won by 0.100 nats after 50 steps")],
)  # fmt: skip
def test_the_finding(losses: list[Losses], status: str, said: str, services: Services) -> None:
    assert train_view.finding(race(services, *losses, status=status)) == said


def test_a_racer_that_failed_does_not_hold_the_others_back(services: Services) -> None:
    lstm, gru, rnn = entered(services.store, "lstm", "gru", "rnn")
    logged(lstm, {10: 3.0, 100: 2.0})
    logged(gru, {10: 2.9, 100: 2.2})
    logged(rnn, {10: 2.5}, "failed", message="the loss became <nan> at step 11")
    runs = [lstm, gru, rnn]
    assert train_view.finding(runs) == "LSTM won by 0.200 nats after 100 steps"
    head, body = train_view.head_html(services, runs), train_view.body_html(services, runs)
    assert "the loss became &lt;nan&gt;" in head and f'data-run="{rnn.run_id}"' in head and "Finished, failed." in head
    assert "At step 100" in body and body.index("LSTM") < body.index("GRU") < body.index("RNN")


def test_all_failed_and_none(services: Services) -> None:
    runs = race(services, {10: 3.0}, {10: 2.0}, status="failed", message="")
    assert train_view.finding(runs) == "GRU won by 1.000 nats after 10 steps"
    assert train_view.head_html(services, runs).count("No reason was recorded.") == 2
    assert "Nothing has been trained yet." in train_view.head_html(services, [])
    assert train_view.body_html(services, []) == ""


def test_who_is_ahead_by_the_clock_and_that_training_goes_on(services: Services) -> None:
    lstm, gru = entered(services.store, "lstm", "gru")
    logged(lstm, {10: 2.5, 20: 2.0}, pace=1.5)
    logged(gru, {10: 2.4, 20: 2.3}, "running")
    head = train_view.head_html(services, [lstm, gru])
    assert "At equal seconds of its own GRU is ahead." in head and "Training goes on when you close this page." in head


def test_user_text_is_never_html(services: Services) -> None:
    evil = "<script>alert(1)</script>"
    [run] = entered(services.store, label="<img src=x>")
    logged(run, {10: 2.0}, "failed", message=evil, corpus={**run.corpus, "name": evil})
    run = services.store.get(run.run_id)
    (run.folder / "samples.jsonl").write_text(json.dumps({"step": 10, "prompt": evil, "text": f"a {evil}"}) + "\n")
    twin = services.store.get(run.run_id)
    for html in (train_view.head_html(services, [run, twin]), train_view.body_html(services, [run, twin])):
        assert "<script>" not in html and "<img" not in html and "&lt;" in html


# --- the plot and the poll -------------------------------------------------------------------------------------------


def shown(figure: Any) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    return {(trace["meta"]["run"], trace["meta"]["kind"]): (trace["x"], trace["y"]) for trace in figure["data"]}


def asked(figure: Any) -> dict[str, Any]:
    """What the page sends back: the plot's own meta."""
    return json.loads(json.dumps(figure["layout"]["meta"]))


@pytest.mark.parametrize("by", ["step", "seconds"])
def test_points_that_come_later_make_the_same_plot(by: Any, services: Services) -> None:
    runs = race(services, {10: None, 20: 2.5, 30: None}, {10: None, 20: 2.4}, status="running")
    figure = train_live.figure(services, runs, by=by)
    before, meta = shown(figure), asked(figure)
    assert train_live.poll(services, {**meta, "seen": {}}).get("points") is None
    logged(runs[0], {40: 2.2}, "running")
    logged(runs[1], {30: None, 40: 2.6}, "running")
    runs[1].update({"best_val_loss": 2.4, "best_step": 20})
    state = train_live.poll(services, meta)
    assert state["redraw"] is False
    whole = shown(train_live.figure(services, [services.store.get(run.run_id) for run in runs], by=by))
    for run in runs:
        points = state["points"][run.run_id]
        for kind in ("train", "val"):
            old = before[run.run_id, kind]
            assert (old[0] + points[kind]["x"], old[1] + points[kind]["y"]) == whole[run.run_id, kind]
        assert (points["best"]["x"], points["best"]["y"]) == whole[run.run_id, "best"]
        assert points["since"] == run.metrics()[-1]["step"]
    assert len(state["labels"]) >= 2


def test_what_has_been_seen_is_not_sent_again(services: Services) -> None:
    runs = race(services, {10: 2.0})
    meta = asked(train_live.figure(services, runs))
    first = train_live.poll(services, meta)
    assert first["head"] and first["body"]
    second = train_live.poll(services, {**meta, "seen": first["marks"]})
    assert second["head"] is second["body"] is None and second["marks"] == first["marks"]


def test_an_end_draws_anew_for_the_validation_of_a_stop(services: Services) -> None:
    [run] = race(services, {10: 2.5, 17: None}, status="running")
    meta = asked(train_live.figure(services, [run]))
    run.log.cut(after=16)
    logged(run, {17: 2.2}, "stopped")
    assert train_live.poll(services, meta)["redraw"] is True
    figure = train_live.figure(services, [services.store.get(run.run_id)])
    assert shown(figure)[run.run_id, "val"][0] == [10, 17]
    assert train_live.poll(services, asked(figure))["redraw"] is False


def test_a_resumed_run_that_takes_steps_anew_is_drawn_anew(services: Services) -> None:
    [run] = race(services, {10: 2.5, 20: 2.2, 30: 2.1}, status="running")
    meta = asked(train_live.figure(services, [run]))
    run.log.cut(after=20)
    assert train_live.poll(services, meta)["redraw"] is True


@pytest.mark.parametrize(
    "forged",
    [{}, {"runs": "x"}, {"runs": [1, None]}, {"since": []}, {"since": {"x": "y"}}, {"wanted": ["../../etc/passwd"]},
     {"wanted": {"a": 1}}, {"wanted": ["x"] * 100_000}, {"seen": [1]}, {"by": "<b>"}, {"active": 5}, {"log": "x"},
     {"since": {"RUN": 1e400}}, {"since": {"RUN": 10**400}}, {"since": {"RUN": float("nan")}},
     {"since": {"RUN": True}}],
)  # fmt: skip
def test_forged_questions_are_answered(forged: dict[str, Any], services: Services) -> None:
    [run] = race(services, {10: 2.0})
    since = forged.get("since")
    if isinstance(since, dict) and "RUN" in since:
        forged = {**forged, "since": {run.run_id: since["RUN"]}}
    meta = asked(train_live.figure(services, [run]))
    state = train_live.poll(services, {**meta, **forged})
    json.dumps(state)
    assert "passwd" not in json.dumps(state)


def test_which_runs_are_shown(services: Services) -> None:
    assert train_live.shown_runs(services) == [] and train_live.poll(services, {})["redraw"] is False
    runs = race(services, {10: 2.0}, {10: 2.1})
    [later] = entered(services.store)
    logged(later, {10: 2.2}, created="2999-01-01T00:00:00+00:00")
    ids = [run.run_id for run in runs]
    assert [run.run_id for run in train_live.shown_runs(services)] == [later.run_id]
    assert [run.run_id for run in train_live.shown_runs(services, [ids[1]])] == ids
    assert train_live.shown_runs(services, ["gone"]) == []


def test_earlier_runs_lie_under_the_new_ones_and_the_uniform_line_is_named(services: Services) -> None:
    [one], [two] = race(services, {10: 2.0}), race(services, {10: 1.9})
    figure = train_live.figure(services, [two], overlay=one.run_id)
    assert {trace["meta"]["run"] for trace in figure["data"]} >= {one.run_id, two.run_id}
    assert asked(figure)["runs"] == [two.run_id]
    assert train_live.figure(services, [two], overlay="../gone") is not None
    assert train_live._uniform([two]) == math.log(two.model_config.vocab_size)
