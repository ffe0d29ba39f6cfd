"""What to try next on the Train tab: the most useful of all runs, each with the button that fills the form."""

from pathlib import Path
from typing import Any

import pytest

from charlm.analysis.advice import MOST, Advice
from charlm.jobs.service import Jobs
from charlm.presets import from_options
from charlm.public.services import Services
from charlm.serving import Serving
from charlm.ui.services import Files
from charlm.ui.train.form import NAMES, run_config
from charlm.ui.train.live import Watch
from charlm.ui.train.view import advice_html, chosen, form_values, opened_folds
from tests.tiny_runs import store_in
from tests.ui.shown_runs import FakeRun
from tests.ui.train.test_train_live import race

DROP = Advice("overfitting", "It rose by 7%.", {"dropout": 0.3}, "Dropout 0.3", 7.0)
LONGER = Advice("still falling", "It fell by 2%.", {"steps": 4000, "epochs": 0.0, "minutes": 0.0}, "4,000 steps", 6.0)
UNSEEN = Advice("unseen", "3 characters are new.", weight=2.5)


def test_the_most_useful_of_all_runs_each_kind_once() -> None:
    runs = [FakeRun("a"), FakeRun("b", arch="gru")]
    weaker = Advice("overfitting", "It rose by 3%.", {"dropout": 0.2}, "Dropout 0.2", 4.0)
    told = chosen({"a": [weaker, UNSEEN], "b": [DROP, LONGER]}, runs)
    assert [(run.run_id, one.kind) for run, one in told] == [
        ("b", "overfitting"), ("b", "still falling"), ("a", "unseen"),
    ]  # fmt: skip
    many = [Advice(f"{weight}", "1.", weight=float(weight)) for weight in range(9)]
    assert len(chosen({"a": many}, runs)) == MOST and not chosen({}, runs)


def test_a_sentence_has_a_button_if_something_would_mend_it_and_names_are_escaped() -> None:
    runs = [FakeRun("a", label="<i>a</i>"), FakeRun("b")]
    html = advice_html([(runs[0], DROP), (runs[1], UNSEEN)], {"a": "<i>a</i>", "b": "b"})
    assert "What to try next" in html and "&lt;i&gt;a" in html and "<i>" not in html
    assert html.count("data-act") == 1 and 'data-act="fill" data-run="a" data-kind="overfitting"' in html
    assert "<b>" not in advice_html([(runs[0], DROP)], {"a": "a"}) and advice_html([], {}) == ""


def test_the_form_gets_the_runs_settings_and_the_change() -> None:
    run: Any = FakeRun("a")
    config = from_options({"hidden_size": 48, "dropout": 0.2, "steps": 700, "label": "mine"})
    run.model_config, run.train_config = config.model, config.train
    filled = run_config("quick", form_values(run, DROP), None)
    assert (filled.model.hidden_size, filled.model.dropout, filled.train.steps) == (48, 0.3, 700)
    assert filled.train.label == "" and len(form_values(run, DROP)) == len(NAMES)
    assert run_config("quick", form_values(run, LONGER), None).train.steps == 4000
    assert opened_folds(DROP) == {"model"} and opened_folds(LONGER) == {"training"} and not opened_folds(UNSEEN)


@pytest.fixture
def services(tmp_path: Path) -> Services:
    store = store_in(tmp_path)
    return Services(store, Jobs(store), Serving(store), Files())


def test_a_page_is_told_what_to_try_and_finds_it_again_at_the_click(services: Services) -> None:
    watch = Watch(services, fresh=0)
    [run] = race(services, {10: 3.6, 20: 3.2, 30: 3.4, 40: 3.8, 50: 4.2})
    view = watch.look([run.run_id])
    told = next(one for one in view.advice[run.run_id] if one.kind == "overfitting")
    assert told.text in view.body.replace("&#x27;", "'") and f'data-kind="{told.kind}"' in view.body
    found, again = watch.advised(run.run_id, told.kind)
    assert found is not None and found.run_id == run.run_id and again == told
    assert watch.advised(run.run_id, "nothing")[1] is None and watch.advised("nobody", told.kind) == (None, None)


def test_a_failed_run_has_its_mend_and_no_advice(services: Services) -> None:
    [run] = race(services, {10: 3.6, 20: 3.2, 30: 3.4, 40: 3.8}, status="failed", message="out of memory")
    assert not Watch(services, fresh=0).look([run.run_id]).advised
