"""Searches for good settings: real tiny trainings in real folders, cut off and continued."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charlm.data.batches import Cut
from charlm.data.dataset import cut_of
from charlm.errors import CheckpointError, ConfigError, CorpusError, JobError
from charlm.experiments import search as module
from charlm.experiments.search import FEWEST, Search, Trial, mend_journal
from charlm.experiments.trials import SCHEDULES, SEARCHED, settings_of, space_of, with_settings
from charlm.presets import RunConfig, from_options
from charlm.runs.store import RunStore
from charlm.training.racers import Racer
from tests.conftest import ROOT
from tests.patience import patience
from tests.tiny_runs import TEXT, settings, small_corpus, store_in, wait_for

LONG = TEXT * 20
MINUTES = 0.05  # three seconds: a trial has 0.3


def begun(folder: Path, archs: Sequence[str] = ("gru",), text: str = LONG, **options: Any) -> Search:
    return Search.create(store_in(folder).root, small_corpus(text), settings(**options), archs, MINUTES)


def run_until(search: Search, trials: int) -> list[Trial]:
    """Run a search until so many of its trials have ended."""
    ended: list[Trial] = []
    search.run(search.text(), lambda: len(ended) >= trials, lambda arch, trial: ended.append(trial))
    return ended


def racer(arch: str = "lstm", **options: Any) -> Racer:
    config = settings(**options)
    model = replace(config.model, arch=arch)
    return Racer(model, config.train.resolve(model))


def cut(train: int = 30_000, **options: Any) -> Cut:
    config = settings(**options)
    return cut_of((train, 3_000, 0), config.train, config.corpus)


# --- what is searched ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn", "transformer", "mingru"])
@pytest.mark.parametrize("width, rows", [(8, 1), (16, 4), (100, 16), (128, 25), (512, 128)])
def test_the_base_lies_in_the_space_and_all_of_the_space_is_valid(arch: str, width: int, rows: int) -> None:
    heads = 4 if width % 8 == 0 else 2
    base = racer(arch, hidden_size=width, batch_size=rows, num_heads=heads)
    space = space_of(base, cut(batch_size=rows))
    assert tuple(space) == SEARCHED
    for name, value in settings_of(base).items():
        assert space[name]._contains(space[name].to_internal_repr(value)), (name, value)
    widths: Any = space["hidden_size"]
    batches: Any = space["batch_size"]
    for size in range(widths.low, widths.high + 1, widths.step):
        other = with_settings(base, settings_of(base) | {"hidden_size": size, "batch_size": batches.high})
        assert (other.model.hidden_size, other.train.batch_size) == (size, batches.high)  # a valid config
    assert 0.5 * width <= widths.low <= width < widths.high <= 2 * width
    assert width < 64 or arch == "transformer" or widths.step == 16
    rate: Any = space["learning_rate"]
    assert rate.log and rate.low == pytest.approx(base.train.learning_rate / 6)
    assert rate.high == pytest.approx(6 * base.train.learning_rate)


def test_batches_are_no_larger_than_the_text_allows() -> None:
    short: Any = space_of(racer(batch_size=4), cut(train=101))["batch_size"]
    assert short.high == 10  # rows of 10 tokens out of 100 targets
    long: Any = space_of(racer(batch_size=4), cut())["batch_size"]
    assert (long.low, long.high) == (2, 16)


def test_a_schedule_of_its_own_is_among_those_searched() -> None:
    space: Any = space_of(racer(schedule="plateau"), cut())
    assert space["schedule"].choices == ("plateau", *SCHEDULES)


def test_fractions_have_three_digits_and_the_base_stays_as_it_is() -> None:
    base = racer(learning_rate=0.0123456, dropout=0.12345)
    assert with_settings(base, settings_of(base)) is base
    other = with_settings(base, settings_of(base) | {"hidden_size": 12})
    assert (other.train.learning_rate, other.model.dropout, other.model.hidden_size) == (0.0123, 0.12, 12)


def test_tied_embeddings_follow_the_width() -> None:
    base = racer(embed_dim=8, tie_weights=True)
    assert with_settings(base, settings_of(base) | {"hidden_size": 12}).model.embed_dim == 12


# --- a search --------------------------------------------------------------------------------------------------------


def test_a_search_begins_with_the_base_and_gives_each_architecture_its_minutes(tmp_path: Path) -> None:
    found = begun(tmp_path, ("gru", "rnn"), hidden_size=16)
    told: list[tuple[str, int]] = []
    found.run(found.text(), on_trial=lambda arch, trial: told.append((arch, trial.number)))
    assert found.is_done and told[0] == ("gru", 0) and ("rnn", 0) in told[:2]
    for arch in found.archs:
        trials = found.trials(arch)
        assert [trial.number for trial in trials] == list(range(len(trials))) and len(trials) >= 5
        assert trials[0].is_base and trials[0].settings == settings_of(found.bases[arch])
        assert {trial.state for trial in trials} <= {"finished", "pruned"}
        assert 60 * MINUTES - found.trial_seconds < found.seconds(arch)
        best, base = found.best(arch), found.base_loss(arch)
        assert best and base is not None and best.loss == min(t.loss or 99 for t in trials if t.state == "finished")
        assert best.loss <= base
    result = found.result()
    assert result["done"] and result["search"] == found.search_id and result["text"] == "pets.txt"
    for one in result["archs"]:
        assert one["gain"] == pytest.approx(one["base_loss"] - one["best_loss"]) and one["gain"] >= 0
        assert one["base"] == settings_of(found.bases[one["arch"]]) and set(one["best"]) == set(SEARCHED)
        finished = [trial for trial in one["trials"] if trial["state"] == "finished"]
        weights = one["importances"]
        assert (len(finished) >= FEWEST) == bool(weights)
        assert not weights or (set(weights) == set(SEARCHED) and sum(weights.values()) == pytest.approx(1))
    first = min(result["archs"], key=lambda one: one["best_loss"])
    name = {"gru": "GRU", "rnn": "RNN"}[first["arch"]]
    assert result["sentences"][0].startswith(f"Each tuned for 0.05 minutes: {name} {first['best_loss']:.3f}, ")
    assert result["sentences"][-1].endswith("with fresh seeds before anything is claimed.")
    assert RunStore(tmp_path / "runs", tmp_path / "shipped").list() == []  # a search is no run


def test_the_same_seed_proposes_the_same_settings(tmp_path: Path) -> None:
    first, same = (run_until(begun(tmp_path / name), 4) for name in ("first", "same"))
    other = run_until(begun(tmp_path / "other", seed=8), 2)
    assert [trial.settings for trial in first] == [trial.settings for trial in same]
    assert first[0].settings == other[0].settings and first[1].settings != other[1].settings


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on_with_what_is_left(tmp_path: Path) -> None:
    whole, cut_off = begun(tmp_path / "whole"), begun(tmp_path / "cut")
    expected = run_until(whole, 4)
    run_until(cut_off, 2)
    again = Search.find(cut_off.folder.parent.parent, cut_off.search_id)
    assert not again.is_done and again.trials("gru") == cut_off.trials("gru") and len(again.trials("gru")) == 2
    again.run(again.text())
    assert again.is_done and again.seconds("gru") < 60 * MINUTES + again.trial_seconds
    assert [trial.settings for trial in again.trials("gru")[:4]] == [trial.settings for trial in expected]
    assert sum(trial.is_base for trial in again.trials("gru")) == 1


def test_a_trial_that_was_broken_off_failed_and_the_base_is_tried_again(tmp_path: Path) -> None:
    found = begun(tmp_path)
    asked: list[int] = []

    def halted() -> bool:
        asked.append(1)
        return len(asked) > 5  # in the first trial

    found.run(found.text(), halted)
    [trial] = found.trials("gru")
    assert (trial.state, trial.loss, trial.is_base) == ("failed", None, True) and 0 < trial.seconds < 60 * MINUTES
    assert found.sentences() == ["No trial has been trained to its end yet."] and found.winner("gru") is None
    with pytest.raises(ConfigError, match="GRU has no trial that was trained to its end"):
        found.confirm(store_in(tmp_path), found.text())
    second = run_until(found, 1)[0]
    assert (second.number, second.is_base, second.state) == (1, True, "finished")


KILLED = """
import sys
from pathlib import Path
from charlm.experiments.search import Search
found = Search(Path(sys.argv[1]))
found.run(found.text(), on_trial=lambda arch, trial: print(trial.number, flush=True))
"""


@pytest.mark.slow
def test_a_killed_search_goes_on_and_its_trial_counts_as_failed(tmp_path: Path) -> None:
    made = Search.create(store_in(tmp_path).root, small_corpus(LONG), settings(), ["gru"], 2.0)  # 12 s a trial
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(made.folder)], env=environment, cwd=ROOT)
    try:
        wait_for(lambda: any(trial.loss for trial in Search(made.folder).trials("gru")))  # it was validated once
        with pytest.raises(JobError, match="is at work already"):
            made.run(made.text())
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    journal = made.folder / "journal.log"
    with journal.open("ab") as file:
        file.write(b'{"op_code":8,"worker_id":"torn')
    (made.folder / "journal.log.lock").touch()  # it was killed while it wrote
    again, began = Search(made.folder), time.monotonic()
    [left] = again.trials("gru")
    assert left.state == "running" and left.seconds > 0
    again.run(again.text(), halted=lambda: True)
    assert time.monotonic() - began < patience(25)  # Optuna would wait half a minute for the lock
    [trial] = again.trials("gru")
    assert trial.state == "failed" and trial.seconds == left.seconds
    assert again.seconds("gru") == left.seconds


def test_hopeless_trials_end_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([*[[2.0, 1.8, 1.2]] * 4, [1.9, 1.85, 1.1], [2.1, 1.0, 0.9], [1.9, 1.7, 1.0]])

    def told(*_: Any) -> Any:
        yield from zip((40, 60, 100), next(losses), strict=True)

    monkeypatch.setattr(module, "looks", told)
    ended = run_until(begun(tmp_path), 7)
    assert [trial.state for trial in ended] == [*["finished"] * 4, "pruned", "pruned", "finished"]
    assert [trial.loss for trial in ended[4:]] == [1.85, 2.1, 1.0]  # at the second look, at the first, never


def test_a_trial_that_diverges_says_so_and_is_never_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = begun(tmp_path)
    run_until(found, 1)

    def broken(*_: Any) -> Any:
        yield 40, 0.01
        raise JobError("the loss became nan at step 3")

    monkeypatch.setattr(module, "looks", broken)
    [bad] = run_until(found, 1)
    assert (bad.state, bad.loss, bad.message) == ("diverged", 0.01, "the loss became nan at step 3")
    best = found.best("gru")
    assert best and best.number == 0 and not found.is_done


def test_a_base_that_does_not_work_is_an_error(tmp_path: Path) -> None:
    found = begun(tmp_path, ["rnn"], learning_rate=10.0, grad_clip=0.0, warmup_steps=0, nonlinearity="relu")
    with pytest.raises(JobError, match="try a third of it"):
        found.run(found.text())
    assert found.winner("rnn") is None and not found.is_done


@pytest.mark.parametrize("level", ["word", "bpe"])
def test_words_and_subwords_are_searched_too(tmp_path: Path, level: str) -> None:
    found = begun(tmp_path, level=level)
    [trial] = run_until(found, 1)
    assert trial.state == "finished" and found.bases["gru"].model.tie_weights


@pytest.mark.slow
def test_winners_are_trained_again_with_seeds_that_no_trial_had(tmp_path: Path) -> None:
    found, store = begun(tmp_path, ("gru", "rnn")), store_in(tmp_path)
    found.run(found.text())
    runs = found.confirm(store, found.text(), seeds=2)
    try:
        assert {run.train_config.seed for run in runs} == {8, 9}
        by_label = {run.label: run for run in runs}
        for arch in found.archs:
            winner = found.winner(arch)
            tuned = by_label[f"tuned-{arch}-seed-8"]
            assert winner and settings_of(Racer(tuned.model_config, tuned.train_config)) == settings_of(winner)
            assert tuned.train_config.minutes == found.minutes / 10 and tuned.train_config.steps == 0
            assert tuned.corpus_config == found.cleaning and found.cleaning.test_fraction == 0.1
            if winner != found.bases[arch]:
                base = by_label[f"base-{arch}-seed-8"]
                assert settings_of(Racer(base.model_config, base.train_config)) == settings_of(found.bases[arch])
    finally:
        for run in runs:
            run.release()


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "archs, minutes, said",
    [
        ([], 1.0, "choose one or more different architectures, not none"),
        (["gru", "gru"], 1.0, "different architectures, not gru, gru"),
        (["gru", "ngram"], 1.0, "counted, not trained"),
        (["gpt"], 1.0, "'gpt' is not one of"),
        (["gru"], 0.0, "minutes 0.0 is outside 0.05"),
        (["gru"], float("nan"), "minutes must be a finite number"),
    ],
)
def test_bad_input_is_refused_before_a_folder_is_made(
    tmp_path: Path, archs: list[str], minutes: float, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        Search.create(tmp_path, small_corpus(), settings(), archs, minutes)
    assert not (tmp_path / "searches").exists()


def test_a_search_that_is_not_there_or_damaged_says_so(tmp_path: Path) -> None:
    root = store_in(tmp_path).root
    for name in ("none", "../runs", "", "a" * 300):
        with pytest.raises(CheckpointError, match=r"there is no search .*none yet"):
            Search.find(root, name)
    found = begun(tmp_path)
    with pytest.raises(CheckpointError, match=f"there are {found.search_id}"):
        Search.find(root, "nix")
    about = found.folder / "search.json"
    whole = about.read_text(encoding="utf-8")
    for damaged in ("", "[]", "{}", whole.replace('"gru"', '"gpt"'), whole.replace('"format": 1', '"format": 2')):
        about.write_text(damaged, encoding="utf-8")
        with pytest.raises(CheckpointError, match="cannot be read"):
            Search.find(root, found.search_id)
        assert Search.all(root) == []
    about.write_text(whole, encoding="utf-8")
    (found.folder / "journal.log").write_text("{}\n[]\n", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"journal\.log .* cannot be read"):
        Search.find(root, found.search_id).trials("gru")


def test_only_its_own_text_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = begun(tmp_path)
    with pytest.raises(CorpusError, match=r"other\.txt is not it"):
        found.text(small_corpus(TEXT, "other.txt"))
    monkeypatch.setenv("CHARLM_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(CorpusError, match="no longer kept here"):
        found.text()
    assert found.text(small_corpus(LONG)).text == small_corpus(LONG).text


def test_a_torn_line_is_removed_and_whole_ones_stay(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    for content, left in ((b"", b""), (b"a\nb\n", b"a\nb\n"), (b"a\nb", b"a\n"), (b"torn", b"")):
        journal.write_bytes(content)
        mend_journal(journal)
        assert journal.read_bytes() == left
    mend_journal(tmp_path / "missing.log")


def test_a_preset_is_sized_for_each_architecture(tmp_path: Path) -> None:
    config: RunConfig = from_options({"seq_len": 10, "batch_size": 4})
    found = Search.create(store_in(tmp_path).root, small_corpus(LONG), config, ["lstm", "rnn"], MINUTES)
    lstm, rnn = (found.bases[arch] for arch in ("lstm", "rnn"))
    assert lstm.train.learning_rate > rnn.train.learning_rate > 0 and lstm.train.minutes == MINUTES / 10
    assert lstm.model.dropout >= rnn.model.dropout
