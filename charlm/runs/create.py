"""From a text and settings to run folders that are ready to train."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from charlm.config import LEVEL_NAMES, ModelConfig
from charlm.data.batches import Cut, Sizes
from charlm.data.catalog import data_dir
from charlm.data.corpus import Corpus
from charlm.data.dataset import check_vocabulary, corpus_cut, tokenizer_for
from charlm.data.text_store import remember
from charlm.errors import CheckpointError, ConfigError
from charlm.presets import RunConfig
from charlm.runs.run import MAX_LABEL, Run, clean_label
from charlm.runs.store import RunStore
from charlm.tokenizers import Tokenizer
from charlm.training.device import check_device
from charlm.training.estimate import check_memory, count_parameters
from charlm.training.racers import racers

# Characters of a text up to which it is searched for what occurs late.
MOST_LOOKED_AT = 1 << 23
MOST_HELD_OUT = 0.5  # of a text that is given a test part


def create_runs(
    store: RunStore,
    corpus: Corpus,
    config: RunConfig,
    archs: Sequence[str],
    ancestry: Sequence[Mapping[str, Any]] = (),
    tokenizer: Tokenizer | None = None,
    looks: Sequence[int] = (),
) -> list[Run]:
    """Make the run folders of a training, one for each architecture and seed, after checking that it can work.

    Args:
        store: where they go.
        corpus: the text; it is remembered, so that the runs can be resumed.
        config: settings; `config.model.arch` is replaced by each of `archs`.
        archs: distinct names of architectures.
        ancestry: the runs they descend from, see `Run.ancestry`.
        tokenizer: of the weights they will begin with, knows all of the text; None: that of the text.
        looks: seeds after which an experiment may stop early; empty: it may not.

    Raises:
        ConfigError, CorpusError: a setting, the text or the memory does not allow it.
    """
    if not archs or any(arch in archs[:place] for place, arch in enumerate(archs)):
        raise ConfigError(f"choose one or more different architectures, not {', '.join(map(str, archs)) or 'none'}")
    if not ancestry:  # one that descends from a run goes on with its device, or without, as a resumed one
        check_device(config.train)
    if config.race.seeds > 1:
        config = with_test_part(config, corpus)
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
    trainings = racers(config, archs, tokenizer.vocab_size, cut)
    for one in trainings:
        check_memory(*one.fitted(cut), trainers=len(trainings))
    remember(corpus, data_dir())
    group = secrets.token_hex(5) if len(trainings) > 1 else ""
    facts = corpus_facts(corpus, tokenizer, cut, sizes)
    runs: list[Run] = []
    try:
        for model, train in trainings:
            label = _label(corpus, config, model, bool(group))
            if config.race.seeds > 1:
                label = _ending(label, f"seed-{train.seed}")
            about = describe(replace(config, train=train), model, label) | facts
            about |= {"group": group, "ancestry": list(ancestry), "message": "; ".join(cut.notes)}
            about |= {"looks": list(looks)} if looks else {}
            runs.append(store.create(about, tokenizer))
    except CheckpointError:
        for run in runs:  # a race begins whole or not at all
            store.discard(run)
        raise
    return runs


def with_test_part(config: RunConfig, corpus: Corpus) -> RunConfig:
    """Settings with a test part as large as the validation part: claims need text that nothing was chosen on.

    Unchanged where settings or text say what is held out, or where that would be too much.
    """
    share = config.corpus.val_fraction
    if corpus.held_out or "test_fraction" in config.given or 2 * share > MOST_HELD_OUT:
        return config
    return replace(config, corpus=replace(config.corpus, test_fraction=share))


def describe(config: RunConfig, model: ModelConfig, label: str) -> dict[str, Any]:
    """The part of run.json that the settings decide; here a learning_rate of 0 becomes the number that is used.

    Args:
        config: all settings; `config.model` may name another architecture.
        model: of the run, with its vocabulary size.
        label: cut to MAX_LABEL characters.
    """
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
    """How many distinct characters of text[start:end] do not occur before it; 0 where that would take long to find.

    Args:
        text: the whole text.
        tokenizer: of characters; knows all of them.
        start, end: places in the text, in characters.
    """
    if len(text) > MOST_LOOKED_AT:
        return 0
    return sum(start <= text.find(sign) < end for sign in tokenizer.decode(range(tokenizer.vocab_size)))


def _label(corpus: Corpus, config: RunConfig, model: ModelConfig, is_race: bool) -> str:
    """The label that was wanted, in a race with the architecture; else made from architecture and text."""
    label = clean_label(config.train.label)
    if not label:
        slug = re.sub(r"\W+", "-", corpus.name.rsplit(".", 1)[0]).strip("-").lower()
        level = "" if model.level == "char" else f"{LEVEL_NAMES[model.level]}-"
        return f"{model.arch}-{level}{corpus.key or slug}"
    return _ending(label, model.arch) if is_race else label


def _ending(label: str, end: str) -> str:
    """A label that ends so, cut to its maximum before that."""
    return f"{label[: MAX_LABEL - 1 - len(end)]}-{end}"
