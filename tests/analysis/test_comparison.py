"""Runs with several seeds: how they are grouped and paired, what is said of them, and what is refused."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from charlm.analysis.comparison import CHOSEN_ON, Comparison, compare, grouped, with_other_seeds, with_race
from charlm.analysis.seeds import seed_difference
from charlm.data.dataset import dataset_of
from charlm.errors import ConfigError
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.tokenizers import IdArray
from charlm.training.evaluate import evaluate
from charlm.ui.verdict import verdict
from tests.tiny_runs import TEXT, small_corpus, store_in, trained

LONG = TEXT * 40  # several blocks of it are held out
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """A GRU that has learned something, an RNN that has hardly begun, three seeds each, and some that do not pair."""
    store = store_in(tmp_path_factory.mktemp("lab"))
    for seed in SEEDS:
        trained(store, "gru", text=LONG, seed=seed, label=f"gru-{seed}", steps=60, eval_every=30)
        trained(store, "rnn", text=LONG, seed=seed, label=f"rnn-{seed}", steps=2, eval_every=1)
    trained(store, "gru", text=LONG, seed=4, label="gru-4", steps=60, eval_every=30)
    trained(store, "gru", text=LONG, seed=1, label="gru-again", steps=60, eval_every=30)
    trained(store, "gru", text=LONG, seed=1, label="gru-wide", steps=4, hidden_size=12)
    trained(store, "rnn", text=LONG[: len(LONG) // 2], seed=2, label="rnn-short", steps=2, eval_every=1)
    return store


def ids_of_test(run: Run) -> IdArray:
    return dataset_of(run.tokenizer(), small_corpus(LONG), run.train_config, run.corpus_config).test_ids


def named(lab: RunStore, *labels: str) -> list[Run]:
    return [lab.find(label) for label in labels]


def all_of(lab: RunStore, *archs: str) -> list[Run]:
    return named(lab, *(f"{arch}-{seed}" for arch in archs for seed in SEEDS))


@pytest.fixture(scope="module")
def found(lab: RunStore) -> Comparison:
    return compare(all_of(lab, "rnn", "gru"))


def test_the_better_architecture_stands_first_and_its_lead_is_claimed(found: Comparison, lab: RunStore) -> None:
    best, other = found.groups
    assert (best.name, other.name) == ("GRU", "RNN") and list(best.runs) == list(other.runs) == list(SEEDS)
    losses = [run.best_val_loss or 0.0 for run in all_of(lab, "gru")]
    assert best.losses.mean == pytest.approx(sum(losses) / 3)
    difference, is_claimed = found.differences["GRU", "RNN"]
    assert is_claimed and difference.mean == pytest.approx(other.losses.mean - best.losses.mean, abs=1e-3)
    assert difference == seed_difference(best.blocks, other.blocks)
    said = found.sentences()
    assert said[0] == f"GRU beats RNN by {difference.mean:.3f} ± {difference.margin:.3f} nats per token."
    assert said[1] == (
        "3 seeds each, paired; equal layers (547 to 1,299 parameters); different budgets (2 to 60 steps); "
        f"{len(best.blocks[0])} blocks of text. {CHOSEN_ON}"
    )


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """A race of two seeds: GRU and n-gram, of equal steps."""
    store = store_in(tmp_path_factory.mktemp("race"))
    trained(store, "gru", "rnn", "ngram", text=LONG, seeds=2, steps=8, order=2, match="parameters")
    return store


def test_a_race_is_judged_by_its_test_part(race: RunStore) -> None:
    runs = race.list()
    found = compare(with_race([race.find("gru-pets-seed-8")], runs))
    assert {group.name for group in found.groups} == {"GRU", "RNN", "n-gram"} and list(found.groups[0].runs) == [7, 8]
    assert found.to_dict()["measured_on"] == "test" and found.sentences()[-1].endswith("on which nothing was chosen.")
    assert found.equal == ["nearly equal parameters (1,299 to 1,459)", "equal steps"]
    for group in found.groups:
        assert group.blocks == [run.test_blocks() for run in group.runs.values()]
        for run in group.runs.values():
            scores = evaluate(run.load_model(), ids_of_test(run))
            assert sum(loss for loss, _ in run.test_blocks()) / (scores.tokens) == pytest.approx(scores.nats_per_token)


def test_runs_of_a_race_are_judged_with_their_other_seeds(race: RunStore, lab: RunStore) -> None:
    runs = race.list()
    found = with_other_seeds([race.find("gru-pets-seed-8"), race.find("rnn-pets-seed-7")], runs)
    assert found is not None and {group.name for group in found.groups} == {"GRU", "RNN"}
    assert found.differences == compare([run for run in runs if run.arch != "ngram"]).differences
    _, lead = verdict([race.find("gru-pets-seed-8"), race.find("rnn-pets-seed-7")], "", found.sentences()[0])
    assert f"With the other seeds of their race: {found.sentences()[0]}" in lead and "One seed each" not in lead
    assert with_other_seeds([race.find("gru-pets-seed-8")], runs) is None
    assert with_other_seeds(named(lab, "gru-1", "rnn-1"), lab.list()) is None


def test_an_ngram_is_one_run_for_all_seeds(race: RunStore) -> None:
    [group] = [one for one in compare(race.list()).groups if one.name == "n-gram"]
    assert len(group.run_ids) == 1 and group.losses.seeds == 1 and math.isnan(group.losses.deviation)
    assert len(group.blocks) == 2 and group.blocks[0] == group.blocks[1]


def test_without_all_test_losses_validation_counts(race: RunStore, tmp_path: Path) -> None:
    store = store_in(tmp_path)
    trained(store, "gru", "rnn", text=LONG, seeds=2, steps=4)
    (store.find("gru-pets-seed-8").folder / "test_blocks.jsonl").unlink()
    assert compare(store.list()).to_dict()["measured_on"] == "validation"


def test_a_single_block_of_text_says_nothing_of_chance(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    trained(store, "gru", "rnn", seeds=2, steps=4)
    found = compare(store.list())
    assert len(found.groups[0].blocks[0]) == 1 and "cannot be said of 1 block of held-out text" in found.sentences()[0]
    assert "nan" not in " ".join(found.sentences()) and found.rows()[1]["± behind"] is None


def test_one_architecture_has_a_mean_and_no_rival(lab: RunStore) -> None:
    found = grouped(all_of(lab, "gru"))
    mean, deviation, margin, seeds = found.groups[0].losses
    assert seeds == 3 and found.sentences()[0] == (
        f"GRU: {mean:.3f} ± {margin:.3f} nats per token, {deviation:.3f} between seeds."
    )


def test_seeds_that_not_all_have_are_left_out(lab: RunStore) -> None:
    found = compare([*all_of(lab, "gru", "rnn"), *named(lab, "gru-4")])
    assert found.left_out == ["gru-4"] and list(found.groups[0].runs) == list(SEEDS)


def test_what_is_not_found_says_what_it_would_take(lab: RunStore) -> None:
    store, runs = lab, all_of(lab, "gru")
    for seed in SEEDS:
        trained(store, "gru", text=LONG, seed=seed, label=f"twin-{seed}", steps=60, eval_every=30, patience=9)
    twins = named(store, *(f"twin-{seed}" for seed in SEEDS))
    found = compare([*runs, *twins])
    assert {group.name for group in found.groups} == {"GRU, 2 layers of 8, gru-1", "GRU, 2 layers of 8, twin-1"}
    assert "No difference found" in found.sentences()[0] and "0.000 ± 0.000" in found.sentences()[0]


def test_json_has_the_numbers_that_are_said(found: Comparison) -> None:
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    [difference] = told["differences"]
    assert told["seeds"] == [1, 2, 3] and [one["name"] for one in told["groups"]] == ["GRU", "RNN"]
    assert f"{difference['difference']:.3f} ± {difference['margin']:.3f}" in told["sentences"][0]
    assert difference["claimed"] and 0 <= difference["chance"] < 0.05 and math.isfinite(difference["freedom"])


@pytest.mark.parametrize(
    "labels, problem",
    [(["gru-1", "gru-2", "gru-3"], "differ in nothing but their seeds"),
     (["gru-1", "gru-again", "rnn-1"], "gru-1 and gru-again have the same settings and seed 1"),
     (["gru-1", "rnn-2"], "have 0 of their seeds in common, and 2 are needed"),
     (["gru-1", "gru-2", "rnn-1", "rnn-short"], "not validated on the same tokens of one text"),
     (["gru-1", "gru-2", "rnn-1", "rnn-2", "gru-wide"], "have 1 of their seeds in common")],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(lab: RunStore, labels: list[str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        compare(named(lab, *labels))


def test_a_run_without_losses_by_block_is_named(lab: RunStore, tmp_path: Path) -> None:
    store = store_in(tmp_path)
    runs = [run for seed in (1, 2) for run in trained(store, "gru", "rnn", text=LONG, seed=seed, steps=2)]
    (runs[3].folder / "val_blocks.jsonl").unlink()
    with pytest.raises(ConfigError, match=f"{runs[3].label} has no losses by block"):
        compare([store.get(run.run_id) for run in runs])


def test_the_command_prints_the_table_and_the_claims(lab: RunStore, found: Comparison, capsys: Any) -> None:
    from charlm.cli import main

    labels = [f"{arch}-{seed}" for arch in ("rnn", "gru") for seed in SEEDS]
    assert main(["runs", "compare", *labels, "gru-4", "--runs-dir", str(lab.root)]) == 0
    out = capsys.readouterr().out
    assert found.sentences()[0] in out.replace("\n", " ") and "left out" in out and "gru-4" in out
    assert main(["runs", "compare", *labels, "--json", "--runs-dir", str(lab.root)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == found.to_dict()
    assert main(["runs", "compare", "gru-1", "--runs-dir", str(lab.root)]) == 2
    assert "name runs of another architecture" in capsys.readouterr().err
