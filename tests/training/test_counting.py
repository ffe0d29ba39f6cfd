"""Counting as a training: slices with validations, races, stops, resumes, forks, zips, and what does not apply."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from charlm.config import ModelConfig, TrainConfig
from charlm.data.batches import Dataset
from charlm.errors import CheckpointError, ConfigError, JobError
from charlm.formats.exports import FORMATS
from charlm.formats.run_zip import read_zip
from charlm.generation import generate
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.models import build_model
from charlm.models.ngram import SLICES, NGramModel
from charlm.runs.create import create_runs
from charlm.runs.resume import fork, reopen
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.tokenizers import CharTokenizer
from charlm.training.evaluate import evaluate
from charlm.training.train import train
from tests.tiny_runs import (
    TEXT,
    assert_same_training,
    entered,
    resumed,
    settings,
    small_corpus,
    spoil,
    store_in,
    trained,
    untimed,
)

pytestmark = pytest.mark.usefixtures("single_steps")

OTHER = "The cow sat by the hen, and then the cow ran to the mat.\n" * 9


def halted_after(step: int, store: RunStore, how: str = "stopped", **options: Any) -> Run:
    """An n-gram that was ended on the way."""
    trainers, control = prepare(entered(store, "ngram", **options), small_corpus()), Control()

    def look() -> None:
        if trainers[0].state.step >= step:
            control.interrupted = how == "interrupted"
            control.stopped.add(trainers[0].run.run_id)

    run_trainers(trainers, control, look)
    return store.get(trainers[0].run.run_id)


def test_a_text_is_counted_once_slice_by_slice(store: RunStore) -> None:
    [run] = trained(store, "ngram", steps=3, patience=1)  # neither applies
    rows = run.metrics()
    assert run.status == "finished" and run.step == run.total_steps == 34 and run.epoch == 1.0
    assert len(rows) == SLICES and all(row["val_loss"] is not None for row in rows)
    assert rows[0]["train_loss"] == pytest.approx(2.944, abs=1e-3)  # ln 19: nothing was known yet
    assert rows[-1]["train_loss"] < 0.3 * rows[0]["train_loss"] and rows[-1]["val_loss"] < 0.5 * rows[0]["val_loss"]
    assert all(row["learning_rate"] is None and row["grad_norm"] is None for row in rows)
    assert len(run.samples()) == SLICES and run.num_parameters == run.corpus["train_chars"] == 1377


def test_its_loss_is_that_of_its_weights_and_it_writes(store: RunStore) -> None:
    [run] = trained(store, "ngram", order=3)
    model, tokenizer = run.load_model(), run.tokenizer()
    assert isinstance(model, NGramModel) and int(model.seen) == 1377 and model.config.order == 3
    held_out = tokenizer.encode(TEXT)[1377:]
    assert evaluate(model, held_out).nats_per_token == pytest.approx(run.best_val_loss)
    text = "".join(generate(model, tokenizer, "The "))
    assert len(text) == 500 and set(text) <= set(TEXT)
    assert text == "".join(generate(model, tokenizer, "The "))


@pytest.mark.parametrize("how", ["stopped", "interrupted"])
@pytest.mark.parametrize("at", [1, 20])
def test_ended_on_the_way_it_counts_on(how: str, at: int, store: RunStore) -> None:
    [whole] = trained(store, "ngram")
    half = halted_after(at, store, how)
    assert half.status == how and at <= half.step < 34
    [run] = resumed(store, half)
    assert_same_training(run, whole)
    assert untimed(run.metrics()) == untimed(whole.metrics()) and run.samples() == whole.samples()


def test_cut_off_before_its_first_save_it_begins_anew(store: RunStore) -> None:
    half = halted_after(1, store, "interrupted")
    (half.folder / "resume.safetensors").unlink()
    assert resumed(store, half)[0].step == 34


def test_a_finished_one_has_nothing_more_to_count(store: RunStore) -> None:
    [run] = trained(store, "ngram")
    with pytest.raises(JobError, match="has counted its whole text, there is nothing more to count"):
        reopen(run, {"steps": 5})
    with pytest.raises(JobError, match="fork it on another text, which it counts on top"):
        fork(store, run, {})


def test_a_fork_on_another_text_counts_it_on_top(store: RunStore) -> None:
    [parent] = trained(store, "ngram")
    child, corpus = fork(store, parent, {}, small_corpus(OTHER, "cows.txt"))
    run_trainers(prepare([child], corpus, resume=True), Control())
    run = store.get(child.run_id)
    counted = 1377 + run.corpus["train_chars"]
    assert run.status == "finished" and run.model_config.counted == run.num_parameters == counted
    model, text = run.load_model(), "".join(c for c in OTHER if c in set(TEXT))
    assert isinstance(model, NGramModel)
    expected = run.tokenizer().encode(TEXT[:1377] + text[: run.corpus["train_chars"]])
    assert model.ids.tolist() == expected.tolist()
    before = evaluate(parent.load_model(), expected[1377:]).nats_per_token
    assert evaluate(model, expected[1377:]).nats_per_token < before


def test_a_fork_of_one_that_was_stopped_goes_on(store: RunStore) -> None:
    half = halted_after(10, store)
    child, corpus = fork(store, half, {})
    run_trainers(prepare([child], corpus, resume=True), Control())
    [whole] = trained(store, "ngram")
    assert store.get(child.run_id).best_val_loss == whole.best_val_loss


def test_in_a_race_it_keeps_step_with_the_others(store: RunStore) -> None:
    trainers = prepare(entered(store, "ngram", "rnn", steps=60), small_corpus())
    ahead: list[int] = []

    def look() -> None:
        ahead.append(trainers[0].state.step - trainers[1].state.step)

    run_trainers(trainers, Control(), look)
    ngram, rnn = (store.get(trainer.run.run_id) for trainer in trainers)
    assert (ngram.step, rnn.step) == (34, 60) and ngram.group == rnn.group != ""
    assert max(ahead) <= 34
    [alone] = trained(store, "ngram")
    assert alone.best_val_loss == ngram.best_val_loss


def test_counts_that_do_not_fit_the_text_end_it(store: RunStore) -> None:
    half = halted_after(10, store)
    spoil(half.folder / "run.json", corpus_config=half.corpus_config.to_dict() | {"val_fraction": 0.3})
    [run] = resumed(store, half)
    assert run.status == "failed" and "does not fit this text" in run.message


def test_its_zip_comes_back(store: RunStore, tmp_path: Path) -> None:
    half = halted_after(10, store)
    FORMATS[0].write(half, tmp_path / "run.zip")
    back = read_zip(store_in(tmp_path / "elsewhere"), tmp_path / "run.zip")
    assert back.num_parameters == 1377 and back.best_val_loss == half.best_val_loss
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        assert {name.rpartition("/")[2] for name in archive.namelist()} >= {"best.safetensors", "resume.safetensors"}


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind.archs is not None], ids=lambda kind: kind.name)
def test_formats_of_networks_refuse_it(kind: Any, store: RunStore, tmp_path: Path) -> None:
    [run] = trained(store, "ngram")
    with pytest.raises(CheckpointError, match="a table of counts and no network; export it as zip"):
        kind.write(run, tmp_path / "out")


def test_what_it_counts_is_not_to_be_chosen(store: RunStore) -> None:
    with pytest.raises(ConfigError, match="counted 5 does not fit: an n-gram of this text counts 1,377 tokens"):
        create_runs(store, small_corpus(), settings(counted=5), ["ngram"])


def test_out_of_memory_names_the_order(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(NGramModel, "count", refuse)
    [run] = trained(store, "ngram")
    assert run.status == "failed" and run.message == "out of memory; choose an order below 7, or a shorter text"
    assert not run.fix


@pytest.mark.parametrize("order", [1, 2, 12])
def test_a_tiny_text_and_any_order(order: int) -> None:
    tokenizer = CharTokenizer.fit("abcab")
    data = Dataset(tokenizer.encode("abcab"), 1, 1)
    model = build_model(ModelConfig(arch="ngram", vocab_size=3, order=order))
    rows = list(train(model, data, TrainConfig()))
    assert [row.step for row in rows] == [1, 2, 3, 4] and model.num_parameters == 5


def test_a_visitors_ngram_is_bounded(store: RunStore, tmp_path: Path) -> None:
    from charlm.errors import LimitError
    from charlm.public import VisitorRuns
    from charlm.public.limits import Limits, Visitor, check_model

    def who() -> Visitor:
        return Visitor("anna")

    [run] = trained(store, "ngram", order=9)
    with pytest.raises(LimitError, match="order is 9, more than the 8"):
        check_model(Limits(), run.model_config, run.num_parameters)
    with pytest.raises(LimitError, match="the n-gram counts 1,377 tokens, more than the 1,000"):
        check_model(Limits(order=12, counted=1000), run.model_config, run.num_parameters)
    FORMATS[0].write(run, tmp_path / "run.zip")
    (tmp_path / "run.safetensors").write_bytes((run.folder / "best.safetensors").read_bytes())
    (tmp_path / "run.safetensors.json").write_bytes((run.folder / "tokenizer.json").read_bytes())
    guest = VisitorRuns(store, who, Limits())
    for name in ("run.zip", "run.safetensors"):
        with pytest.raises((LimitError, CheckpointError), match="order is 9, more than the 8"):
            guest.take_in(tmp_path / name)
