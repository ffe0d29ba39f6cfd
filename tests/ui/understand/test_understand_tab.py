"""The tab's handlers over real components, runs and measurements: what is shown, measured, stopped and kept."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from charlm.analysis import surprise
from charlm.data.own_texts import pasted_text
from charlm.errors import LimitError
from charlm.public.services import Services
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import Finding, Serving
from charlm.serving.measurements import MEASUREMENTS
from charlm.ui.html import Shared
from charlm.ui.services import Files
from charlm.ui.understand import tab as understand
from charlm.ui.understand.outlines import FIRST, FOLDED
from charlm.ui.understand.panel import panel_of
from charlm.ui.understand.tab import KEPT, OWN, PASTED, Understand, View, default_models, method_html
from tests.patience import wait_for
from tests.tiny_runs import TEXT, trained

STORY = TEXT * 3


@pytest.fixture
def runs(store: RunStore) -> list[Run]:
    return trained(store, "lstm", "rnn", text=STORY, steps=4, label="<b>mine</b>")


@pytest.fixture
def idle(store: RunStore) -> Services:
    jobs = SimpleNamespace(current=lambda: None)
    shown = RunStore(store.root)  # with the included runs
    return Services(shown, jobs, Serving(shown), Files())  # type: ignore[arg-type]


@pytest.fixture
def tab(idle: Services, runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> Understand:
    """The handlers over real components."""
    made: list[Understand] = []
    wire = Understand.wire
    monkeypatch.setattr(Understand, "wire", lambda self, *given: (made.append(self), wire(self, *given)))
    with gr.Blocks() as page, gr.Tabs() as tabs, gr.Tab("Understand") as own:
        shared = Shared(page, tabs, own, gr.BrowserState(None), gr.Textbox(), gr.Textbox())
        understand.build(idle, shared, gr.Dropdown([], multiselect=True))
    return made[0]


def view_of(tab: Understand, name: str) -> View:
    return next(view for view in tab.views if view.outline.name == name)


@pytest.fixture
def given(tab: Understand, runs: list[Run]) -> Callable[..., dict[Any, Any]]:
    """The components' values, with other ones by the name of a setting."""

    def values(name: str, text: str | None = None, opened: bool = True, **settings: Any) -> dict[Any, Any]:
        view = view_of(tab, name)
        chosen = {tab.choice.models: [run.run_id for run in runs], tab.choice.source: PASTED if text else OWN}
        shown = {view.opened: opened, view.drawn: "", tab.choice.text: text or ""}
        own = {one: settings.get(setting, one.value) for setting, one in view.controls.items()}
        first = {one: one.value for other in tab.views[: len(FIRST)] for one in other.controls.values()}
        return {**first, **chosen, **shown, **own}

    return values


def seen(tab: Understand, name: str, values: dict[Any, Any]) -> dict[Any, Any]:
    """A panel when its measurement has ended."""
    view = view_of(tab, name)
    tab.show(view, values, begin=True)
    wait_for(lambda: all(one.done for one in tab.look(view, values, begin=False)))
    return tab.show(view, values, begin=False)


def test_every_measurement_has_a_panel_that_can_be_explained() -> None:
    assert {outline.name for outline in (*FIRST, *FOLDED)} == {*MEASUREMENTS, "gym"}
    for outline in (*FIRST, *FOLDED):
        panel = panel_of(outline)
        assert panel.outline is outline and outline.is_plot == (panel.picture is not None)
        assert outline.is_markup == (panel.html is not None) and len(panel.method) > 1
        assert outline.name in method_html(outline) and set(outline.controls) <= set(outline.settings.names())


def test_a_panel_shows_what_its_endpoint_says(tab: Understand, given: Any) -> None:
    view, values = view_of(tab, "surprise"), given("surprise", characters=200)
    shown = seen(tab, "surprise", values)
    results = [one.result for one in tab.look(view, values, begin=False)]
    sentence = surprise.finding(understand.measured(tab.look(view, values, begin=False)))
    assert all(f"{one['bits_per_character']:.2f}" in sentence for one in results if one)
    assert sentence.split(";")[0] in shown[view.status] and "<b>mine" not in shown[view.html]
    assert shown[view.plot].plot and 'data-act="csv"' in shown[view.status] and "The picture:" in shown[view.status]
    again = tab.show(view, {**values, view.drawn: shown[view.drawn]}, begin=False)
    assert view.plot not in again and view.html not in again  # nothing is drawn twice


def test_the_heading_is_the_finding_of_the_first_two(tab: Understand, given: Any) -> None:
    text = STORY
    values = given("memory", text, targets=64, longest=8)
    shown = seen(tab, "memory", values)
    assert "<h1" in shown[tab.head] and " of context" in shown[tab.head]
    assert 'class="found"' not in shown[view_of(tab, "memory").status]  # it is not said twice


def test_a_kept_text_is_measured_as_if_it_were_pasted(tab: Understand, given: Any, idle: Services) -> None:
    key, view = idle.texts.keep(pasted_text(STORY)), view_of(tab, "surprise")
    kept = {**given("surprise", STORY), tab.choice.source: KEPT, tab.choice.kept: key}
    assert "bits/char" in (html := seen(tab, "surprise", kept)[view.html])
    assert seen(tab, "surprise", given("surprise", STORY))[view.html] == html
    idle.texts.delete(key)
    gone = tab.show(view, kept, begin=True)
    assert "this text is no longer here" in gone[view.status] and gone[view.html] == ""


def test_a_folded_panel_measures_nothing(tab: Understand, given: Any, idle: Services) -> None:
    shown = tab.show(view_of(tab, "surprise"), given("surprise", opened=False), begin=True)
    assert set(shown) == {view_of(tab, "surprise").status} and not idle.serving.measurements.at_work()  # type: ignore[attr-defined]


def test_without_models_or_with_a_wrong_setting_a_sentence_stands_there(tab: Understand, given: Any) -> None:
    view, values = view_of(tab, "surprise"), given("surprise", characters=3)
    assert "characters 3 is outside" in tab.show(view, values, begin=True)[view.status]
    shown = tab.show(view, {**values, tab.choice.models: []}, begin=True)
    assert "choose the models" in shown[view.status]


def test_what_cannot_be_measured_says_why_beside_the_others(tab: Understand, given: Any, store: RunStore) -> None:
    [ngram] = trained(store, "ngram", text=STORY)
    view, values = view_of(tab, "dynamics"), given("dynamics", STORY * 2)
    values[tab.choice.models] = [*values[tab.choice.models], ngram.run_id]
    shown = seen(tab, "dynamics", values)
    assert 'role="alert"' in shown[view.status] and "n-gram" in shown[view.status]
    assert view.plot in shown and shown[view.plot].plot


def test_measure_and_stop_are_buttons(tab: Understand, given: Any) -> None:
    view, values = view_of(tab, "memory"), given("memory", STORY * 50, targets=100_000)
    assert 'data-act="measure"' in tab.show(view, values, begin=False)[view.status]
    begun = tab.act(view, values, "measure")
    assert "data-waiting" in begun[view.status] and 'data-act="stop"' in begun[view.status]
    tab.act(view, values, "stop")
    wait_for(lambda: all(one.done for one in tab.look(view, values, begin=False)))
    assert 'data-act="measure"' in tab.show(view, values, begin=False)[view.status]
    late = tab.show(view, values, begin=True)  # an event from before the button was pressed
    assert 'data-act="measure"' in late[view.status] and all(one.done for one in tab.look(view, values, begin=False))


def test_the_table_leaves_as_csv(tab: Understand, given: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    values = given("surprise", characters=100)
    seen(tab, "surprise", values)
    with open(tab.save(view_of(tab, "surprise"), values), encoding="utf-8-sig", newline="") as file:
        head, *rows = csv.reader(file)
    assert head[0] == "model" and {row[0] for row in rows} == {"LSTM", "RNN"} and len(rows) > 10


def test_the_small_race_stands_in_where_no_model_has_a_history(tab: Understand, given: Any) -> None:
    view = view_of(tab, "history")
    values = {**given("history"), tab.choice.models: ["sherlock-rnn"]}
    found = tab.look(view, values, begin=False)
    assert [one.run.arch for one in found if one.run and one.run.snapshots()] == ["lstm", "gru", "rnn"]
    assert "kept no weights along the way" in tab.show(view, values, begin=False)[view.status]


def test_the_gym_needs_no_model(tab: Understand, given: Any) -> None:
    small = {"task": "parity", "archs": ["rnn"], "seeds": 1, "steps": 3, "longest": 2}
    view, values = view_of(tab, "gym"), {**given("gym", **small), tab.choice.models: []}
    shown = seen(tab, "gym", values)
    assert "RNN" in shown[view.status] and shown[view.plot].plot


def test_the_largest_included_models_are_the_default() -> None:
    runs = RunStore().list()
    assert default_models(runs) == ["sherlock-lstm", "sherlock-gru", "sherlock-rnn", "sherlock-transformer"]
    assert default_models([]) == []


def test_what_is_refused_for_now_leaves_no_old_picture_and_can_be_asked_again(
    tab: Understand, given: Any, idle: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise LimitError("another measurement of yours is at work")

    view = view_of(tab, "surprise")
    monkeypatch.setattr(idle.serving, "inspect", refuse)
    changes = tab.show(view, given("surprise"), begin=True)
    assert "another measurement of yours" in changes[view.status] and 'data-act="measure"' in changes[view.status]
    assert changes[view.drawn] == "" and changes[view.html] == ""
    nothing = tab.show(view, {**given("surprise"), tab.choice.models: []}, begin=True)
    assert "choose the models" in nothing[view.status] and nothing[view.html] == ""


def test_runs_of_one_name_are_told_apart(store: RunStore) -> None:
    same = [trained(store, "gru", text=STORY, steps=1, label="mine")[0] for _ in range(2)]
    assert understand.called([Finding(run) for run in same]) == [run.run_id for run in same]
