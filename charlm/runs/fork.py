"""Runs made from runs: a fork goes on from another's weights, on its text or another one; a retry begins anew."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from charlm.config import ModelConfig, TrainConfig
from charlm.data.corpus import Corpus, drop_unknown
from charlm.data.dataset import corpus_cut
from charlm.errors import CheckpointError, JobError
from charlm.files import write_atomically
from charlm.models import LanguageModel, build_model
from charlm.models.ngram import NGramModel
from charlm.presets import BUDGETS, FORKABLE, RunConfig
from charlm.runs.checkpoint import check_place, has_training, load_training, save_training, weights_about
from charlm.runs.create import check_options, create_runs, extended, text_of
from charlm.runs.run import MAX_LABEL, Run
from charlm.runs.store import RunStore
from charlm.training.train import TrainState


def fork(store: RunStore, parent: Run, options: Mapping[str, Any], corpus: Corpus | None = None) -> tuple[Run, Corpus]:
    """A new run that has learned what `parent` had when it last saved, held by this process, ready to be resumed.

    Weights, optimizer, random numbers and place in the text come along. Of a shipped or imported run, or one of which
    only the best weights were kept, those come along, and the optimizer begins anew; so it does on another text, where
    steps and losses are counted from the beginning. An n-gram counts another text on top of its own.

    Args:
        store: where the new run goes.
        parent: may be at work.
        options: settings of FORKABLE; steps, epochs and minutes are what to add. Without those, what the parent still
            had before it, or as many steps again.
        corpus: another text to go on with; what the parent's tokenizer does not know is left out of it.

    Raises:
        ConfigError: an option that may not change, or a value out of range.
        JobError: the parent has learned nothing yet, or is an n-gram that has nothing more to learn.
        CorpusError: its text is no longer at hand, or the other one has too little that it knows.
        CheckpointError: its weights are damaged, or the new folder cannot be written.
    """
    check_options(parent, options, FORKABLE)
    if corpus is not None and corpus.sha256 != parent.corpus.get("sha256"):
        return _fine_tuned(store, parent, options, drop_unknown(corpus, parent.tokenizer()))
    corpus = text_of(parent, corpus)
    model, state = _learned(parent, corpus)
    if isinstance(model, NGramModel) and int(model.seen) == model.config.counted:
        raise JobError(
            f"{parent.label} has counted its whole text, a fork would be the same; fork it on another text, which it "
            "counts on top, or train a new one of another order"
        )
    config = replace(parent.train_config, **_settings(parent, state, options))
    run = _descend(store, parent, corpus, config, state.step)
    with _whole(store, parent, run):
        _hand_over(parent, run, model, state)
    return run, corpus


def _fine_tuned(store: RunStore, parent: Run, options: Mapping[str, Any], corpus: Corpus) -> tuple[Run, Corpus]:
    """The fork on another text: the parent's best weights, and everything else from the beginning."""
    model = _best(parent)
    if isinstance(model, NGramModel):
        cut, _ = corpus_cut(corpus, parent.tokenizer(), parent.train_config, parent.corpus_config)
        model.grow(cut.train)
    state = TrainState.start(model, parent.train_config)
    config = replace(parent.train_config, **_settings(parent, state, options))
    run = _descend(store, parent, corpus, config, parent.best_step, model.config)
    with _whole(store, parent, run):
        save_training(run.folder, model, state)
    return run, corpus


@contextmanager
def _whole(store: RunStore, parent: Run, run: Run) -> Iterator[None]:
    """A new run gets all it begins with, or is gone."""
    try:
        yield
    except (OSError, CheckpointError) as error:
        store.discard(run)
        raise CheckpointError(
            f"{parent.label} cannot be forked: {getattr(error, 'strerror', None) or error}"
        ) from error


def retry(store: RunStore, failed: Run) -> tuple[Run, Corpus]:
    """A new run with the settings of a failed one and the mend for its failure, held by this process.

    It begins from nothing, or where the failed one was another run led on to another text, from that one's weights.

    Raises:
        JobError: it has not failed, or nothing is known that would mend it.
        CorpusError: its text is no longer at hand.
    """
    if not failed.mend:
        raise JobError(f"{failed.label} is {failed.status}; there is nothing to mend")
    corpus = text_of(failed)
    config = replace(mended(failed), label=_label(failed, "", "retry"))
    run, teacher = _descend(store, failed, corpus, config), _teacher(store, failed)
    if teacher is not None:
        with _whole(store, failed, run):
            model = _best(teacher)
            if isinstance(model, NGramModel):
                model.grow(run.model_config.counted - int(model.seen))
            save_training(run.folder, model, TrainState.start(model, config))
    return run, corpus


def _teacher(store: RunStore, run: Run) -> Run | None:
    """The run of another text whose weights this one began with, if it is still here."""
    link = next((one for one in run.ancestry if one.get("why") == "fork"), None)
    with suppress(CheckpointError):
        parent = store.get(str(link["run_id"])) if link else None
        return parent if parent and parent.corpus.get("sha256") != run.corpus.get("sha256") else None
    return None


def mended(failed: Run) -> TrainConfig:
    """The settings of a failed run with what mends them.

    Raises:
        ConfigError: a value out of range.
    """
    known = {name: value for name, value in failed.mend.items() if name in TrainConfig.names()}
    return replace(failed.train_config, **known)


def _descend(
    store: RunStore,
    parent: Run,
    corpus: Corpus,
    config: TrainConfig,
    step: int | None = None,
    model: ModelConfig | None = None,
) -> Run:
    """A new run after `parent`, with other settings: a fork at a step, or a retry from the beginning."""
    link = {
        "run_id": parent.run_id,
        "label": parent.label,
        "step": step or 0,
        "why": "retry" if step is None else "fork",
    }
    run_config = RunConfig(model or parent.model_config, config, parent.corpus_config, parent.preset)
    [run] = create_runs(store, corpus, run_config, [parent.arch], [link, *parent.ancestry], parent.tokenizer())
    return run


def _learned(parent: Run, corpus: Corpus) -> tuple[LanguageModel, TrainState]:
    """What the parent had learned when it last saved."""
    cut, _ = corpus_cut(corpus, parent.tokenizer(), parent.train_config, parent.corpus_config)
    if has_training(parent.folder):
        model, state = load_training(parent.folder, parent.model_config, parent.train_config)
        check_place(state, cut.batch_size, cut.steps_per_epoch)
        return model, state
    model = _best(parent)
    state = TrainState.start(model, parent.train_config)
    state.step = state.validated_step = state.best_step = parent.best_step
    state.best_val_loss = math.inf if parent.best_val_loss is None else parent.best_val_loss
    state.epoch, state.batch = divmod(state.step, cut.steps_per_epoch)
    seconds = (row.get("seconds") for row in reversed(parent.metrics()) if row["step"] <= state.step)
    state.seconds = next(filter(None, seconds), parent.seconds)
    return model, state


def _best(parent: Run) -> LanguageModel:
    """A model to be trained on, with the parent's best weights."""
    if not parent.has_learned:
        raise JobError(f"{parent.label} has learned nothing yet that could be forked; wait for its first validation")
    model = build_model(parent.model_config, parent.train_config.seed)
    model.load_state_dict(parent.load_model().state_dict())  # copied: tied weights stay one
    model.generator.manual_seed(parent.train_config.seed)
    return model


def _settings(parent: Run, state: TrainState, options: Mapping[str, Any]) -> dict[str, Any]:
    """What of the parent's settings changes; the budget counts from the parent's beginning."""
    budget = {name: value for name, value in options.items() if name in BUDGETS and value}
    if not budget and (parent.train_config.steps or math.inf) <= state.step:
        budget = {"steps": max(1, state.step)}
    done = {"steps": state.step, "epochs": parent.epoch if state.step else 0.0, "minutes": state.seconds / 60.0}
    changed = {name: value for name, value in options.items() if name not in BUDGETS}
    changed |= extended(done, budget)
    return changed | {"label": _label(parent, str(options.get("label") or ""), "fork")}


def _label(parent: Run, wanted: str, word: str) -> str:
    return wanted or f"{parent.label[: MAX_LABEL - 1 - len(word)].removesuffix('-' + word)}-{word}"


def _hand_over(parent: Run, run: Run, model: LanguageModel, state: TrainState) -> None:
    """Write into the new run what it begins with: state, best weights, and the log up to there."""
    save_training(run.folder, model, state)
    best = parent.folder / "best.safetensors"
    about = weights_about(best)
    progress: dict[str, Any] = {"step": state.step, "seconds": state.seconds, "epoch": parent.epoch}
    if about.get("step", math.inf) <= state.step:  # a parent at work may be further than what it last saved
        write_atomically(run.folder / best.name, best.read_bytes())
        progress |= {"best_val_loss": parent.best_val_loss, "best_step": parent.best_step}
    for log, rows in ((run.log, parent.metrics()), (run.sample_log, parent.samples())):
        log.write(row for row in rows if row["step"] <= state.step)
    run.update(progress)
