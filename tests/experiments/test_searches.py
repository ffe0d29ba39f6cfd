"""A server's searches: one at a time in a thread, which rests while a training is at work and goes on later."""

import threading
from pathlib import Path
from typing import Any

import pytest

from charlm.errors import CheckpointError, ConfigError, JobError
from charlm.experiments.search import Search
from charlm.experiments.searches import Outlook, Searches
from tests.patience import patience
from tests.tiny_runs import TEXT, settings, small_corpus, store_in, wait_for

LONG = TEXT * 20


def looked(searches: Searches) -> Outlook:
    found = searches.look()
    assert found is not None
    return found


def trials(searches: Searches) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = looked(searches).result["archs"][0]["trials"]
    return found


def test_a_search_goes_on_outside_the_request_and_ends(tmp_path: Path) -> None:
    searches = Searches(store_in(tmp_path).root)
    assert searches.look() is None and not searches.is_running
    searches.begin(small_corpus(LONG), settings(), ["gru"], 0.05)
    assert searches.is_running
    with pytest.raises(JobError, match="a search is at work already"):
        searches.begin(small_corpus(LONG), settings(), ["gru"], 0.05)
    wait_for(lambda: not searches.is_running)
    found = looked(searches)
    assert found.result["done"] and not (found.running or found.resting or found.error)
    assert len(trials(searches)) >= 5 and found.result["archs"][0]["best"]
    [kept] = Search.all(store_in(tmp_path).root)
    assert kept.search_id == found.result["search"]


def test_it_is_stopped_and_goes_on_also_in_another_process(tmp_path: Path) -> None:
    root = store_in(tmp_path).root
    searches = Searches(root)
    searches.begin(small_corpus(LONG), settings(), ["rnn"], 0.3)
    wait_for(lambda: any(trial["state"] == "finished" for trial in trials(searches)))
    searches.close(patience(30))
    assert not searches.is_running and not looked(searches).result["done"]
    later = Searches(root)  # a server that has been started again
    before = trials(later)
    assert before == trials(searches) and looked(later).result["search"] == looked(searches).result["search"]
    later.go_on()
    wait_for(lambda: len(trials(later)) > len(before))
    later.close(patience(30))
    assert trials(later)[: len(before)] == before


@pytest.mark.slow
def test_it_neither_begins_nor_trains_beside_a_training(tmp_path: Path) -> None:
    training = threading.Event()
    searches = Searches(store_in(tmp_path).root, training.is_set)
    training.set()
    for begin in (lambda: searches.begin(small_corpus(LONG), settings(), ["gru"], 0.2), searches.go_on):
        with pytest.raises(JobError, match="A training is at work"):
            begin()
    assert searches.look() is None
    training.clear()
    searches.begin(small_corpus(LONG), settings(), ["gru"], 0.5)  # 3 s a trial
    wait_for(lambda: bool(trials(searches)))
    training.set()
    wait_for(lambda: looked(searches).resting)
    threading.Event().wait(1.0)
    at_rest = trials(searches)[-1]["seconds"]
    threading.Event().wait(4.0)  # longer than the trial
    assert trials(searches)[-1]["seconds"] == at_rest and trials(searches)[-1]["state"] == "running"
    training.clear()
    wait_for(lambda: trials(searches)[0]["state"] == "finished")
    assert trials(searches)[0]["seconds"] < 4.0
    searches.close(patience(30))


def test_what_goes_wrong_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searches = Searches(store_in(tmp_path).root)
    with pytest.raises(CheckpointError, match="there is no search to go on with"):
        searches.go_on()
    with pytest.raises(ConfigError, match="counted, not trained"):
        searches.begin(small_corpus(LONG), settings(), ["ngram"], 1.0)
    hot = settings(learning_rate=10.0, grad_clip=0.0, warmup_steps=0, nonlinearity="relu")
    searches.begin(small_corpus(LONG), hot, ["rnn"], 0.05)
    wait_for(lambda: not searches.is_running)
    assert "try a third of it" in looked(searches).error

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Search, "run", broken)
    searches.begin(small_corpus(LONG), settings(), ["rnn"], 0.05)
    wait_for(lambda: not searches.is_running)
    assert looked(searches).error == "the search failed unexpectedly; the log says where"
