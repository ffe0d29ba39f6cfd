"""The Corpus tab's HTML: bars of runs, characters made visible, layers that add up."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from charlm.analysis.baselines import Baselines
from charlm.analysis.figures import arch_colour
from charlm.analysis.ppmd import Ppmd
from charlm.architectures import ARCH_NAMES
from charlm.config import CorpusConfig, ModelConfig
from charlm.data.own_texts import OwnTexts, pasted_text
from charlm.tokenizers.characters import called, visible, visible_line
from charlm.training.estimate import shape_of
from charlm.ui.corpus import view
from charlm.ui.corpus.reading import Reading, Readings, best_runs
from charlm.ui.corpus.tab import NAMES, bring
from tests.tiny_runs import TRAINED
from tests.ui.shown_runs import FakeRun

COSTS = Baselines(uniform=3.0, gzip=2.0, xz=0.4, orders=(1.0, 0.6, 0.3, 0.31), tokens_per_char=1.0, whole=True)
STORY = "A fox met a hen.\n\tThe hen ran home; the fox sat down & sang. " * 40


def reading_of(text: str, **options: Any) -> Reading:
    """A text read as the tab reads a pasted one."""
    values = CorpusConfig().to_dict() | ModelConfig().to_dict() | options
    return Readings().read(*bring(pasted_text(text), {name: values[name] for name in NAMES}, OwnTexts()))


def run_on(reading: Reading, arch: str, loss: float | None, status: str = "finished", **other: Any) -> Any:
    """What the tab looks at of a run."""
    corpus = {
        "sha256": reading.corpus.sha256,
        "train_chars": reading.train_chars,
        "val_chars": reading.val_chars,
    }
    return FakeRun(arch, arch, loss, status=status, corpus=corpus | other)


def test_the_best_run_of_each_architecture_on_the_same_split_gets_a_bar() -> None:
    reading = reading_of(STORY)
    runs = [
        run_on(reading, "lstm", 1.0),
        run_on(reading, "lstm", 0.5),
        run_on(reading, "gru", 0.6, status="running"),
        run_on(reading, "gru", 0.7, val_chars=5),
        run_on(reading, "rnn", 0.8, sha256="other"),
        run_on(reading, "rnn", None),
    ]
    best = best_runs(reading, runs)
    assert best == [runs[1]]
    shown = view.baselines_html(reading, COSTS, best)
    bars = ("Uniform", "1-gram: letter frequencies", "LSTM, best run here", "xz", "3-gram: the best one")
    assert sorted(bars, key=shown.index) == list(bars)
    assert arch_colour("lstm") in shown and "0.72" in shown and "gzip" not in shown and "PPMd" not in shown


def test_ppmd_has_two_bars_and_says_which_runs_it_beats() -> None:
    reading = reading_of(STORY)
    runs = [run_on(reading, "lstm", 0.5), run_on(reading, "rnn", 0.7), run_on(reading, "ngram", 0.9)]
    ppmd = Ppmd(adapting=0.45, frozen=0.55, rows=3, all_rows=3, megabytes=256)
    shown = view.baselines_html(reading, replace(COSTS, ppmd=ppmd), best_runs(reading, runs))
    bars = ("Uniform", "RNN, best run", "PPMd, frozen", "LSTM, best run", "PPMd, adapting", "xz")
    assert sorted(bars, key=shown.index) == list(bars)
    assert "0.65 bits" in shown and "0.79 where" in shown
    assert "Adapting, it beats LSTM and RNN; frozen, it beats RNN." in shown
    missing = replace(COSTS, ppmd_missing="PPMd is left out: <why>")
    assert "PPMd is left out: &lt;why&gt;." in view.baselines_html(reading, missing, [])


def test_without_a_run_the_bars_say_so() -> None:
    assert "No model has been trained" in view.baselines_html(reading_of(STORY), COSTS, [])


def test_a_test_tail_and_a_shrunk_batch_are_facts() -> None:
    shown = view.facts_html(reading_of(STORY, test_fraction=0.1))
    assert "kept for a test" in shown
    assert "trained with" in shown or "16 × 64" in shown
    short = view.facts_html(reading_of("long short term memory and gated recurrent units"))
    assert "<b>0</b><span>held out" in short and "memorisation" in short


@pytest.mark.parametrize(
    ("character", "sign"),
    [(" ", "␣"), ("\n", "⏎"), ("\t", "⇥"), ("\x01", "␁"), ("\u200b", "U+200B"), ("\u0301", "◌\u0301"), ("é", "é")],
)
def test_characters_are_made_visible(character: str, sign: str) -> None:
    assert visible(character) == sign and called(character)


def test_a_line_of_a_batch_has_no_line_end() -> None:
    assert visible_line("a b\nc\t") == "a·b⏎c⇥"


def test_rare_characters_are_named_and_many_are_cut_short() -> None:
    shown = view.rare_html([("e", 50), ("&", 3)])
    assert "<kbd" in shown and "&amp;" in shown and "occurs fewer than ten times" in shown
    many = view.rare_html([(chr(0x4E00 + at), 1) for at in range(100)])
    assert many.count("<kbd") == view.RARE_SHOWN and "and 40 more" in many
    assert "No character is rare" in view.rare_html([("e", 50)])


@pytest.mark.parametrize("arch", TRAINED)
@pytest.mark.parametrize("embed", [{}, {"embed_dim": 12}, {"embed_dim": 24, "hidden_size": 24, "tie_weights": True}])
def test_the_layers_add_up_to_the_model(arch: str, embed: dict[str, Any]) -> None:
    sizes: dict[str, Any] = {"arch": arch, "vocab_size": 30, "hidden_size": 16, "num_layers": 3}
    model = shape_of(ModelConfig(**sizes | embed))
    rows = view.layer_rows(model, 4, 5)
    assert sum(count for *_, count in rows) == model.num_parameters
    assert rows[0][1] == "(4, 5) ids" and rows[-1][2] == "(4, 5, 30)"
    assert sum(name.startswith(f"{ARCH_NAMES[arch]}, layer") for name, *_ in rows) == 3
    assert ("embedding" in rows[0][0]) == (bool(embed) or "embed.weight" in dict(model.named_parameters()))
    for before, after in itertools.pairwise(rows):
        assert before[2] == after[1]


def test_the_batch_is_real_and_shifted_by_one() -> None:
    reading = reading_of("abcdefghijklmnopqrstuvwxyz" * 20)
    shown = view.model_html(reading)
    assert "<code>abcdefghij" in shown and "<code>bcdefghijk" in shown


def test_ids_are_the_tokenizers() -> None:
    shown = view.model_html(reading_of("banana " * 40))
    assert "<b>b</b><span>2</span>" in shown and "<b>␣</b><span>0</span>" in shown


def test_the_words_are_explained_with_the_models_numbers() -> None:
    shown = view.model_html(reading_of(STORY))
    for word in ("Hidden state", "Truncated backpropagation", "Top-k", "no embedding", "together"):
        assert word in shown


def test_costs_are_kept_for_a_bounded_number_of_texts() -> None:
    readings = Readings()
    for size in range(70):
        readings.baselines(reading_of("ab" * (120 + size)))
    assert len(readings._baselines) == 64
