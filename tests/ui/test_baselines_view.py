"""The n-gram baselines in words, lines and bars."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from charlm.analysis.baselines import Baselines
from charlm.analysis.figures import arch_colour
from charlm.analysis.ppmd import Ppmd
from charlm.runs.history import LossHistory
from charlm.ui.verdict import baselines_html, levels, matched_orders, networks, ppmd_note, verdict

KNOWN = Baselines(uniform=4.0, gzip=2.9, xz=1.5, orders=(3.0, 2.0, 1.0, 1.1), tokens_per_char=1.0, whole=True)
WITH_PPMD = replace(KNOWN, ppmd=Ppmd(adapting=1.1, frozen=1.2, rows=9, all_rows=9, megabytes=256))


def run(arch: str, loss: float | None, **other: Any) -> Any:
    corpus = {"name": "a <b>", "sha256": "x", "val_chars": 900, "distinct": 20}
    train = SimpleNamespace(batch_size=4, seq_len=8, seed=7)
    plain = {"status": "finished", "imported": {}, "step": 12, "label": f"{arch} <i>", "corpus": corpus}
    model = SimpleNamespace(is_counted=arch == "ngram")
    rest = {"run_id": arch, "level": "char", "bits_per_char": bits_per_char}
    rest |= {"history": LossHistory, "val_blocks": lambda step: (), "best_step": other.get("step", 12), "group": ""}
    return SimpleNamespace(**{
        "arch": arch, "best_val_loss": loss, "model_config": model, "train_config": train, **plain, **rest, **other
    })  # fmt: skip


def bits_per_char(loss: float | None) -> float | None:
    return loss and loss / math.log(2)


@pytest.mark.parametrize(
    ("losses", "said"),
    [({"LSTM": 2.0}, "LSTM matches a 2-gram."),
     ({"LSTM": 1.5, "GRU": 1.9, "RNN": 2.5}, "LSTM and GRU match a 2-gram, RNN a 1-gram."),
     ({"LSTM": 0.9}, "LSTM is better than every n-gram up to 4; the best is the 3-gram."),
     ({"RNN": 3.5, "LSTM": 0.9, "GRU": 0.8},
      "GRU and LSTM are better than every n-gram up to 4; the best is the 3-gram. RNN does not match a 1-gram yet."),
     ({}, "")],
)  # fmt: skip
def test_what_models_are_worth(losses: dict[str, float], said: str) -> None:
    assert matched_orders(KNOWN, list(losses.items())) == said
    assert matched_orders(None, list(losses.items())) == ""


def test_an_eight_gram_has_its_article() -> None:
    long = Baselines(4.0, 2.9, 1.5, tuple(3.0 - place / 5 for place in range(12)), 1.0, True)
    assert matched_orders(long, [("LSTM", 1.6)]) == "LSTM matches an 8-gram."


def test_ngrams_are_not_told_what_they_are_worth() -> None:
    runs = [run("ngram", 1.2), run("lstm", 1.3), run("gru", None)]
    assert networks(runs, ["n-gram", "LSTM", "GRU"]) == [("LSTM", 1.3)]


def test_the_bars_are_in_order_and_escaped() -> None:
    shown = baselines_html(KNOWN, False, [run("lstm", 1.7), run("rnn", None)], ["<b>", "RNN"])
    names = ("Uniform", "1-gram", "2-gram", "&lt;b&gt;", "xz", "4-gram", "3-gram<")
    places = [shown.rindex(name) for name in names]
    assert places == sorted(places) and arch_colour("lstm") in shown and "<b>" not in shown.replace("<b>", "", 9)
    assert "gzip" not in shown and "PPMd" not in shown
    assert "RNN" not in shown and "n − 1 characters" in shown and "last part" not in shown
    part = Baselines(4.0, 2.9, 1.5, (3.0,), 0.2, False)
    told = baselines_html(part, False, [], [])
    assert "n − 1 tokens" in told and "only the last part was counted" in told and ">1.15<" in told


def test_without_a_ladder_it_says_so() -> None:
    assert "in a few seconds" in baselines_html(None, True, [], [])
    assert "No baselines." in baselines_html(None, False, [], [])
    assert levels(None) == []
    assert [(one.name, one.value) for one in levels(KNOWN)] == [("best n-gram", 1.0), ("xz", 1.5)]
    assert [(one.name, one.value) for one in levels(WITH_PPMD)] == [("best n-gram", 1.0), ("PPMd", 1.2)]


def test_ppmd_is_among_the_bars_and_told_both_ways() -> None:
    runs = [run("lstm", 1.15), run("rnn", 1.7), run("ngram", 1.9)]
    shown = baselines_html(WITH_PPMD, False, runs, ["LSTM", "RNN", "n-gram"])
    places = [shown.rindex(f">{name}<") for name in ("RNN", "xz", "PPMd, frozen", "LSTM", "PPMd, adapting", "3-gram")]
    assert places == sorted(places)
    assert "needs 1.59 bits per character" in shown and "and 1.73 where" in shown
    assert "Adapting, it beats LSTM and RNN; frozen, it beats RNN." in shown


@pytest.mark.parametrize(
    ("models", "said"),
    [([], "(frozen)."), ([("LSTM", 1.0)], "Either way it beats none of the models."),
     ([("LSTM", 1.734)], "Adapting, it beats LSTM; frozen, it beats none of the models."),
     ([("LSTM", 1.8), ("GRU", 1.9)], "Either way it beats LSTM and GRU.")],
)  # fmt: skip
def test_which_models_ppmd_beats(models: list[tuple[str, float]], said: str) -> None:
    assert ppmd_note(WITH_PPMD, models).endswith(said)


def test_what_ppmd_had_to_do_without_is_said() -> None:
    part = replace(KNOWN, ppmd=Ppmd(1.1, 1.2, rows=8, all_rows=33, megabytes=64))
    assert "row of it (8 of its 33 rows)" in ppmd_note(part, []) and "only 64 MB" in ppmd_note(part, [])
    assert "rows)" not in ppmd_note(WITH_PPMD, []) and "MB" not in ppmd_note(WITH_PPMD, [])
    missing = replace(KNOWN, ppmd_missing="PPMd is left out: why")
    assert ppmd_note(missing, []) == "PPMd is left out: why." and ppmd_note(KNOWN, []) == ""
    assert [one.name for one in levels(missing)] == ["best n-gram", "xz"]
    assert "PPMd is left out: why." in baselines_html(missing, False, [], [])


def test_the_verdict_says_what_they_are_worth_and_that_counting_is_no_training() -> None:
    _, told = verdict([run("lstm", 1.3), run("gru", 1.4)], "LSTM and GRU match a 2-gram.")
    assert "match a 2-gram. All saw the same 12 batches." in told
    assert "matches a 2-gram." in verdict([run("lstm", 1.3)], "LSTM matches a 2-gram.")[1]
    _, told = verdict([run("lstm", 1.3), run("ngram", 1.1, step=3)])
    assert told.endswith("The n-gram counted the text once.")
    _, told = verdict([run("lstm", 1.3), run("gru", 1.4), run("ngram", 1.1, step=3)])
    assert told.endswith("The n-gram counted the text once. All saw the same 12 batches.")
