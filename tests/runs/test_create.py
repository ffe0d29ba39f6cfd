"""From a text and settings to runs that can be trained, and from ended runs back to that."""

import re
from pathlib import Path
from typing import Any

import pytest

from charlm.config import SampleConfig
from charlm.data.catalog import data_dir
from charlm.data.corpus import lexicon
from charlm.data.text_store import recall
from charlm.errors import ConfigError, CorpusError, JobError
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.presets import from_options
from charlm.runs.create import create_runs
from charlm.runs.resume import reopen
from charlm.runs.store import RunStore
from charlm.serving import Serving
from tests.tiny_runs import TEXT, entered, settings, small_corpus, store_in, trained


def test_a_race_makes_runs_of_one_group_and_one_text(store: RunStore) -> None:
    runs = entered(store, "lstm", "gru", "rnn")
    assert [run.arch for run in runs] == ["lstm", "gru", "rnn"] and [run.status for run in runs] == ["queued"] * 3
    assert len({run.group for run in runs}) == 1 and runs[0].group
    corpus = small_corpus()
    assert all(run.corpus["sha256"] == corpus.sha256 for run in runs)
    assert runs[0].corpus["characters"] == len(TEXT) and runs[0].corpus["distinct"] == len(set(TEXT))
    assert runs[0].corpus["train_chars"] + runs[0].corpus["val_chars"] == len(TEXT)
    assert recall(corpus.sha256, data_dir()) is not None
    assert entered(store)[0].group == ""


def test_each_architecture_learns_as_fast_as_suits_it_unless_told(store: RunStore) -> None:
    runs = entered(store, "lstm", "gru", "rnn", learning_rate=0)
    rates = [run.train_config.learning_rate for run in runs]
    assert len(set(rates)) == 3 and min(rates) > 0
    assert [run.info["train"]["learning_rate"] for run in runs] == rates  # whoever reads run.json knows it, too
    assert [run.train_config.learning_rate for run in entered(store, "lstm", "rnn", learning_rate=0.3)] == [0.3, 0.3]


@pytest.mark.parametrize(
    ("label", "labels"),
    [("", ["lstm-pets", "gru-pets"]), ("a/b", ["a/b-lstm", "a/b-gru"]), ("two\nlines", ["two lines-lstm"]),
     ("<b>x</b>", ["<b>x</b>-lstm"]), ("y" * 80, ["y" * 75 + "-lstm", "y" * 76 + "-gru"])],
)  # fmt: skip
def test_labels(label: str, labels: list[str], store: RunStore) -> None:
    runs = entered(store, "lstm", "gru", label=label)
    assert [run.label for run in runs][: len(labels)] == labels


def test_seeds_make_runs_of_one_group_with_a_test_part(store: RunStore) -> None:
    runs = entered(store, "lstm", "ngram", seeds=2, seed=3, label="")
    assert [run.label for run in runs] == ["lstm-pets-seed-3", "ngram-pets-seed-3", "lstm-pets-seed-4"]
    assert len({run.group for run in runs}) == 1 and {run.corpus_config.test_fraction for run in runs} == {0.1}
    assert [run.train_config.seed for run in runs] == [3, 3, 4] and all(run.train_config.random_start for run in runs)
    assert entered(store, seeds=2, test_fraction=0.0)[0].corpus_config.test_fraction == 0.0
    assert entered(store, seeds=2, val_fraction=0.3)[0].corpus_config.test_fraction == 0.0
    [one] = entered(store)
    assert not one.train_config.random_start and one.corpus_config.test_fraction == 0.0


def test_seeds_differ_from_the_first_batch_on_and_architectures_do_not(store: RunStore) -> None:
    runs = entered(store, "lstm", "gru", seeds=2)
    trainers = prepare(runs, small_corpus())
    first = [next(one.dataset.batches(0, seed=one.run.train_config.seed))[0].tolist() for one in trainers]
    assert first[0] == first[1] != first[2] == first[3]


@pytest.mark.parametrize("archs", [[], ["lstm", "lstm"], ["perceptron"], [5], [["lstm"]], [None], [{}]])
def test_architectures_that_are_none_are_refused_before_a_folder_is_made(archs: Any, store: RunStore) -> None:
    with pytest.raises(ConfigError):
        create_runs(store, small_corpus(), settings(), archs)
    assert store.list() == []


def test_what_cannot_fit_is_refused_before_anything_is_allocated(store: RunStore) -> None:
    config = settings(hidden_size=4096, num_layers=8, batch_size=4096, seq_len=4096)
    with pytest.raises(ConfigError, match=r"needs about \d+\.\d GB of memory .* hidden_size 4096"):
        create_runs(store, small_corpus(TEXT * 3000), config, ["lstm", "gru", "rnn"])
    assert store.list() == []


def test_other_settings_that_do_not_fit(store: RunStore) -> None:
    with pytest.raises(ConfigError, match="vocab_size 3 does not fit"):
        create_runs(store, small_corpus(), settings(vocab_size=3), ["lstm"])
    with pytest.raises(CorpusError, match=r"at least 3 characters; this corpus has 2"):
        create_runs(store, small_corpus("ab"), settings(), ["lstm"])
    with pytest.raises(CorpusError, match="hold out less"):
        create_runs(store, small_corpus("abcdefghijklmnopqrstuvwxyz"), settings(val_fraction=0.9), ["lstm"])
    with pytest.raises(ConfigError, match="keep their sum"):
        settings(val_fraction=0.9, test_fraction=0.9)


@pytest.mark.parametrize(
    ("fractions", "said"),
    [({"val_fraction": 0.0}, "nothing held out"), ({"test_fraction": 0.2}, ""), ({"val_fraction": 0.5}, "")],
)
def test_fractions(fractions: dict[str, Any], said: str, store: RunStore) -> None:
    [run] = trained(store, **fractions)
    assert run.status == "finished" and run.best_val_loss is not None and said in run.message
    assert (run.message == "") == (said == "")


def test_the_76_characters_train_with_default_settings(store: RunStore, lstm_text: str) -> None:
    corpus = small_corpus(lstm_text)
    [run] = create_runs(store, corpus, from_options({"steps": 3}), ["lstm"])
    run_trainers(prepare([run], corpus), Control())
    run = store.get(run.run_id)
    assert run.status == "finished" and run.best_val_loss is not None
    assert re.fullmatch(
        r"only 76 characters: .* memorisation; a batch of \d+ x \d+ needs .*: trained with .*", run.message
    )


def test_the_76_characters_are_learned_by_heart(store: RunStore, lstm_text: str) -> None:
    options: dict[str, Any] = {"batch_size": 1, "seq_len": 20, "hidden_size": 64, "steps": 600, "dropout": 0.0}
    [run] = trained(store, text=lstm_text, **options, learning_rate=5e-3, eval_every=300)
    config = SampleConfig(length=len(lstm_text) - 4, greedy=True)
    draft = list(Serving(store).generate(run, "long", config))[-1]
    assert draft.prompt + draft.text == lstm_text


# --- going on --------------------------------------------------------------------------------------------------------


def test_a_training_begins_with_how_often_each_character_occurs(store: RunStore) -> None:
    [run] = entered(store, "gru", text="abababbbbb" * 40)
    [trainer] = prepare([run], small_corpus("abababbbbb" * 40))
    shares = trainer.model.fc.bias.softmax(-1).tolist()
    assert run.tokenizer().encode("ab").tolist() == [0, 1] and shares == pytest.approx([0.3, 0.7], abs=0.01)
    run.release()


def test_a_budget_is_added_to_what_was_done(store: RunStore) -> None:
    [run] = trained(store)
    reopen(run, {"steps": 5})
    assert run.train_config.steps == 17 and run.status == "queued"
    run.release()


@pytest.mark.parametrize(
    ("options", "said"),
    [({"steps": "5"}, "steps must be a number"), ({"steps": True}, "steps must be a number"),
     ({"steps": -5}, "outside 0"), ({"steps": 1.5}, "whole number"), ({"minutes": float("nan")}, "finite"),
     ({"steps": 10, "learning_rate": 99}, r"learning_rate 99\S* is outside"), ({"hidden_size": 9}, "unknown setting"),
     ({"seed": 1}, "unknown setting"), ({"steps": 10, "schedule": "spiral"}, "schedule 'spiral'")],
)  # fmt: skip
def test_options_out_of_place_are_refused_and_the_run_stays_free(
    options: dict[str, Any], said: str, store: RunStore
) -> None:
    [run] = trained(store)
    with pytest.raises(ConfigError, match=said):
        reopen(run, options)
    assert store.get(run.run_id).status == "finished" and store.get(run.run_id).train_config.steps == 12
    reopen(run, {"steps": 1})
    run.release()


def test_what_cannot_go_on(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    [run] = trained(store)
    with pytest.raises(JobError, match="has finished its 12 steps; say how many more"):
        reopen(run, {})
    [waiting] = entered(store)
    with pytest.raises(JobError, match="queued already"):
        reopen(store.get(waiting.run_id), {})
    [shipped] = trained(RunStore(tmp_path / "shipped"))
    with pytest.raises(JobError, match="read-only"):
        reopen(store.get(shipped.run_id), {"steps": 5})


def test_a_text_that_is_gone(store: RunStore) -> None:
    [run] = trained(store)
    serving = Serving(store)
    texts = data_dir() / "texts"
    texts.rename(texts.with_name("moved"))
    with pytest.raises(CorpusError, match=r"\(pets.txt\) is no longer here"):
        reopen(run, {"steps": 5})
    assert store.get(run.run_id).status == "finished" and serving.lexicon(run) == frozenset()
    texts.with_name("moved").rename(texts)
    assert serving.lexicon(run) == lexicon(TEXT)
