"""What CORPUS means on the command line, and which part of a text is scored."""

import sys
from pathlib import Path
from typing import Any

from charlm.config import CorpusConfig
from charlm.corpus import Corpus, read_corpus, read_corpus_file
from charlm.dataset import MIN_HELD_OUT, split_sizes
from charlm.errors import CorpusError


def open_corpus(token: str, config: CorpusConfig) -> Corpus:
    """The text that CORPUS names: `-` for standard input, a file, or an entry of the catalog.

    Raises:
        CorpusError: nothing of that name, or no readable text in it.
    """
    from charlm import catalog

    path = Path(token)
    if token == "-":
        return read_corpus(sys.stdin.buffer.read(), "standard input", config)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return read_corpus_file(path, config)
    try:
        entry = catalog.find_entry(token)
    except CorpusError as error:
        raise CorpusError(f"there is no file {token!r}, and {error}") from None
    return catalog.load_corpus(entry.key, config)


def text_of(run: Any, token: str) -> str:
    """The text to score a run on, cleaned as the run's own was: the one that CORPUS names, or the run's own if empty.

    Raises:
        CorpusError: the run's own text is not on this machine any more.
    """
    from charlm import catalog

    if token:
        return open_corpus(token, run.corpus_config).text
    own = catalog.recall(run.corpus["sha256"], catalog.data_dir())
    if own is None:
        raise CorpusError(
            f"the text of {run.label} ({run.corpus['name']}) is not on this machine; name it with --corpus FILE"
        )
    return own.text


def part_of(text: str, split: str, config: CorpusConfig) -> str:
    """The part of a text that `val`, `test` or `all` names, cut as a training would cut it."""
    train, val, test = split_sizes(len(text), config.val_fraction, config.test_fraction)
    if split == "all":
        return text
    if split == "test":
        if not test:
            raise CorpusError(f"test_fraction is {config.test_fraction}: this run has no test tail; use --split val")
        return text[len(text) - test :]
    if val < MIN_HELD_OUT:
        return text[: train + val]  # as in training: too short to hold anything out
    return text[train : train + val]
