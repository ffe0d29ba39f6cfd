"""Runs that continue: resumed from their own saved state, forked from another run's, or retried after a failure."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from charlm.config import ModelConfig, TrainConfig, reject_unknown
from charlm.data.batches import Cut
from charlm.data.catalog import data_dir
from charlm.data.corpus import Corpus, drop_unknown
from charlm.data.dataset import character_sizes, corpus_cut, cut_of
from charlm.data.text_store import is_changed, recall, remember
from charlm.errors import CharLMError, CheckpointError, ConfigError, CorpusError, JobError
from charlm.files import write_atomically
from charlm.models import LanguageModel, build_model
from charlm.models.ngram import NGramModel
from charlm.presets import BUDGETS, FORKABLE, RESUMABLE, RunConfig
from charlm.runs.checkpoint import check_place, has_training, load_training, save_training, weights_about
from charlm.runs.create import create_runs
from charlm.runs.rates import rate_at
from charlm.runs.run import ACTIVE, MAX_LABEL, Run
from charlm.runs.store import RunStore
from charlm.tokenizers import CharTokenizer, Tokenizer
from charlm.training.estimate import check_memory
from charlm.training.train import TrainState


def reopen(run: Run, options: Mapping[str, Any], corpus: Corpus | None = None) -> Corpus:
    """Make an ended run ready to continue, held by this process; returns its text.

    Args:
        run: stopped, interrupted, failed or finished.
        options: steps, epochs or minutes to add, and other settings of RESUMABLE to change. Another learning_rate is
            recorded as a change at the step that it goes on from, see charlm/runs/rates.py.
        corpus: its text, if that is given again; it must be the very same.

    Raises:
        ConfigError: an option that may not change, a value out of range, or too little memory for it here.
        JobError: it runs already, cannot continue, or its budget is used up and none is given.
        CorpusError: its text is no longer at hand, or another one.
    """
    check_options(run, options, RESUMABLE)
    if run.shipped:
        raise JobError(f"{run.label} came with the app and is read-only; fork it, or train a run of your own")
    if run.status in ACTIVE:
        raise JobError(f"{run.label} is {run.status} already")
    if run.trimmed:
        raise JobError(f"only the best weights of {run.label} were kept; fork it to go on from them")
    if run.status == "finished" and run.model_config.is_counted:
        raise JobError(f"{run.label} has counted its whole text, there is nothing more to count; train a new one")
    if run.status == "finished" and not any(options.get(name) for name in BUDGETS):
        raise JobError(f"{run.label} has finished its {run.step:,} steps; say how many more, for example steps 500")
    corpus = text_of(run, corpus)
    changed = extended(_done(run), options)
    wanted = _new_rate(run, changed.pop("learning_rate", None))
    config = replace(run.train_config, **changed)
    cut = _cut(run, corpus, config)
    check_memory(run.model_config, replace(config, batch_size=cut.batch_size, seq_len=cut.seq_len))
    run.hold()
    try:
        run.update(status="queued", message="", mend={}, left_alone=False, train=config.to_dict(), **wanted)
    except CheckpointError:
        run.release()
        raise
    run.train_config = config
    return corpus


def reopen_all(runs: Sequence[Run], options: Mapping[str, Any], corpus: Corpus | None = None) -> Corpus:
    """The same for runs of one text, one or more: all of them or none."""
    held = list[Run]()
    try:
        for run in runs:
            corpus = reopen(run, options, corpus)
            held.append(run)
    except CharLMError:
        for run in held:
            run.update(status="interrupted")
            run.release()
        raise
    assert corpus is not None
    return corpus


def _new_rate(run: Run, rate: float | None) -> dict[str, Any]:
    """What run.json then holds for a run that is to go on with another learning rate; 0: the one that suits it."""
    if rate is None or run.model_config.is_counted:
        return {}
    config = replace(run.train_config, learning_rate=rate).resolve(run.model_config, run.total_steps)
    return {"wanted_rate": {"to": config.learning_rate, "race": False}}


def _cut(run: Run, corpus: Corpus, config: TrainConfig) -> Cut:
    """How a run's text is cut; characters are counted without its tokenizer."""
    if run.level == "char" and not run.corpus_config.is_list:
        sizes = character_sizes(len(corpus.text), run.corpus_config, corpus.held_out)
        return cut_of(sizes, config, run.corpus_config)
    return corpus_cut(corpus, run.tokenizer(), config, run.corpus_config)[0]


def check_options(run: Run, options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse settings that may not change when a run continues, and values out of range.

    Args:
        run: that is to continue.
        options: settings by name.
        known: the names that may change.

    Raises:
        ConfigError: names the setting, the value and the range.
    """
    reject_unknown(options, known)
    replace(run.train_config, **{name: value for name, value in options.items() if value or name not in BUDGETS})


def text_of(run: Run, given: Corpus | None = None) -> Corpus:
    """The text that a run was trained on, to its last character.

    Args:
        run: names it by its sha256.
        given: to be used if it is that text; None: the one that was kept.

    Raises:
        CorpusError: it is no longer at hand, or another one.
    """
    if not run.corpus:
        raise CorpusError(f"{run.label} was imported without a text; name the one it is to go on with: fork it on that")
    sha256, name = str(run.corpus.get("sha256")), run.corpus.get("name")
    way_out = "give that very text, or train a new run on the other one"
    if given is not None:
        if given.sha256 != sha256:
            raise CorpusError(
                f"{given.name} is not the text of {run.label}: its sha256 begins with {given.sha256[:12]}, "
                f"that of {name} with {sha256[:12]}; {way_out}"
            )
        remember(given, data_dir())
        return replace(given, held_out=run.held_out)
    corpus = recall(sha256, data_dir())
    if corpus is None and is_changed(sha256, data_dir()):
        raise CorpusError(
            f"the kept text of {run.label} ({name}) was changed: its sha256 is not {sha256[:12]}.. any more; {way_out}"
        )
    if corpus is None:
        raise CorpusError(
            f"the text of {run.label} ({name}) is no longer here, and resuming needs the very same; "
            "give it again (--corpus, or the Corpus tab), or train a new run"
        )
    return replace(corpus, held_out=run.held_out)


def extended(done: Mapping[str, float], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the budget counted from a run's beginning, as TrainConfig counts it.

    Args:
        done: steps, epochs and minutes that were trained.
        options: settings; of the budgets, what to add.
    """
    changed = dict(options)
    if any(changed.get(name) for name in BUDGETS):
        changed |= {name: (done[name] + changed[name] if changed.get(name) else 0) for name in BUDGETS}
    return changed


def _done(run: Run) -> dict[str, float]:
    return {"steps": run.step, "epochs": run.epoch, "minutes": run.seconds / 60.0}


def fork(store: RunStore, parent: Run, options: Mapping[str, Any], corpus: Corpus | None = None) -> tuple[Run, Corpus]:
    """A new run with the state that `parent` last saved, held by this process, ready to be resumed.

    Weights, optimizer, random numbers and place in the text come along. Of a shipped or imported run, or one of which
    only the best weights were kept, those come along, and the optimizer starts fresh; so it does on another text, where
    steps and losses are counted from the beginning. An n-gram counts another text on top of its own.

    Args:
        store: where the new run goes.
        parent: may be at work.
        options: settings of FORKABLE; steps, epochs and minutes are what to add. Without those, what the parent still
            had before it, or as many steps again. And `grow`: whether the fork learns the characters of another text
            that its parent does not know; its ids stay as they are.
        corpus: another text to continue on; what the parent's tokenizer does not know is left out of it, unless the
            fork grows.

    Raises:
        ConfigError: an option that may not change, a value out of range, or a parent that cannot grow.
        JobError: the parent has no trained weights yet, or is an n-gram that has nothing more to count.
        CorpusError: its text is no longer at hand, or the other one has too little that it knows.
        CheckpointError: its weights are damaged, or the new folder cannot be written.
    """
    options, grow = {name: value for name, value in options.items() if name != "grow"}, options.get("grow", False)
    check_options(parent, options, FORKABLE)
    if not isinstance(grow, bool):
        raise ConfigError(f"grow must be true or false, not {str(grow)[:20]!r}")
    if corpus is not None and corpus.sha256 != parent.corpus.get("sha256"):
        tokenizer = grown_tokenizer(parent, corpus) if grow else parent.tokenizer()
        return _fine_tuned(store, parent, options, drop_unknown(corpus, tokenizer), tokenizer)
    if grow:
        raise ConfigError(f"{parent.label} can grow only on another text; name one, or leave grow out")
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


def grown_tokenizer(parent: Run, corpus: Corpus) -> Tokenizer:
    """The tokenizer of a run with the characters of a text that it does not know, if there are such.

    Raises:
        ConfigError: the run reads words or subwords, or is an n-gram.
    """
    tokenizer = parent.tokenizer()
    if not isinstance(tokenizer, CharTokenizer) or parent.model_config.is_counted:
        what = "an n-gram, whose counts" if parent.model_config.is_counted else "a model of words or subwords, which"
        raise ConfigError(f"{parent.label} is {what} cannot take in new characters; leave grow out, or train a new one")
    unknown = tokenizer.unknown(corpus.text)
    return tokenizer.grown(unknown) if unknown else tokenizer


def _grown(model: LanguageModel, vocab_size: int, seed: int) -> LanguageModel:
    """The model with so many tokens: what is new to it begins as in a new model, all else is as it was."""
    if vocab_size == model.config.vocab_size:
        return model
    larger = build_model(replace(model.config, vocab_size=vocab_size), seed)
    state = larger.state_dict()
    for name, old in model.state_dict().items():
        state[name][tuple(map(slice, old.shape))] = old  # in place, in the larger model itself
    larger.generator.set_state(model.generator.get_state())
    return larger


def _fine_tuned(
    store: RunStore, parent: Run, options: Mapping[str, Any], corpus: Corpus, tokenizer: Tokenizer
) -> tuple[Run, Corpus]:
    """The fork on another text: the parent's best weights, and everything else from the beginning."""
    model = _grown(_best(parent), tokenizer.vocab_size, parent.train_config.seed)
    if isinstance(model, NGramModel):
        cut, _ = corpus_cut(corpus, parent.tokenizer(), parent.train_config, parent.corpus_config)
        model.grow(cut.train)
    state = TrainState.start(model, parent.train_config)
    config = replace(parent.train_config, **_settings(parent, state, options))
    run = _descend(store, parent, corpus, config, parent.best_step, model.config, tokenizer)
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
    """A new run with the settings of a failed one and the fix for its failure, held by this process.

    It starts from scratch, or with the weights of the run that the failed one had been forked from on another text.

    Raises:
        JobError: it has not failed, or no fix is known.
        CorpusError: its text is no longer at hand.
    """
    if not failed.fix:
        raise JobError(f"{failed.label} is {failed.status}; there is nothing to fix")
    corpus = text_of(failed)
    config = replace(fixed(failed), label=_label(failed, "", "retry"))
    run, origin = _descend(store, failed, corpus, config), _origin(store, failed)
    if origin is not None:
        with _whole(store, failed, run):
            model = _grown(_best(origin), run.model_config.vocab_size, config.seed)
            if isinstance(model, NGramModel):
                model.grow(run.model_config.counted - int(model.seen))
            save_training(run.folder, model, TrainState.start(model, config))
    return run, corpus


def _origin(store: RunStore, run: Run) -> Run | None:
    """The run of another text whose weights this one began with, if it is still here."""
    link = next((one for one in run.ancestry if one.get("why") == "fork"), None)
    with suppress(CheckpointError):
        parent = store.get(str(link["run_id"])) if link else None
        return parent if parent and parent.corpus.get("sha256") != run.corpus.get("sha256") else None
    return None


def fixed(failed: Run) -> TrainConfig:
    """The settings of a failed run with the fix for its failure.

    Raises:
        ConfigError: a value out of range.
    """
    known = {name: value for name, value in failed.fix.items() if name in TrainConfig.names()}
    return replace(failed.train_config, **known)


def _descend(
    store: RunStore,
    parent: Run,
    corpus: Corpus,
    config: TrainConfig,
    step: int | None = None,
    model: ModelConfig | None = None,
    tokenizer: Tokenizer | None = None,
) -> Run:
    """A new run after `parent`, with other settings: a fork at a step, or a retry from the beginning."""
    link = {
        "run_id": parent.run_id,
        "label": parent.label,
        "step": step or 0,
        "why": "retry" if step is None else "fork",
    }
    run_config = RunConfig(model or parent.model_config, config, parent.corpus_config, parent.preset)
    [run] = create_runs(
        store, corpus, run_config, [parent.arch], [link, *parent.ancestry], tokenizer or parent.tokenizer()
    )
    return run


def _learned(parent: Run, corpus: Corpus) -> tuple[LanguageModel, TrainState]:
    """The model and the training state that the parent last saved."""
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
    changed: dict[str, Any] = {"learning_rate": rate_at(parent, state.step)}
    changed |= {name: value for name, value in options.items() if name not in BUDGETS}
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
    for name in ("log", "sample_log", "block_log", "gradient_log"):
        getattr(run, name).write(row for row in getattr(parent, name).rows() if row["step"] <= state.step)
    run.update(progress)
