"""The fold Find good settings: what it shows and draws of a search, and what it fills into the form."""

import json
import re
from typing import Any

import gradio as gr
import pytest

from charlm.errors import ConfigError
from charlm.experiments.searches import Outlook
from charlm.ui.train import form as train_form
from charlm.ui.train import search

SETTINGS = {"learning_rate": 0.0123, "hidden_size": 64, "dropout": 0.25, "batch_size": 24, "schedule": "cosine"}


def trial(number: int, loss: float | None, state: str = "finished", **settings: Any) -> dict[str, Any]:
    return {
        "number": number, "settings": {**SETTINGS, **settings}, "loss": loss, "state": state, "seconds": 6.0,
        "is_base": number == 0, "message": "",
    }  # fmt: skip


def outlook(running: bool = False, done: bool = True, text: str = "pets.txt", **more: Any) -> Outlook:
    archs = [
        {
            "arch": arch, "base": SETTINGS, "base_loss": 1.5, "best": {**SETTINGS, "hidden_size": 96}, "best_trial": 2,
            "best_loss": 1.25, "gain": 0.25, "seconds": 42.0,
            "importances": {"learning_rate": 0.7, "hidden_size": 0.2, "dropout": 0.1, "batch_size": 0, "schedule": 0},
            "trials": [
                trial(0, 1.5), trial(1, 2.0, "pruned"), trial(2, 1.25, hidden_size=96), trial(3, None, "failed"),
                trial(4, None, "running"),
            ],
        }
        for arch in ("gru", "rnn")
    ]  # fmt: skip
    result = {
        "search": "20260101-000000-abcdef", "text": text, "minutes": 1.0, "trial_seconds": 6.0, "done": done,
        "archs": archs, "sentences": ["Each tuned for 1 minutes: GRU 1.250, RNN 1.250 nats per token."],
        "confirm": "python -m charlm search --resume 20260101-000000-abcdef --confirm",
    }  # fmt: skip
    return Outlook(result, running, **more)


def plain(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


@pytest.fixture(scope="module")
def parts() -> tuple[search.SearchFold, train_form.Form]:
    with gr.Blocks():
        return search.build(), train_form.build()


def test_trials_are_shown_best_first_with_the_running_one_on_top() -> None:
    html = search.search_html(outlook(running=True, done=False))
    first = html.partition("</table>")[0]
    names = re.findall(r"<tr><td>(\w+)</td>", first)
    assert names == ["4", "2", "base", "1", "3"]
    assert "<b>1.250</b>" in first and "ended early" in first and "cut off" in first and "0.0123" in first
    said = plain(html)
    assert "On pets.txt: at work, about 36 s left; 6 s a trial." in said and "GRU 5 trials in 42 of 60 s" in said
    assert "What mattered: learning rate 70%, width 20%, dropout 10%, batch 0%, schedule 0%." in said
    assert html.count('data-act="use"') == 2 and 'data-act="go-on"' not in html and "--confirm" not in html


def test_an_ended_one_says_what_is_still_to_be_done() -> None:
    done, stopped = search.search_html(outlook()), search.search_html(outlook(done=False))
    assert "finished." in plain(done) and "--confirm" in done and 'data-act="go-on"' not in done
    assert "stopped with 36 s left" in plain(stopped) and 'data-act="go-on"' in stopped and "--confirm" not in stopped
    resting = plain(search.search_html(outlook(running=True, done=False, resting=True)))
    assert "it rests while a training is at work" in resting
    assert "the loss became" in search.search_html(outlook(done=False, error="the loss became nan"))
    assert plain(search.search_html(None)) == search.NONE_YET
    assert plain(search.search_html(None, "why not")) == "why not"


def test_names_and_errors_are_escaped() -> None:
    html = search.search_html(outlook(text="<img src=x onerror=1>", error="<b>"))
    assert "<img" not in html and "&lt;img" in html and "&lt;b&gt;" in html


def test_the_picture_has_a_bar_for_each_setting_and_architecture() -> None:
    figure = search.picture(outlook().result["archs"])
    assert figure is not None
    assert [trace["name"] for trace in figure["data"]] == ["RNN", "GRU"]  # plotly begins at the bottom
    for trace in figure["data"]:
        assert dict(zip(trace["y"], trace["x"], strict=True))["learning rate"] == 70
        assert sum(trace["x"]) == pytest.approx(100)
    assert search.picture([{**one, "importances": {}} for one in outlook().result["archs"]]) is None
    json.dumps(figure, allow_nan=False)


def test_the_picture_is_drawn_again_only_if_it_changes(parts: tuple[search.SearchFold, train_form.Form]) -> None:
    fold, _ = parts
    first = search.shown(fold, outlook(running=True), "")
    assert first[fold.plot]["visible"] and first[fold.stop]["visible"] and not first[fold.start]["visible"]
    assert first[fold.timer].active
    second = search.shown(fold, outlook(), first[fold.drawn])
    assert fold.plot not in second and second[fold.start]["visible"] and not second[fold.timer].active
    gone = search.shown(fold, None, first[fold.drawn], "why")
    assert gone[fold.drawn] == "" and gone[fold.plot]["visible"] is False


def test_the_button_fills_the_form_with_what_was_found(parts: tuple[search.SearchFold, train_form.Form]) -> None:
    _, form = parts
    found = outlook()
    settings = search.found_settings(found, found.result["search"], "rnn")
    assert settings == {**SETTINGS, "hidden_size": 96}
    filled = search.filled(form, "rnn", settings)
    assert filled[form.archs] == ["rnn"] and filled[form.controls["hidden_size"]] == 96
    assert {form.controls[name] for name in SETTINGS} <= filled.keys()
    for other, search_id, arch in (
        (None, "", "rnn"),
        (found, "another", "rnn"),
        (found, found.result["search"], "lstm"),
    ):
        with pytest.raises(ConfigError, match="no longer the newest search's"):
            search.found_settings(other, search_id, arch)


def test_where_nobody_may_search_there_is_no_button() -> None:
    with gr.Blocks():
        open_fold, shut = search.build(), search.build(is_open=False)
    lines = [fold.start.parent for fold in (open_fold, shut)]
    assert [line.visible for line in lines] == [True, False] and shut.stop.parent is lines[1]


def test_every_setting_that_is_searched_has_a_control_in_a_fold_that_is_opened() -> None:
    from charlm.experiments.trials import SEARCHED

    opened = [name for key in search.FOLDS for name in train_form.FOLDS[key]]
    assert set(SEARCHED) == set(SETTINGS) <= set(opened)
