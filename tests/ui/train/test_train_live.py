"""What the Train tab says and draws of its runs, from their logs, and how a page keeps up with it."""

import asyncio
import itertools
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charlm import files
from charlm.analysis.baselines import Baselines
from charlm.errors import ConfigError
from charlm.jobs.service import Jobs
from charlm.public.services import Services
from charlm.runs.rates import take_rate
from charlm.runs.run import Run
from charlm.serving import Serving
from charlm.ui import status_bar
from charlm.ui.services import Files
from charlm.ui.train import live
from charlm.ui.train.form import typed_rate
from charlm.ui.train.live import Watch
from charlm.ui.train.view import View
from tests.tiny_runs import entered, store_in
from tests.ui.waiting import finished

Losses = dict[int, float | None]


@pytest.fixture
def services(tmp_path: Path) -> Services:
    store = store_in(tmp_path)
    return Services(store, Jobs(store), Serving(store), Files())


@pytest.fixture
def watch(services: Services) -> Watch:
    return Watch(services, fresh=0)


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
    [([{50: 2.0}, {50: 2.016}], "running", "LSTM leads, 0.023 bits per character ahead of GRU at step 50 of 100."),
     ([{50: 2.5, 100: 2.0}, {50: 2.4, 100: 1.9}], "finished", "GRU wins, 0.14 bits per character ahead of LSTM."),
     ([{50: 2.0}, {50: 2.0001}], "finished", "LSTM and GRU tie at 2.89 bits per character."),
     ([{50: 2.0}], "running", "LSTM is at 2.000 nats per character after 50 of 100 steps"),
     ([{50: 2.0}], "stopped", "LSTM reached 2.000 nats per character after 50 steps"),
     ([{5: None}, {}], "running", "LSTM and GRU: the first validation is on its way"),
     ([{5: None}], "failed", "No validation yet"),
     ([{50: 2.0, 80: 1.0}, {50: 1.9}], "stopped", "GRU leads, 0.14 bits per character ahead of LSTM at step 50."),
     ([{50: 2.0, 80: 1.0}, {50: 1.9}], "finished",
      "LSTM (step 80) wins, 1.30 bits per character ahead of GRU (step 50).")],
)  # fmt: skip
def test_the_finding(losses: list[Losses], status: str, said: str, services: Services, watch: Watch) -> None:
    view = watch.look_at(race(services, *losses, status=status))
    assert view.title == said and said in view.head


def test_a_racer_that_failed_does_not_hold_the_others_back(services: Services, watch: Watch) -> None:
    lstm, gru, rnn = entered(services.store, "lstm", "gru", "rnn")
    logged(lstm, {10: 3.0, 100: 2.0})
    logged(gru, {10: 2.9, 100: 2.2})
    logged(rnn, {10: 2.5}, "failed", message="the loss became <nan> at step 11")
    view = watch.look_at([lstm, gru, rnn])
    assert view.title == "LSTM wins, 0.29 bits per character ahead of GRU."
    head, body = view.head, view.body
    assert "the loss became &lt;nan&gt;" in head and f'data-run="{rnn.run_id}"' in head and "Finished, failed." in head
    assert "At step 100" in body and body.index("LSTM") < body.index("GRU") < body.index("RNN")


def test_an_ngram_that_has_counted_its_text_holds_nobody_back(services: Services, watch: Watch) -> None:
    ngram, lstm = entered(services.store, "ngram", "lstm")
    logged(ngram, {10: 2.5, 34: 2.1})
    logged(lstm, {10: 3.0, 30: 2.6, 100: 2.0}, "running")
    view = watch.look_at([ngram, lstm])
    assert view.title == "LSTM leads, 0.14 bits per character ahead of n-gram." and "At step 100" in view.body


def ladder_of(*orders: float, xz: float = 2.0) -> Baselines:
    return Baselines(uniform=4.0, gzip=3.0, xz=xz, orders=orders, tokens_per_char=1.0, whole=True)


def test_a_ladder_that_comes_is_drawn_and_told(
    services: Services, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = race(services, {50: 2.0}, {50: 2.6}, status="running")
    page = Page(watch)
    page.tick()
    assert not shapes(watch.look()) - {"uniform"}
    monkeypatch.setattr(services.serving.baselines, "of", lambda runs: ladder_of(2.8, 2.2, 1.9) if runs else None)
    told = page.tick()
    assert told["redraw"] and "LSTM matches a 2-gram, GRU a 1-gram." in told["head"]
    view = watch.look()
    assert shapes(view) == {"uniform", "best n-gram", "xz"} and "redraw" not in page.tick()
    assert {line["name"] for line in live.figure(view, shared=False)["layout"]["shapes"]} == {"uniform"}
    assert [run.run_id for run in view.runs] == [run.run_id for run in runs]


def test_lines_far_from_the_curves_wait_until_these_come_near(
    services: Services, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services.serving.baselines, "of", lambda runs: ladder_of(2.5, 0.5))
    [run] = race(services, {10: 2.9}, status="running")
    page = Page(watch)
    page.tick()
    assert "best n-gram" not in shapes(watch.look())
    run.log.append(row(20, 1.1))
    told = page.tick()
    assert told["redraw"] and "best n-gram" in shapes(watch.look())


def shapes(view: View) -> set[str]:
    return {line["name"] for line in live.figure(view)["layout"]["shapes"]}


def test_all_failed_and_none(services: Services, watch: Watch) -> None:
    view = watch.look_at(race(services, {10: 3.0}, {10: 2.0}, status="failed", message=""))
    assert view.title == "GRU wins, 1.44 bits per character ahead of LSTM."
    assert view.head.count("No reason was recorded.") == 2
    nothing = watch.look_at([])
    assert "Nothing has been trained yet." in nothing.head and nothing.body == ""


def test_who_is_ahead_by_the_clock_and_that_training_goes_on(services: Services, watch: Watch) -> None:
    lstm, gru = entered(services.store, "lstm", "gru")
    logged(lstm, {10: 2.5, 20: 2.0}, pace=1.5)
    logged(gru, {10: 2.4, 20: 2.3}, "running")
    lead = watch.look_at([lstm, gru]).lead
    assert "At equal seconds of its own GRU is ahead." in lead and "Training goes on when you close this page." in lead


def test_a_text_with_a_test_part_has_its_perplexity_in_the_table(services: Services, watch: Watch) -> None:
    [run] = entered(services.store, "lstm", test_fraction=0.2)
    logged(run, {50: 2.0})
    assert "Test perplexity" in watch.look_at([run]).body and watch.look_at([run]).rows[0][-1] == "—"
    run.update({"test_loss": math.log(7.0)})
    assert watch.look_at([run]).rows[0][-1] == "7.00"
    assert "Test perplexity" not in watch.look_at(race(services, {50: 2.0})).body


def sample(run: Run, step: int, text: str, prompt: str = "The ") -> None:
    run.sample_log.append({"step": step, "prompt": prompt, "text": text})


def test_user_text_is_never_html(services: Services, watch: Watch) -> None:
    evil = "<script>alert(1)</script>"
    [run] = entered(services.store, label="<img src=x>")
    logged(run, {10: 2.0}, "failed", message=evil, corpus={**run.corpus, "name": evil})
    run = services.store.get(run.run_id)
    sample(run, 10, f"a {evil}", evil)
    clone_for_eval = services.store.get(run.run_id)
    view = watch.look_at([run, clone_for_eval])
    for html in (view.head, view.body, view.sample(0)):
        assert "<script>" not in html and "<img" not in html and "&lt;" in html


# --- the plot and the tick -------------------------------------------------------------------------------------------


def shown(figure: Any) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    return {(trace["meta"]["run"], trace["meta"]["kind"]): (trace["x"], trace["y"]) for trace in figure["data"]}


class Page:
    """What train.js does with the answers: it knows what its plot's meta and the last answers say, nothing else."""

    def __init__(self, watch: Watch, by: Any = "step", log: bool = False, wanted: list[str] | None = None) -> None:
        self.watch, self.by, self.log, self.wanted = watch, by, log, wanted or []
        self.text, self.seen, self.meta = "", [], {}
        self.traces: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
        self.samples: dict[int, str] = {}

    def asks(self) -> dict[str, Any]:
        asked = {"key": self.meta.get("key"), "since": self.meta.get("since"), "seen": self.seen}
        asked |= {"text": self.text} if self.text != asked["key"] else {}
        asked |= {"by": "seconds"} if self.by == "seconds" else {}
        return json.loads(json.dumps({**asked, **({"log": True} if self.log else {})}))

    def draw(self) -> None:
        figure = json.loads(json.dumps(live.figure(self.watch.look(self.wanted), by=self.by, log=self.log)))
        self.meta, self.traces = figure["layout"]["meta"], shown(figure)

    def tick(self) -> dict[str, Any]:
        told = json.loads(json.dumps(live.answer(self.watch.look(self.wanted), self.asks())))
        self.text, self.seen = told.get("text", self.text), told.get("seen", self.seen)
        if told.get("redraw"):
            self.draw()
        elif "points" in told:
            for run_id, (train, val, best, since) in zip(self.meta["runs"], told["points"], strict=True):
                for kind, new in (("train", train), ("val", val)):
                    x, y = self.traces[run_id, kind]
                    self.traces[run_id, kind] = (x + list(itertools.accumulate(new[::2])), y + new[1::2])
                if val:
                    self.traces[run_id, "best"] = (best[::2], best[1::2])
                self.meta["since"][self.meta["runs"].index(run_id)] = since
        return told


@pytest.mark.parametrize("by", ["step", "seconds"])
def test_points_that_come_later_make_the_same_plot(by: Any, services: Services, watch: Watch) -> None:
    runs = race(services, {10: None, 20: 2.5, 30: None}, {10: None, 20: 2.4}, status="running")
    page = Page(watch, by, wanted=[runs[0].run_id])
    assert page.tick()["redraw"] and "points" not in page.tick()
    logged(runs[0], {40: 2.2}, "running")
    logged(runs[1], {30: None, 40: 2.6}, "running")
    runs[1].update({"best_val_loss": 2.4, "best_step": 20})
    told = page.tick()
    assert "redraw" not in told and [end is not None for end in told["ends"]] == [True, True]
    assert page.meta["since"] == [40, 40] and "points" not in page.tick()
    assert page.traces == shown(live.figure(watch.look(page.wanted), by=by))


def test_what_has_been_seen_is_not_sent_again(services: Services, watch: Watch) -> None:
    [run] = race(services, {10: 2.0}, status="running")
    page = Page(watch)
    first = page.tick()
    assert first["head"] and first["body"] and "LSTM is at 2.000" in first["head"]
    assert set(page.tick()) == {"limits", "rows"}
    sample(run, 10, "cat <dog>")
    told = page.tick()
    assert set(told) == {"limits", "rows", "seen", "samples"} and "&lt;dog&gt;" in told["samples"]["0"]
    run.update(message="the batch was made smaller")
    told = page.tick()
    assert set(told) == {"limits", "rows", "seen", "lead", "samples"} and told["samples"] == {}
    assert "The batch was made smaller." in told["lead"]
    assert set(page.tick()) == {"limits", "rows"}


# --- the learning rate ------------------------------------------------------------------------------------------------


def options_in(head: str) -> list[tuple[str, str]]:
    return re.findall(r'<option value="([^"]*)" data-rate="([^"]*)">', head)


def test_the_rate_of_networks_at_work_can_be_changed(services: Services, watch: Watch) -> None:
    lstm, gru, ngram = entered(services.store, "lstm", "gru", "ngram", learning_rate=0.01)
    for run in (lstm, gru, ngram):
        logged(run, {10: 2.0}, "running")
    view = watch.look_at([lstm, gru, ngram])
    key = view.key
    assert options_in(view.head) == [("all", "0.01"), (lstm.run_id, "0.01"), (gru.run_id, "0.01")]
    assert 'value="0.01" placeholder' in view.head
    take_rate(lstm, 10, 0.002)
    changed = watch.look_at([lstm, gru, ngram])
    assert changed.key != key and "Learning rate changed: LSTM 0.002 from step 11." in changed.lead
    assert options_in(changed.head) == [("all", ""), (lstm.run_id, "0.002"), (gru.run_id, "0.01")]
    assert 'value="" placeholder="they differ"' in changed.head
    marks = [trace for trace in live.figure(changed)["data"] if trace["meta"]["kind"] == "rate"]
    assert [(trace["meta"]["run"], trace["x"], trace["text"]) for trace in marks] == [(lstm.run_id, [10], ["0.002"])]
    logged(gru, {20: 1.9})
    one = watch.look_at([services.store.get(run.run_id) for run in (lstm, gru)])
    assert options_in(one.head) == [] and f'type="hidden" name="run" value="{lstm.run_id}"' in one.head
    logged(lstm, {20: 1.9})
    assert "<form" not in watch.look_at([services.store.get(run.run_id) for run in (lstm, gru, ngram)]).head


def test_a_change_before_the_first_row_is_marked_as_soon_as_there_is_one(services: Services, watch: Watch) -> None:
    [run] = race(services, {}, status="running")
    take_rate(run, 0, 0.3)
    page = Page(watch, wanted=[run.run_id])
    assert page.tick()["redraw"] and (run.run_id, "rate") not in page.traces
    logged(run, {10: None}, "running")
    assert page.tick()["redraw"] and page.traces[run.run_id, "rate"][0] == [0]


def test_rates_that_were_changed_together_are_told_together(services: Services, watch: Watch) -> None:
    runs = race(services, {10: 2.0}, {10: 2.1}, status="running", rate_changes=[])
    for run in runs:
        run.train_config = replace(run.train_config, learning_rate=0.01)
        for step in range(6):
            take_rate(run, step, 0.02 + step / 100)
    lead = watch.look_at(runs).lead
    assert "Learning rate changed: LSTM and GRU …, 0.04 from step 3, 0.05 from step 4," in lead
    assert "Learning rate changed: …, 0.04" in watch.look_at(runs[:1]).lead


@pytest.mark.parametrize("typed", ["", "fast", "0,1", "<b>", "1e", "0x1"])
def test_what_is_typed_and_is_no_rate(typed: str) -> None:
    with pytest.raises(ConfigError, match="learning_rate must be a number such as"):
        typed_rate(typed)
    assert typed_rate(" 1e-3 ") == 0.001


# --- samples of earlier validations ----------------------------------------------------------------------------------


def asked_at(view: View, step: int | None, seen: Any, stop: int = 99) -> dict[str, Any]:
    at = {} if step is None else {"at": step}
    told: dict[str, Any] = live.answer(view, {"key": view.key, "seen": seen, "stop": stop, **at})
    return told


def test_the_samples_of_an_earlier_step_are_those_of_the_last_validation_before(
    services: Services, watch: Watch
) -> None:
    lstm, gru = race(services, {10: 2.0, 20: 1.9, 30: 1.8}, {20: 2.1}, status="running")
    for step in (10, 20, 30):
        sample(lstm, step, f"cat {step} <b>")
    sample(gru, 20, "hen 20")
    view = watch.look_at([lstm, gru])
    assert list(view.stops) == [10, 20, 30] and 'data-steps="[10, 20, 30]"' in view.body and "cat 30" in view.body
    seen = live.answer(view, {})["seen"]
    assert "samples" not in asked_at(view, None, seen) and "stops" not in asked_at(view, None, seen)
    early = asked_at(view, 10, seen)
    assert "cat 10 &lt;" in early["samples"]["0"] and "step 10" in early["samples"]["0"]
    assert "It had written nothing yet." in early["samples"]["1"] and "hen" not in early["samples"]["1"]
    assert "samples" not in asked_at(view, 10, early["seen"])
    between = asked_at(view, 25, early["seen"])["samples"]
    assert "cat 20" in between["0"] and "hen 20" in between["1"]
    back = asked_at(view, None, early["seen"])["samples"]
    assert "cat 30" in back["0"] and "hen 20" in back["1"]
    assert asked_at(view, None, seen, stop=10)["stops"] == [20, 30]


def test_a_slider_that_was_moved_stays_where_it_is_as_validations_pass(services: Services, watch: Watch) -> None:
    [run] = race(services, {10: 2.0}, status="running")
    sample(run, 10, "one")
    seen = live.answer(watch.look_at([run]), {})["seen"]
    told = asked_at(watch.look_at([run]), 10, seen, stop=10)
    assert not {"samples", "stops"} & told.keys()
    sample(run, 20, "two")
    told = asked_at(watch.look_at([run]), 10, seen, stop=10)
    assert told["stops"] == [20] and "samples" not in told
    whole = live.answer(watch.look_at([run]), {"at": 10})  # a page that draws all anew gets the newest first
    assert "two" in whole["body"] and asked_at(watch.look_at([run]), 10, whole["seen"])["samples"].keys() == {"0"}


@pytest.mark.parametrize("at", [-1, 1.5, "10", None, [10], True, {"a": 1}])
def test_an_odd_step_counts_as_none(at: Any, services: Services, watch: Watch) -> None:
    [run] = race(services, {10: 2.0}, status="running")
    sample(run, 10, "one")
    view = watch.look_at([run])
    whole = live.answer(view, {"at": at, "stop": at})
    told = live.answer(view, {"key": view.key, "seen": whole["seen"], "at": at, "stop": at})
    assert "one" in whole["body"] and not {"samples", "stops"} & told.keys()


def test_a_slider_has_a_bounded_number_of_stops(services: Services, watch: Watch) -> None:
    [run] = race(services, {10: 2.0}, status="running")
    run.sample_log.write({"step": step, "prompt": "", "text": "x"} for step in range(1, 700))
    stops = watch.look_at([run]).stops
    assert len(stops) == 200 and stops[-1] == 699 and list(stops) == sorted(set(stops))


def test_one_sample_is_no_choice(services: Services, watch: Watch) -> None:
    [run] = race(services, {10: 2.0}, status="running")
    sample(run, 10, "one")
    assert 'class="sample-slider" data-steps="[10]" hidden' in watch.look_at([run]).body


def gradient_row(step: int, half_life: int | None, fall: float) -> dict[str, Any]:
    return {"step": step, "half_life": half_life, "h0": [round(0.5 - fall * lag, 2) for lag in range(64)]}


def test_a_recorded_gradient_moves(services: Services, watch: Watch) -> None:
    lstm, gru = race(services, {10: 2.0}, {10: 2.1}, status="running")
    page = Page(watch, wanted=[lstm.run_id])
    assert "gradient" not in page.tick() and watch.look(page.wanted).gradient is None
    lstm.gradient_log.append(gradient_row(0, 1, 0.5))
    first = page.tick()["gradient"]
    assert "The gradient of the loss now halves 1 character back in the LSTM." in first["html"]
    [line] = first["figure"]["data"]
    assert (line["meta"]["run"], line["meta"]["at"]) == ("LSTM", "now") and line["y"][:3] == [0.0, -0.5, -1.0]
    assert "gradient" not in page.tick()
    gru.gradient_log.append(gradient_row(0, 4, 0.1))
    lstm.gradient_log.append(gradient_row(10, 3, 0.125))
    told = page.tick()
    assert set(told) == {"limits", "rows", "seen", "samples", "gradient"} and told["samples"] == {}
    moved = told["gradient"]
    assert "halves 3 characters back in the LSTM (1 at step 0) and 4 in the GRU." in moved["html"]
    assert "Thin: at step 0.<" in moved["html"]
    assert "LSTM: halves 3 characters back, to 10^-1.2 after 10" in moved["alt"]  # sequences of 10
    lines = {(line["meta"]["run"], line["meta"]["at"]): line for line in moved["figure"]["data"]}
    assert set(lines) == {("LSTM", "0"), ("LSTM", "now"), ("GRU", "now")}
    assert lines["LSTM", "0"]["y"] == line["y"] and lines["LSTM", "now"]["y"][8] == -1.0
    assert lines["LSTM", "0"]["line"]["width"] < lines["LSTM", "now"]["line"]["width"]
    assert lines["LSTM", "0"]["name"] == "LSTM, step 0"
    assert {note["text"] for note in moved["figure"]["layout"]["annotations"]} >= {"<b>LSTM</b>", "<b>GRU</b>"}
    assert moved["figure"]["layout"]["yaxis"]["range"][0] < -20 + 1e-9  # the first curve is in sight
    assert len(json.dumps(moved, separators=(",", ":"))) < 5000 and "gradient" not in page.tick()
    other = Page(watch, wanted=[lstm.run_id])  # which opens now
    assert other.tick()["gradient"] == moved


def test_a_gradient_that_is_nowhere_halved_or_zero_is_said(services: Services, watch: Watch) -> None:
    [run] = race(services, {10: 2.0}, status="running")
    run.gradient_log.append({"step": 0, "half_life": None, "input": [0.0] + [None] * 5})
    run.gradient_log.append({"step": 10, "half_life": None, "input": [0.0, -0.1, -0.2, -0.25, -0.28, -0.3]})
    moved = watch.look([run.run_id]).gradient
    assert moved is not None
    assert "now halves nowhere within 5 characters in the LSTM (nowhere at step 0)." in moved["html"]
    assert "never halves" in moved["alt"] and moved["figure"]["data"][0]["y"] == [0.0] + [None] * 5


def test_what_has_no_state_is_named_by_its_input(services: Services, watch: Watch) -> None:
    runs = entered(services.store, "gru", "transformer", "ngram", hidden_size=8, num_heads=2)
    for run in runs:
        logged(run, {10: 2.0}, "running")
    runs[0].gradient_log.append(gradient_row(0, 2, 0.2))
    runs[1].gradient_log.append({"step": 0, "half_life": 1, "input": [0.5, -0.5]})
    moved = watch.look_at(runs).gradient
    assert moved is not None and "updatemenus" not in moved["figure"]["layout"]
    names = {note["text"] for note in moved["figure"]["layout"]["annotations"] if note["text"].startswith("<b>")}
    assert names == {"<b>GRU</b>", "<b>Transformer</b> (input)"} and "n-gram" not in moved["html"]


def test_a_name_is_no_html_in_the_gradients_words(services: Services, watch: Watch) -> None:
    one, two = entered(services.store, "lstm", label="<img src=x>"), entered(services.store, "lstm", label="<b>")
    for run in (*one, *two):
        logged(run, {10: 2.0}, "running")
        run.gradient_log.append(gradient_row(0, 2, 0.2))
    moved = watch.look_at([*one, *two]).gradient
    assert moved is not None and "&lt;img src=x&gt;" in moved["html"] and "<img" not in moved["html"]
    assert all("<img" not in note["text"] for note in moved["figure"]["layout"]["annotations"])


def test_the_table_is_patched_by_place(services: Services, watch: Watch) -> None:
    runs = race(services, {50: 2.0}, {50: 2.016}, status="running")
    page = Page(watch, wanted=[runs[0].run_id])
    page.tick()
    told = page.tick()
    assert told["limits"] == ["At step 50", "At 50.0 s each"]
    assert told["rows"] == [
        [0, "2.000", "—", "7.39", "2.89", "0.50", "—", "—", "2.000"],
        [1, "2.016", "—", "7.51", "2.91", "0.50", "—", "—", "2.016"],
    ]
    logged(runs[1], {60: 1.5}, "running")
    logged(runs[0], {60: 1.9}, "running")
    assert [cells[:2] for cells in page.tick()["rows"]] == [[1, "1.500"], [0, "1.900"]]
    assert watch.look(page.wanted).body.index("1.500") < watch.look(page.wanted).body.index("1.900")


def test_an_end_draws_anew_for_the_validation_of_a_stop(services: Services, watch: Watch) -> None:
    [run] = race(services, {10: 2.5, 17: None}, status="running")
    page = Page(watch)
    page.tick()
    run.log.cut(after=16)
    logged(run, {17: 2.2}, "stopped")
    told = page.tick()
    assert told["redraw"] is True and "Stopped." in told["head"]
    assert page.traces[run.run_id, "val"][0] == [10, 17]
    assert "redraw" not in page.tick()


def test_a_resumed_run_that_takes_steps_anew_is_drawn_anew(services: Services, watch: Watch) -> None:
    [run] = race(services, {10: 2.5, 20: 2.2, 30: 2.1}, status="running")
    page = Page(watch)
    page.tick()
    run.log.cut(after=20)
    assert page.tick()["redraw"] is True
    assert page.traces[run.run_id, "val"][0] == [10, 20] and "redraw" not in page.tick()


def test_a_failure_and_a_new_name_make_the_page_anew(services: Services, watch: Watch) -> None:
    [run] = race(services, {10: 2.5}, status="running")
    page = Page(watch)
    page.tick()
    services.store.get(run.run_id).update(status="failed", message="the loss became inf")
    run.release()
    told = page.tick()
    assert told["redraw"] and "the loss became inf" in told["head"] and 'data-act="resume"' in told["head"]


def test_a_failed_run_offers_its_mend_and_a_fork_says_so(services: Services, watch: Watch) -> None:
    parent = {"run_id": "p", "label": "<s>", "step": 1500, "why": "fork"}
    [run] = race(services, {10: 2.5}, status="failed", mend={"batch_size": 8}, ancestry=[parent])
    view = watch.look_at([run])
    assert "Try again with batch 8" in view.head and 'data-act="retry"' in view.head
    assert view.lead == "On pets.txt. A fork of <s> at step 1,500. Failed." and "<s>" not in view.head


@pytest.mark.parametrize(
    "forged",
    [{}, {"key": 5}, {"key": ["x"]}, {"since": []}, {"since": {"x": "y"}}, {"since": "abc"}, {"since": [None]},
     {"since": [1e400]}, {"since": [10**400]}, {"since": [-(10**400)]}, {"since": [float("nan")]}, {"since": [True]},
     {"since": [[1]]}, {"wanted": ["../../etc/passwd"]}, {"wanted": {"a": 1}}, {"wanted": ["x"] * 100_000},
     {"wanted": [1, None]}, {"seen": {"a": 1}}, {"seen": [1]}, {"seen": [{}, []]}, {"by": "<b>"}, {"log": "x"},
     {"text": {}}],
)  # fmt: skip
def test_forged_questions_are_answered(forged: dict[str, Any], services: Services, watch: Watch) -> None:
    race(services, {10: 2.0})
    page = Page(watch)
    page.tick()
    asked = {**page.asks(), **forged}
    told = json.dumps(live.answer(watch.look(live.wanted_ids(asked)), asked))
    assert "passwd" not in told and len(live.wanted_ids(asked)) <= live.MOST


def test_which_runs_are_shown(services: Services, watch: Watch) -> None:
    assert watch.shown() == [] and "redraw" not in Page(watch).tick()
    runs = race(services, {10: 2.0}, {10: 2.1})
    [later] = entered(services.store)
    logged(later, {10: 2.2}, created="2999-01-01T00:00:00+00:00")
    ids = [run.run_id for run in runs]
    assert [run.run_id for run in watch.shown()] == [later.run_id]
    assert [run.run_id for run in watch.shown([ids[1]])] == ids
    assert watch.shown(["gone"]) == []
    services.store.delete(services.store.get(later.run_id))
    assert [run.run_id for run in watch.shown()] == ids


def test_earlier_runs_lie_under_the_new_ones_and_the_uniform_line_is_named(services: Services, watch: Watch) -> None:
    [one], [two] = race(services, {10: 2.0}), race(services, {10: 1.9})
    view = watch.look_at([two])
    figure = live.figure(view, watch.found([one.run_id, "../gone"]))
    assert {trace["meta"]["run"] for trace in figure["data"]} >= {one.run_id, two.run_id}
    assert figure["layout"]["meta"]["runs"] == [two.run_id]
    assert view.uniform == math.log(two.model_config.vocab_size)


# --- how much, and how often -----------------------------------------------------------------------------------------


def exchanged(page: Page, services: Services, strip_seen: str) -> int:
    """Bytes of one tick's question and answer, strip included."""
    asked = {"strip": strip_seen, "train": page.asks()}
    told = {"strip": status_bar.status_bar_state(services, strip_seen), "train": page.tick(), "wait": 1.0}
    return sum(len(json.dumps(one, separators=(",", ":"), ensure_ascii=False).encode()) for one in (asked, told))


def at_work(services: Services, runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the strip show a race of these."""
    trainers = [{"run_id": run.run_id, "arch": run.arch, "label": run.label, "best_val_loss": 1.234567} for run in runs]
    job = {"kind": "race", "title": "Race", "corpus": "Sherlock Holmes", "status": "running", "step": 1_234_567,
           "total_steps": 3_000_000, "eta_seconds": 7384.0, "progress": 0.411522, "message": "", "queued": 2,
           "run_ids": [run.run_id for run in runs], "runs": trainers}  # fmt: skip
    monkeypatch.setattr(services.jobs, "current", lambda: job)


@pytest.mark.parametrize("by", ["step", "seconds"])
@pytest.mark.parametrize(("history", "added"), [(1, 1), (1000, 6), (1000, 100), (100_000, 100)])
def test_a_tick_of_a_race_of_three_is_small(
    history: int, added: int, by: Any, services: Services, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the length of the runs, and at 100 steps a second, all of them logged."""
    runs = race(services, *[{1: 2.123456 + place / 7} for place in range(3)], status="running")
    at_work(services, runs, monkeypatch)

    def train(first: int, last: int) -> None:
        for place, run in enumerate(runs):
            lines = [
                json.dumps({**row(1_000_000 + step, 2.1 + place / 7 if step % 1000 == 0 else None, 0.0123456),
                            "train_loss": 1.987654 + place / 7})
                for step in range(first, last)
            ]  # fmt: skip
            with run.log.path.open("a") as file:
                file.write("\n".join(lines) + "\n")
            run.update({"step": 1_000_000 + last, "train_loss": 1.9876543, "chars_per_second": 123_456.7,
                        "seconds": 12_345.678, "total_steps": 3_000_000, "best_step": 1})  # fmt: skip

    train(0, history)
    page = Page(watch, by, log=True)
    page.tick()
    seen = status_bar.status_bar_state(services)["mark"]
    sizes = []
    for tick in range(3):
        train(history + tick * added, history + (tick + 1) * added)
        sizes.append(exchanged(page, services, seen))
    validated, *others = sizes
    assert validated <= 1200 and max(others) <= 1000, sizes
    assert page.meta["since"] == [1_000_000 + history + 3 * added - 1] * 3
    assert max(len(x) for x, _ in page.traces.values()) < 1300


def test_a_tick_shows_what_a_plot_can_and_ends_at_the_newest_point(services: Services, watch: Watch) -> None:
    [run] = race(services, {1: 3.0}, status="running")
    page = Page(watch)
    page.tick()
    logged(run, dict.fromkeys(range(2, 402)), "running")
    train, val, _, since = page.tick()["points"][0]
    assert len(train) <= 2 * live.POINTS[0] and sum(train[::2]) == since == 401 and val == []
    assert min(train[::2]) > 0


def test_few() -> None:
    assert live.few([], 5) == [] and live.few([1, 2], 5) == [1, 2]
    for count in range(1, 100):
        kept = live.few(range(count), 6)
        assert len(kept) == min(count, 6) and kept[-1] == count - 1 and len(set(kept)) == len(kept)


def test_pages_that_ask_together_are_answered_by_one_look(services: Services) -> None:
    runs = race(services, {10: 2.0})
    watch, looked = Watch(services, fresh=60), []
    look = watch.look

    def counted(wanted: Any) -> View:
        looked.append(tuple(wanted))
        return look(wanted)

    watch.look = counted  # type: ignore[method-assign]

    async def ask() -> None:
        views = await asyncio.gather(*(watch.view() for _ in range(5)), watch.view([runs[0].run_id]))
        assert len({id(view) for view in views[:5]}) == 1 and views[5] is not views[0]
        assert await watch.view() is views[0]
        for place in range(100):
            await watch.view([f"{place}"])
        assert len(watch._views) <= 16

    finished(ask())
    assert looked[:2] == [(), (runs[0].run_id,)] and len(looked) == 102


def test_a_look_that_failed_is_tried_again(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(services, fresh=60)
    with monkeypatch.context() as patch:
        patch.setattr(services.jobs, "current", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            finished(watch.view())
    assert finished(watch.view()).runs == []


def test_a_job_that_begins_or_ends_is_seen_at_once(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    [one], [two] = race(services, {10: 2.0}, created="2999-01-01"), race(services, {10: 2.0})
    watch = Watch(services, fresh=60)
    assert [run.run_id for run in finished(watch.view()).runs] == [one.run_id]
    with monkeypatch.context() as patch:
        patch.setattr(services.jobs, "queue", lambda: [[two.run_id]])
        patch.setattr(services.jobs, "current", lambda: {"run_ids": [two.run_id]})
        assert [run.run_id for run in finished(watch.view()).runs] == [two.run_id]
    assert [run.run_id for run in finished(watch.view()).runs] == [one.run_id]


def test_a_tick_opens_only_what_has_changed(services: Services, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = race(services, {10: 2.0}, {10: 2.1}, status="running")
    sample(runs[0], 10, "cat")
    page = Page(watch, wanted=[runs[0].run_id])
    page.tick()
    opened: list[str] = []
    original, plain = Path.open, files._open_nonblocking
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self.name) or original(self, *a, **k))
    monkeypatch.setattr(
        files, "_open_nonblocking", lambda path, flags: opened.append(Path(path).name) or plain(path, flags)
    )
    found = watch.found([run.run_id for run in runs])
    watch.look_at(found)
    assert opened == []
    runs[0].log.append(row(11, None))
    opened.clear()
    assert watch.look_at(found).histories[runs[0].run_id].last["step"] == 11 and opened == ["metrics.jsonl"]
