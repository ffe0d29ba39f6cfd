"""From a text and settings to run folders that are ready to train."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from charlm.config import LEVEL_NAMES, ModelConfig
from charlm.data.catalog import data_dir
from charlm.data.corpus import Corpus
from charlm.data.dataset import Cut, Sizes, check_vocabulary, corpus_cut, tokenizer_for
from charlm.data.text_store import remember
from charlm.errors import CheckpointError, ConfigError
from charlm.presets import RunConfig
from charlm.runs.run import MAX_LABEL, Run, clean_label
from charlm.runs.store import RunStore
from charlm.tokenizers import Tokenizer
from charlm.training.device import device_for
from charlm.training.estimate import check_memory, count_parameters

# Characters of a text up to which it is searched for what occurs late.
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


def _label(corpus: Corpus, config: RunConfig, model: ModelConfig, group: str) -> str:
    """The label that was wanted, in a race with the architecture; else made from architecture and text."""
    label = clean_label(config.train.label)
    if not label:
        slug = re.sub(r"\W+", "-", corpus.name.rsplit(".", 1)[0]).strip("-").lower()
        level = "" if model.level == "char" else f"{LEVEL_NAMES[model.level]}-"
        return f"{model.arch}-{level}{corpus.key or slug}"
    return f"{label[: MAX_LABEL - 1 - len(model.arch)]}-{model.arch}" if group else label
