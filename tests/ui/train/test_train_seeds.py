"""What the Train tab shows of a race of several seeds, from real trainings."""

import re
from pathlib import Path
from typing import Any

import pytest

from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.jobs.service import Jobs
from charlm.public.services import Services
from charlm.runs.create import create_runs
from charlm.serving import Serving
from charlm.ui import status_bar
from charlm.ui.services import Files
from charlm.ui.train import live
from charlm.ui.train.live import Watch
from charlm.ui.train.seeds import AT_LOOKS, FINAL, TITLE, of_first_seed
from tests.tiny_runs import TEXT, entered, settings, small_corpus, store_in, trained

LONG = TEXT * 40
OPTIONS: dict[str, Any] = {"text": LONG, "seeds": 3, "steps": 20, "eval_every": 5, "dropout": 0.0}


@pytest.fixture
def services(tmp_path: Path) -> Services:
    store = store_in(tmp_path)
    return Services(store, Jobs(store), Serving(store), Files())


def tick(watch: Watch, **asked: Any) -> dict[str, Any]:
    return live.answer(watch.look(), asked)


def test_a_race_of_seeds_shows_the_first_live_and_what_all_of_them_say(services: Services) -> None:
    runs = trained(services.store, "gru", "rnn", "ngram", **OPTIONS)
    watch = Watch(services, fresh=0)
    view = watch.look()
    assert [(run.arch, run.train_config.seed) for run in view.runs] == [("gru", 7), ("rnn", 7), ("ngram", 7)]
    assert view.seeds is not None and view.seeds.found is not None
    first, *others = view.seeds.found.sentences()
    assert view.title == first and all(sentence in view.lead for sentence in others)
    assert "One seed each" not in view.lead and FINAL not in view.lead
    state = tick(watch)
    part = state["seeds"]
    assert TITLE in part["html"] and 'id="train-seed-curves"' in state["body"] and "Seed 7" in state["body"]
    rows = re.findall(r"<tr>.*?</tr>", part["html"], re.S)[1:]
    assert len(rows) == 3
    for group, row in zip(view.seeds.found.groups, rows, strict=True):
        mean, deviation, margin, seeds = group.losses
        said = re.sub(r"<[^>]+>", " ", row).split()
        assert group.name in said and f"{mean:.3f}" in said and str(seeds) == said[-1]
        assert (f"{deviation:.3f}" in said and f"{mean - margin:.3f}" in said) is (seeds == 3)
    kinds = [trace["meta"]["kind"] for trace in part["figure"]["data"]]
    assert kinds.count("band") == 4 and kinds.count("seed") == 6 and kinds.count("val") == 3
    assert all(group.name in part["alt"] for group in view.seeds.found.groups)
    again = tick(watch, key=view.key, since=[20, 20, 10**6], text=view.key, seen=state["seen"])
    assert "seeds" not in again and "body" not in again
    assert {run.run_id for run in runs} > {run.run_id for run in of_first_seed(runs)}


@pytest.mark.slow
def test_while_it_trains_nothing_is_claimed_for_good(services: Services) -> None:
    runs = entered(services.store, "gru", "rnn", **OPTIONS | {"steps": 400, "eval_every": 20})
    trainers, control, seen = prepare(runs, small_corpus(LONG)), Control(), list[tuple[str, str]]()
    watch = Watch(services, fresh=0)

    def look() -> None:
        at = [trainer.state.validated_step for trainer in trainers]
        if min(at) >= 20 and max(at) < 400 and not seen:
            view = watch.look_at([services.store.get(run.run_id) for run in runs])
            seen.append((view.title, view.lead))

    assert watch.look_at(runs).seeds.title == ""  # type: ignore[union-attr]
    run_trainers(trainers, control, look)
    [(title, lead)] = seen
    assert title.startswith("So far: ") and FINAL in lead
    assert not watch.look().title.startswith("So far")


def test_a_race_that_ended_early_says_so(services: Services) -> None:
    runs = create_runs(
        services.store, small_corpus(LONG), settings(seeds=4, steps=3, eval_every=3), ["lstm", "ngram"], looks=[3, 4]
    )
    first_look = [run for run in runs if run.train_config.seed < 10]
    trainers = prepare(first_look, small_corpus(LONG))
    watch = Watch(services, fresh=0)
    seen: list[tuple[str, str]] = []

    def look() -> None:
        if all(trainer.state.validated_step for trainer in trainers) and not all(one.ended for one in trainers):
            view = watch.look_at([services.store.get(run.run_id) for run in first_look])
            seen.append((view.title, view.lead))

    run_trainers(trainers, Control(), look)
    for title, lead in seen:
        assert title.startswith("So far: ") and AT_LOOKS in lead and "ended early" not in lead
    [last] = [run for run in runs if run not in first_look]
    services.store.discard(last)
    view = watch.look_at([services.store.get(run.run_id) for run in first_look])
    assert not view.title.startswith("So far") and AT_LOOKS not in view.lead and FINAL not in view.lead
    assert "It ended early: after 3 of 4 seeds" in view.lead and "this is the look after 3" in view.lead


def test_one_architecture_of_several_seeds_has_its_mean(services: Services) -> None:
    trained(services.store, "gru", **OPTIONS)
    view = Watch(services, fresh=0).look()
    assert view.title.startswith("GRU reached") and " between seeds." in view.lead


def test_other_races_are_shown_as_ever(services: Services) -> None:
    trained(services.store, "gru", "rnn", text=LONG, steps=4)
    state = tick(Watch(services, fresh=0))
    assert "seeds" not in state and "Seed 7" not in state["body"]


def test_the_status_bar_names_each_architecture_once() -> None:
    trainers = [{"arch": arch, "best_val_loss": loss, "label": ""} for arch, loss in
                (("gru", 2.0), ("rnn", None), ("gru", 1.5), ("lstm", 3.0), ("rnn", 2.5))]  # fmt: skip
    found = status_bar._measured({"runs": trainers})
    assert [(one["arch"], one["best_val_loss"]) for one in found] == [("gru", 1.5), ("lstm", 3.0), ("rnn", 2.5)]
