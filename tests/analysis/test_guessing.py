"""What compressing costs: what the held-out text adds to the training text."""

import gzip
import lzma

import pytest

from charlm.analysis.baselines import compression_costs
from charlm.config import CorpusConfig
from charlm.data import catalog
from charlm.errors import CorpusError


def test_nothing_held_out_is_refused() -> None:
    with pytest.raises(CorpusError, match="nothing is held out"):
        compression_costs("abc", "")


def test_compressors_cost_what_the_held_out_text_adds() -> None:
    train, held_out = "to be or not to be, " * 30, "that is the question"
    costs = compression_costs(train, held_out)
    for name, pack in (("gzip", gzip.compress), ("xz", lzma.compress)):
        added = len(pack((train + held_out).encode())) - len(pack(train.encode()))
        assert costs[name] == added * 8 / len(held_out)


def test_sherlock_costs_what_english_does() -> None:
    text = catalog.load_corpus("sherlock", CorpusConfig()).text
    cut = len(text) * 9 // 10
    costs = compression_costs(text[:cut], text[cut:])
    assert 2.1 < costs["xz"] < costs["gzip"] < 3.5
