"""From a text and settings to run folders that are ready to train, and from ended runs back to that."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from charlm.config import LEVEL_NAMES, ModelConfig, TrainConfig, reject_unknown
from charlm.data.catalog import data_dir
from charlm.data.corpus import Corpus
from charlm.data.dataset import Cut, Sizes, character_sizes, check_vocabulary, corpus_cut, cut_of, tokenizer_for
from charlm.data.text_store import is_changed, recall, remember
from charlm.errors import CheckpointError, ConfigError, CorpusError, JobError
from charlm.presets import BUDGETS, RESUMABLE, RunConfig
from charlm.runs.run import ACTIVE, MAX_LABEL, Run, clean_label
from charlm.runs.store import RunStore
from charlm.tokenizers import Tokenizer
from charlm.training.device import device_for
from charlm.training.estimate import check_memory, count_parameters

# Characters of a text up to which it is looked through for what occurs late.
MOST_LOOKED_AT = 1 << 23


def create_runs(
    store: RunStore,
    corpus: Corpus,
    config: RunConfig,
    archs: Sequence[str],
    ancestry: Sequence[Mapping[str, Any]] = (),
    tokenizer: Tokenizer | None = None,
) -> list[Run]:
    """Make the run folders of a training, one for each architecture, after checking that it can work.

    Args:
        store: where they go.
        corpus: the text; it is remembered, so that the runs can be resumed.
        config: settings; `config.model.arch` is replaced by each of `archs`.
        archs: distinct names of architectures.
        ancestry: the runs they descend from, see `Run.ancestry`.
        tokenizer: of the weights they will begin with, knows all of the text; None: that of the text.

    Raises:
        ConfigError, CorpusError: a setting, the text or the memory does not allow it.
    """
    if not archs or any(arch in archs[:place] for place, arch in enumerate(archs)):
        raise ConfigError(f"choose one or more different architectures, not {', '.join(map(str, archs)) or 'none'}")
    device_for(config.train.device)
    if tokenizer is None:
        tokenizer = tokenizer_for(corpus, config.model, config.corpus)
    else:
        check_vocabulary(tokenizer, config.model)
    cut, sizes = corpus_cut(corpus, tokenizer, config.train, config.corpus)
    if not ancestry and config.model.counted not in (0, cut.train):
        raise ConfigError(
            f"counted {config.model.counted:,} does not fit: an n-gram of this text counts {cut.train:,} tokens; leave "
            "it 0"
        )
    models = [config.model.resolve_for(arch, tokenizer.vocab_size, cut.train, cut.seq_len) for arch in archs]
    fitted = replace(config.train, batch_size=cut.batch_size, seq_len=cut.seq_len)
    for model in models:
        check_memory(model, fitted, trainers=len(models))
    remember(corpus, data_dir())
    group = secrets.token_hex(5) if len(archs) > 1 else ""
    facts = corpus_facts(corpus, tokenizer, cut, sizes)
    runs: list[Run] = []
    try:
        for model in models:
            about = describe(config, model, _label(corpus, config, model, group)) | facts
            about |= {"group": group, "ancestry": list(ancestry), "message": "; ".join(cut.notes)}
            runs.append(store.create(about, tokenizer))
    except CheckpointError:
        for run in runs:  # a race begins whole or not at all
            store.discard(run)
        raise
    return runs


def describe(config: RunConfig, model: ModelConfig, label: str) -> dict[str, Any]:
    """The part of run.json that settings decide."""
    return {
        "label": label[:MAX_LABEL],
        "preset": config.preset,
        "model": model.to_dict(),
        "train": config.train.resolve(model).to_dict(),
        "corpus_config": config.corpus.to_dict(),
        "num_parameters": count_parameters(model),
    }


def corpus_facts(corpus: Corpus, tokenizer: Tokenizer, cut: Cut, sizes: Sizes) -> dict[str, Any]:
    """The part of run.json that says which text it is about, and how much of it.

    Args:
        corpus: the text.
        tokenizer: what it is read with.
        cut: its parts in tokens.
        sizes: its parts in characters.
    """
    train, val, test = sizes
    counts = {"characters": len(corpus.text), "distinct": tokenizer.vocab_size}
    counts |= {"train_chars": train, "val_chars": val or train, "test_chars": test}
    counts |= {"train_tokens": cut.train, "val_tokens": cut.val or cut.train, "test_tokens": cut.test}
    if tokenizer.level == "char" and val:
        counts["val_unseen"] = unseen(corpus.text, tokenizer, train, train + val)
    if tokenizer.unk_id is not None:
        start = train if val else 0
        blocks = tokenizer.encode_blocks(corpus.text, start=start, end=train + val)
        counts["val_unknown"] = sum(int((block == tokenizer.unk_id).sum()) for block in blocks)
    own = {"held_out": list(corpus.held_out)} if corpus.held_out else {}
    return {"corpus": {"name": corpus.name, "key": corpus.key, "sha256": corpus.sha256, **counts, **own}}


def unseen(text: str, tokenizer: Tokenizer, start: int, end: int) -> int:
    """How many distinct characters of text[start:end] do not occur before it; 0 where that would take long to find."""
    if len(text) > MOST_LOOKED_AT:
        return 0
    return sum(start <= text.find(sign) < end for sign in tokenizer.decode(range(tokenizer.vocab_size)))


def _label(corpus: Corpus, config: RunConfig, model: ModelConfig, group: str) -> str:
    """The label that was wanted, in a race with the architecture; else made from architecture and text."""
    label = clean_label(config.train.label)
    if not label:
        slug = re.sub(r"\W+", "-", corpus.name.rsplit(".", 1)[0]).strip("-").lower()
        level = "" if model.level == "char" else f"{LEVEL_NAMES[model.level]}-"
        return f"{model.arch}-{level}{corpus.key or slug}"
    return f"{label[: MAX_LABEL - 1 - len(model.arch)]}-{model.arch}" if group else label


def reopen(run: Run, options: Mapping[str, Any], corpus: Corpus | None = None) -> Corpus:
    """Make an ended run ready to go on, held by this process; returns its text.

    Args:
        run: stopped, interrupted, failed or finished.
        options: steps, epochs or minutes to add, and other settings of RESUMABLE to change.
        corpus: its text, if that is given anew; it must be the very same.

    Raises:
        ConfigError: an option that may not change, a value out of range, or too little memory for it here.
        JobError: it runs already, cannot go on, or its budget is used up and none is given.
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
    config = replace(run.train_config, **extended(_done(run), options))
    cut = _cut(run, corpus, config)
    check_memory(run.model_config, replace(config, batch_size=cut.batch_size, seq_len=cut.seq_len))
    run.hold()
    try:
        run.update(status="queued", message="", mend={}, left_alone=False, train=config.to_dict())
    except CheckpointError:
        run.release()
        raise
    run.train_config = config
    return corpus


def _cut(run: Run, corpus: Corpus, config: TrainConfig) -> Cut:
    """How a run's text is cut; characters are counted without its tokenizer."""
    if run.level == "char":
        sizes = character_sizes(len(corpus.text), run.corpus_config, corpus.held_out)
        return cut_of(sizes, config, run.corpus_config)
    return corpus_cut(corpus, run.tokenizer(), config, run.corpus_config)[0]


def check_options(run: Run, options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse what may not change when a run goes on, and values that are none.

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
            "load it again in the Corpus tab, or train a new run"
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
