"""Forks go on from what another run has learned, retries begin anew with the mend; both say where they come from."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from charlm.data.catalog import data_dir
from charlm.errors import CheckpointError, ConfigError, CorpusError, JobError
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.runs.checkpoint import has_training, load_training
from charlm.runs.resume import fork, reopen, retry
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from tests.patience import patience
from tests.tiny_runs import (
    TEXT,
    assert_same_training,
    entered,
    resumed,
    small_corpus,
    spoil,
    trained,
    untimed,
)

pytestmark = pytest.mark.usefixtures("single_steps")


def forked(store: RunStore, parent: Run, **options: Any) -> Run:
    """A fork, trained to its end."""
    run, corpus = fork(store, parent, options)
    run_trainers(prepare([run], corpus, resume=True), Control())
    return store.get(run.run_id)


def test_a_fork_with_nothing_changed_is_the_parent_gone_on_with(store: RunStore) -> None:
    [parent] = trained(store, "gru", dropout=0.3)
    child = forked(store, parent, steps=8)
    [longer] = resumed(store, parent, steps=8)
    assert_same_training(child, longer)
    assert untimed(child.metrics()) == untimed(longer.metrics()) and child.samples() == longer.samples()
    assert child.block_log.rows() == longer.block_log.rows()
    assert child.seconds >= parent.seconds


def test_a_fork_with_another_learning_rate_leaves_the_parent_alone(store: RunStore) -> None:
    [parent] = trained(store, "lstm")
    before = {path.name: path.read_bytes() for path in parent.folder.rglob("*.*")}
    child = forked(store, parent, learning_rate=1e-4, steps=6, label="gentle")
    assert {path.name: path.read_bytes() for path in parent.folder.rglob("*.*")} == before
    assert (child.step, child.label, child.train_config.learning_rate) == (18, "gentle", 1e-4)
    assert child.metrics()[11]["train_loss"] == parent.metrics()[11]["train_loss"]
    assert child.ancestry == [{"run_id": parent.run_id, "label": "lstm-pets", "step": 12, "why": "fork"}]
    grandchild = forked(store, child, steps=2)
    assert [(one["run_id"], one["step"]) for one in grandchild.ancestry] == [(child.run_id, 18), (parent.run_id, 12)]
    assert grandchild.label == "gentle-fork"


def test_the_rest_of_a_budget_is_the_forks(store: RunStore) -> None:
    trainers, control = prepare(entered(store, steps=40), small_corpus()), Control()
    run_trainers(trainers, control, lambda: setattr(control, "interrupted", trainers[0].state.step > 4))
    parent = store.get(trainers[0].run.run_id)
    assert parent.status == "interrupted" and forked(store, parent, learning_rate=0.001).step == 40
    assert forked(store, trained(store)[0]).step == 24  # nothing was left: as many again


def test_what_only_kept_its_best_weights_can_be_forked(store: RunStore) -> None:
    [parent] = trained(store, "rnn")
    freed = store.trim(parent)
    parent = store.get(parent.run_id)
    assert freed > 0 and parent.trimmed and parent.spare_bytes == 0
    with pytest.raises(JobError, match="only the best weights of rnn-pets were kept; fork it"):
        reopen(parent, {"steps": 5})
    child = forked(store, parent, steps=5, learning_rate=1e-7, schedule="constant")
    assert child.step == parent.best_step + 5 and child.ancestry[0]["step"] == parent.best_step
    before, after = (
        load_file(run.folder / name) for run, name in ((parent, "best.safetensors"), (child, "last.safetensors"))
    )
    assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in before)
    assert child.best_val_loss == pytest.approx(parent.best_val_loss, abs=1e-3) and not child.trimmed


def test_a_parent_at_work_is_forked_where_it_last_saved(store: RunStore) -> None:
    trainers = prepare(entered(store, steps=40, eval_every=2), small_corpus())
    trainers[0].open()
    trainers[0].advance(5, Control())
    with pytest.raises(JobError, match="trained elsewhere"):
        store.get(trainers[0].run.run_id).hold()
    trainers[0].save()
    trainers[0].advance(12, Control())
    child = forked(store, store.get(trainers[0].run.run_id), steps=1)
    assert child.step == 6 and child.ancestry[0]["step"] == 5 and child.best_step <= 6
    assert [row["step"] for row in child.metrics()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("options", "said"),
    [({"hidden_size": 9}, "unknown setting 'hidden_size'"), ({"learning_rate": -1}, "learning_rate -1"),
     ({"seed": 1}, "unknown setting 'seed'"), ({"steps": "many"}, "steps must be a number"),
     ({"label": 3}, "label must be text")],
)  # fmt: skip
def test_what_a_fork_cannot_change(options: dict[str, Any], said: str, store: RunStore) -> None:
    [parent] = trained(store)
    with pytest.raises(ConfigError, match=said):
        fork(store, parent, options)
    assert [run.run_id for run in store.list()] == [parent.run_id]


def test_what_cannot_be_forked(store: RunStore) -> None:
    [fresh] = entered(store)
    with pytest.raises(JobError, match="has learned nothing yet that could be forked"):
        fork(store, fresh, {})
    [parent] = trained(store)
    for name in ("resume.safetensors", "resume.previous.safetensors"):
        (parent.folder / name).write_bytes(b"noise")
    with pytest.raises(CheckpointError, match=r"resume\.previous\.safetensors .*cannot be read"):
        fork(store, parent, {})
    for path in (data_dir() / "texts").iterdir():
        path.unlink()
    with pytest.raises(CorpusError, match="is no longer here"):
        fork(store, parent, {})
    assert len(store.list()) == 2


def test_a_diverged_run_says_its_mend_and_the_retry_uses_it(store: RunStore) -> None:
    [failed] = trained(
        store,
        "rnn",
        nonlinearity="relu",
        learning_rate=9.0,
        grad_clip=0,
        steps=200,
        seq_len=64,
        seed=7,
        schedule="constant",
    )
    assert failed.status == "failed" and "try a third of it (3)" in failed.message
    assert failed.fix == {"learning_rate": 3.0} and Run(failed.folder).fix == failed.fix
    run, corpus = retry(store, failed)
    assert run.train_config.learning_rate == 3.0 and run.label == "rnn-pets-retry" and run.step == 0
    assert run.ancestry == [{"run_id": failed.run_id, "label": "rnn-pets", "step": 0, "why": "retry"}]
    assert corpus.text == TEXT
    run.release()
    [fine] = trained(store)
    with pytest.raises(JobError, match="is finished; there is nothing to fix"):
        retry(store, fine)


def test_odd_mends_and_ancestries_are_nobodys_trouble(store: RunStore) -> None:
    [run] = trained(store)
    spoil(run.folder / "run.json", status="failed", mend=[1], ancestry={"a": 1})
    assert (store.get(run.run_id).fix, store.get(run.run_id).ancestry) == ({}, [])
    spoil(run.folder / "run.json", mend={"hidden_size": 3}, ancestry=["x", {"run_id": "y"}])
    odd = store.get(run.run_id)
    assert odd.ancestry == [{"run_id": "y", "label": "", "step": 0, "why": "retry"}]
    made, _ = retry(store, odd)
    assert made.train_config.batch_size == odd.train_config.batch_size
    made.release()


HUNGRY = """
import resource, sys
from pathlib import Path
import torch
from charlm.jobs.service import Jobs
from tests.tiny_runs import settings, small_corpus, store_in, wait_for
jobs = Jobs(store_in(Path(sys.argv[1])))
text = small_corpus().text * 400
big = {"hidden_size": 64, "batch_size": 256, "seq_len": 500, "steps": 3, "eval_every": 1000}
torch.ones(1) + 1
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (400 << 20),) * 2)
[run_id] = jobs.start(small_corpus(text), settings(**big), ["lstm"])
state = wait_for(lambda: (s := jobs.status(run_id))["status"] in ("failed", "finished") and s)
print(state["status"], state["message"], jobs.store.get(run_id).fix)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
@pytest.mark.slow
def test_a_training_that_really_runs_out_of_memory_says_half_the_batch(tmp_path: Path) -> None:
    environment = {"CHARLM_DATA": str(tmp_path / "data"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", HUNGRY, str(tmp_path)], cwd=Path(__file__).resolve().parents[2], timeout=patience(200),
        capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    said = done.stdout.strip()
    assert said.startswith("failed out of memory; halve batch_size (128)"), said + done.stderr
    assert said.endswith("{'batch_size': 128}")


def test_a_fork_on_another_text_begins_from_the_best_weights(store: RunStore) -> None:
    [parent] = trained(store, "gru", embed_dim=8, tie_weights=True)
    text = small_corpus(TEXT.replace("cat", "rat") + "!")
    run, corpus = fork(store, parent, {"steps": 3, "learning_rate": 1e-7, "schedule": "constant"}, text)
    assert corpus.repairs[-1].endswith("which the model does not know: '!'") and run.corpus["sha256"] == corpus.sha256
    assert run.best_val_loss is None and run.tokenizer().tokens == parent.tokenizer().tokens
    run_trainers(prepare([run], corpus, resume=True), Control())
    child = store.get(run.run_id)
    before, after = (load_file(one.folder / "best.safetensors") for one in (parent, child))
    assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in before)
    assert torch.equal(after["embed.weight"], after["fc.weight"]), "tied weights stay one"
    assert (child.step, child.ancestry[0]["step"], len(child.metrics())) == (3, parent.best_step, 3)
    again, same = fork(store, child, {"steps": 1}, corpus)
    assert same.sha256 == corpus.sha256 and again.progress["step"] == 3, "its own text: an ordinary fork"
    again.release()


def test_a_tied_model_that_was_trimmed_is_forked_as_one(store: RunStore) -> None:
    [parent] = trained(store, embed_dim=8, tie_weights=True)
    store.trim(parent)
    child = forked(store, store.get(parent.run_id), steps=2)
    weights = load_file(child.folder / "last.safetensors")
    assert torch.equal(weights["embed.weight"], weights["fc.weight"])


def test_a_fine_tuning_that_failed_is_tried_again_from_the_same_weights(store: RunStore) -> None:
    [parent] = trained(store, "rnn", nonlinearity="relu")
    hot = {"learning_rate": 9.0, "grad_clip": 0, "schedule": "constant", "steps": 200, "warmup_steps": 0}
    run, corpus = fork(store, parent, hot, small_corpus(TEXT[::-1]))
    run_trainers(prepare([run], corpus, resume=True), Control())
    again, same = retry(store, store.get(run.run_id))
    model, state = load_training(again.folder, again.model_config, again.train_config)
    weights = load_file(parent.folder / "best.safetensors")
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert (state.step, again.train_config.learning_rate, same.text) == (0, 3.0, TEXT[::-1])
    again.release()
    store.delete(parent)
    scratch, _ = retry(store, store.get(run.run_id))
    assert not has_training(scratch.folder), "its teacher is gone"
    scratch.release()


def test_a_fork_that_has_learned_nothing_has_no_text_either(store: RunStore) -> None:
    [fresh] = entered(store)
    with pytest.raises(JobError, match="has learned nothing yet"):
        fork(store, fresh, {}, small_corpus(TEXT * 2))
    fresh.release()
