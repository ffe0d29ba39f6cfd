"""Words and subwords through everything that a run meets: training, resuming, forking, writing, scoring, travelling."""

import json
import math
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

import charlm
from charlm.config import CorpusConfig, ModelConfig, SampleConfig
from charlm.data.batches import Dataset
from charlm.data.corpus import corpus_from_text
from charlm.data.dataset import character_sizes, corpus_cut, dataset_of, text_sizes, tokenizer_for
from charlm.data.text_store import recall
from charlm.errors import CheckpointError, ConfigError, CorpusError
from charlm.formats.exports import find_format
from charlm.formats.imports import import_file
from charlm.formats.run_zip import read_zip
from charlm.generation import generate_many
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.runs.create import create_runs
from charlm.runs.resume import fork
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import Serving
from charlm.tokenizers import WordTokenizer
from charlm.training.evaluate import evaluate
from tests.formats.pages import described
from tests.tiny_runs import (
    TEXT,
    assert_same_training,
    entered,
    resumed,
    settings,
    small_corpus,
    spoil,
    trained,
    untimed,
)

LEVELS: dict[str, dict[str, Any]] = {
    "lower": {"level": "word", "words": "lower"},
    "cased": {"level": "word", "words": "cased", "min_count": 1},
    "spaces": {"level": "word", "words": "spaces"},
    "bpe": {"level": "bpe", "vocab_size": 270},
}
SPLIT = {"val_fraction": 0.2, "test_fraction": 0.1}


@pytest.mark.parametrize("name", LEVELS)
def test_a_text_is_split_by_its_characters_whatever_its_tokens_are(name: str) -> None:
    corpus, cleaning, train = small_corpus(), CorpusConfig(**SPLIT), settings().train
    tokenizer = tokenizer_for(corpus, ModelConfig(**LEVELS[name]), cleaning)
    dataset, sizes = dataset_of(tokenizer, corpus, train, cleaning), text_sizes(corpus, cleaning, tokenizer)
    assert sizes == character_sizes(len(TEXT), cleaning)
    train_part, val_part, test_part = TEXT[: sizes[0]], TEXT[sizes[0] : -sizes[2]], TEXT[-sizes[2] :]
    for part, ids in ((train_part, dataset.train_ids), (val_part, dataset.val_ids), (test_part, dataset.test_ids)):
        assert np.array_equal(ids, tokenizer.encode(part))
    cut, _ = corpus_cut(corpus, tokenizer, train, cleaning)
    assert (cut.train, cut.val, cut.test) == (dataset.train, dataset.val, dataset.test)
    assert dataset.chars_per_token == pytest.approx(sizes[0] / len(dataset.train_ids))
    learned = TEXT[: sizes[0]] if name != "bpe" else ""
    assert not learned or all(token in {*tokenizer.words(learned), "<unk>"} for token in tokenizer.tokens)


def test_a_text_may_bring_its_own_split() -> None:
    corpus = replace(small_corpus(), held_out=(300, 200))
    assert character_sizes(len(TEXT), CorpusConfig(), corpus.held_out) == (len(TEXT) - 500, 300, 200)
    tokenizer = tokenizer_for(corpus, ModelConfig(), CorpusConfig())
    dataset = dataset_of(tokenizer, corpus, settings().train, CorpusConfig())
    assert (len(dataset.train_ids), len(dataset.val_ids), len(dataset.test_ids)) == (len(TEXT) - 500, 300, 200)
    with pytest.raises(CorpusError, match="5,000 characters are to be held out of a text that has"):
        character_sizes(len(TEXT), CorpusConfig(), (4000, 1000))


def test_a_held_out_part_without_two_words_goes_to_training() -> None:
    corpus = corpus_from_text("a b c d " * 20 + "x" * 40, "a.txt", CorpusConfig())
    tokenizer = tokenizer_for(corpus, ModelConfig(level="word"), CorpusConfig(val_fraction=0.1))
    dataset = dataset_of(tokenizer, corpus, settings().train, CorpusConfig(val_fraction=0.1))
    assert dataset.val == 0 and dataset.val_ids is dataset.train_ids and "81 tokens" in dataset.notes[0]


@pytest.mark.parametrize("name", LEVELS)
def test_a_run_says_what_bits_per_character_need(name: str, store: RunStore) -> None:
    [run] = trained(store, "gru", **LEVELS[name], **SPLIT)
    facts, tokenizer = run.corpus, run.tokenizer()
    train, val, test = character_sizes(len(TEXT), run.corpus_config)
    assert (facts["train_chars"], facts["val_chars"], facts["test_chars"]) == (train, val, test)
    ids = tokenizer.encode(TEXT[train : train + val])
    assert facts["val_tokens"] == len(ids) and facts["train_tokens"] == len(tokenizer.encode(TEXT[:train]))
    assert facts.get("val_unknown") == (None if name == "bpe" else int((ids == 0).sum()))
    score = evaluate(run.load_model(), ids, val)
    assert run.bits_per_char(run.best_val_loss) == pytest.approx(score.bits_per_char, rel=1e-5)
    assert score.bits_per_char == pytest.approx(score.nats_per_token * len(ids) / val / math.log(2))
    assert run.status == "finished" and run.chars_per_second > 0 and run.samples()[-1]["text"]
    assert run.model_config.vocab_size == facts["distinct"] == tokenizer.vocab_size
    assert run.model_config.embed_dim == run.model_config.hidden_size and run.model_config.tie_weights
    assert run.label == ("gru-subwords-pets" if name == "bpe" else "gru-words-pets")


def test_characters_per_second_are_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    from charlm.models import build_model

    clock = iter(range(10_000))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    ids = (np.arange(200) % 7).astype(np.uint8)
    dataset = Dataset((ids, ids, ids), 2, 10, characters=(1000, 1000, 1000))
    config = settings(steps=1).train
    row = next(iter(charlm.train(build_model(ModelConfig(vocab_size=7, hidden_size=4)), dataset, config)))
    assert row.chars_per_second == 2 * 10 * 5 and dataset.chars_per_token == 5


@pytest.mark.parametrize("name", ["lower", "bpe"])
def test_a_resumed_run_ends_as_if_it_had_never_stopped(name: str, store: RunStore) -> None:
    [whole] = trained(store, **LEVELS[name], steps=24, schedule="constant")
    [half] = trained(store, **LEVELS[name], steps=12, schedule="constant")
    [half] = resumed(store, half, steps=12)
    assert_same_training(half, whole)
    assert untimed(half.metrics()) == untimed(whole.metrics())


@pytest.mark.parametrize("name", ["lower", "bpe"])
def test_a_fork_keeps_its_tokens(name: str, store: RunStore) -> None:
    [parent] = trained(store, **LEVELS[name])
    run, corpus = fork(store, parent, {"steps": 4})
    run_trainers(prepare([run], corpus, resume=True), Control())
    assert store.get(run.run_id).step == 16
    other = corpus_from_text(TEXT + "A zebra sat on the mat.\n" * 3, "other.txt", CorpusConfig())
    run, corpus = fork(store, parent, {"steps": 4}, other)
    assert corpus.text == other.text, "nothing is cut out"
    run_trainers(prepare([run], corpus, resume=True), Control())
    assert run.status == "finished" and run.tokenizer().tokens == parent.tokenizer().tokens
    assert ("read as <unk>" in " ".join(corpus.repairs)) == (name == "lower")


def test_a_text_of_other_words_is_refused(store: RunStore) -> None:
    [parent] = trained(store, **LEVELS["lower"])
    with pytest.raises(CorpusError, match=r"too little of b\.txt is known: \d+ of \d+ words are not in"):
        fork(store, parent, {"steps": 4}, corpus_from_text("ein Hund lief weg. " * 40, "b.txt", CorpusConfig()))


def test_a_runs_own_split_outlives_the_texts(store: RunStore) -> None:
    corpus = replace(small_corpus(), held_out=(300, 200))
    [run] = create_runs(store, corpus, settings(**LEVELS["lower"]), ["gru"])
    run_trainers(prepare([run], corpus), Control())
    assert run.corpus["held_out"] == [300, 200] and recall(corpus.sha256).held_out == (300, 200)  # type: ignore[union-attr]
    [again] = create_runs(store, small_corpus(), settings(), ["rnn"])  # the same text, kept once more without its split
    again.release()
    assert recall(corpus.sha256).held_out is None  # type: ignore[union-attr]
    scores = Serving(store).evaluate(store.get(run.run_id), split="test")
    assert scores["tokens"] == run.corpus["test_tokens"] - 1
    [run] = resumed(store, run, steps=4)
    assert run.step == 16 and run.corpus["val_chars"] == 300
    for odd in ([1], [1, -2], "ab", [10**9, 10**9]):
        spoil(run.folder / "run.json", corpus={**run.corpus, "held_out": odd})
        assert store.get(run.run_id).held_out == (tuple(odd) if odd == [10**9, 10**9] else None)
    with pytest.raises(CorpusError, match="are to be held out of"):
        Serving(store).evaluate(store.get(run.run_id), split="test")


@pytest.mark.parametrize("name", LEVELS)
def test_scores_are_of_characters_too(name: str, store: RunStore) -> None:
    [run] = trained(store, **LEVELS[name], **SPLIT)
    serving = Serving(store)
    val, test, whole = (serving.evaluate(run, split=split) for split in ("val", "test", "all"))
    assert val["tokens"] == run.corpus["val_tokens"] - 1 and test["tokens"] == run.corpus["test_tokens"] - 1
    assert val["bits_per_char"] == pytest.approx(run.bits_per_char(run.best_val_loss), rel=1e-5)
    assert whole["skipped"] == 0 and math.isfinite(whole["bits_per_char"])
    part = serving.evaluate(run, TEXT, "test", held_out=(300, 200))
    assert part["tokens"] == len(run.tokenizer().encode(TEXT[-200:])) - 1
    other = serving.evaluate(run, "A zebra sat on the Mat.\n")
    assert other["skipped"] == 0 and (other["unknown"] > 0) == (name != "bpe")
    with pytest.raises(CorpusError, match="at least 2 known tokens; this text has 1"):
        serving.evaluate(run, "x")


@pytest.mark.parametrize("name", LEVELS)
def test_texts_are_written(name: str, store: RunStore) -> None:
    [run] = trained(store, **LEVELS[name])
    config = SampleConfig(length=60, seed=3)
    *_, draft = Serving(store).generate(run, "The zebra ", config)
    assert draft.prompt == "The zebra " and draft.text and draft.done and "<unk>" not in draft.text
    assert draft.skipped == [] and draft.unknown == ([] if name == "bpe" else ["zebra"])
    model, tokenizer = run.load_model(), run.tokenizer()
    alone = "".join(charlm.generate(model, tokenizer, "The zebra ", config))
    assert alone == draft.text == generate_many(model, tokenizer, ["The zebra "], config)[0]
    assert not alone.startswith(" ")
    assert "".join(charlm.generate(model, tokenizer, "", SampleConfig(length=5)))
    *_, odd = Serving(store).generate(run, "The \ud800 cat", config)
    odd.prompt.encode()


@pytest.mark.parametrize("name", LEVELS)
def test_a_run_travels_as_a_zip_and_as_weights(name: str, store: RunStore, tmp_path: Path) -> None:
    [run] = trained(store, **LEVELS[name])
    find_format("zip").write(run, tmp_path / "run.zip")
    back = read_zip(store, tmp_path / "run.zip")
    assert back.tokenizer().to_file() == run.tokenizer().to_file() and back.corpus == run.corpus
    assert back.bits_per_char(back.best_val_loss) == run.bits_per_char(run.best_val_loss)
    brought = import_file(store, run.folder / "best.safetensors", corpus=small_corpus())
    assert brought.tokenizer().tokens == run.tokenizer().tokens and brought.level == run.level
    assert brought.best_val_loss == pytest.approx(run.best_val_loss, rel=1e-5)
    (tmp_path / "best.safetensors").write_bytes((run.folder / "best.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"tokens that its run's tokenizer\.json names; put that beside it"):
        import_file(store, tmp_path / "best.safetensors")
    unmeasured = import_file(store, run.folder / "best.safetensors")
    assert unmeasured.bits_per_char(2.0) is None, "nothing says how many characters a token is"


@pytest.mark.parametrize("name", LEVELS)
def test_other_formats_carry_the_tokens_or_refuse(name: str, store: RunStore, tmp_path: Path) -> None:
    [run] = trained(store, **LEVELS[name])
    find_format("torch").write(run, tmp_path / "run.zip")
    with zipfile.ZipFile(tmp_path / "run.zip") as archive:
        assert json.loads(archive.read("model.json"))["tokens"] == run.tokenizer().tokens
        kept = tokenizers.Tokenizer.from_str(archive.read("tokenizer.json").decode())
    assert kept.encode(TEXT).ids == run.tokenizer().encode(TEXT).tolist()
    with pytest.raises(CheckpointError, match=r"reads (sub)?words, and .*export it as torch"):
        find_format("udacity").write(run, tmp_path / "refused")
    find_format("html8").write(run, tmp_path / "page.html")
    assert described((tmp_path / "page.html").read_text(encoding="utf-8"))["tokens"] == run.tokenizer().tokens
    onnx = pytest.importorskip("onnx")
    find_format("onnx").write(run, tmp_path / "run.onnx")
    facts = {prop.key: prop.value for prop in onnx.load(str(tmp_path / "run.onnx")).metadata_props}
    assert facts["tokenizer.json"].encode() == run.tokenizer().to_file() and facts["level"] == run.level


def test_a_run_without_the_new_counts_has_a_token_a_character(store: RunStore) -> None:
    [run] = trained(store)
    old = {name: run.corpus[name] for name in ("name", "key", "sha256", "characters", "distinct", "val_chars")}
    spoil(run.folder / "run.json", corpus=old)
    run = store.get(run.run_id)
    assert run.bits_per_char(1.0) == pytest.approx(1 / math.log(2)) and run.bits_per_char(None) is None
    assert run.bits_per_char(math.inf) is None and run.bits_per_char(math.nan) is None


@pytest.mark.parametrize("counts", [{}, {"val_tokens": 0, "val_chars": 0}, {"val_tokens": 5, "val_chars": 0}])
def test_odd_counts_make_no_bits(counts: dict[str, int], store: RunStore) -> None:
    [run] = trained(store, **LEVELS["lower"])
    spoil(run.folder / "run.json", corpus={"name": "x", "sha256": "0" * 64, **counts})
    assert store.get(run.run_id).bits_per_char(1.0) is None


def damaged(run: Run, data: dict[str, Any]) -> Run:
    (run.folder / "tokenizer.json").write_text(json.dumps(data))
    return run


def test_a_strangers_tokenizer_is_checked_where_it_is_used(store: RunStore, tmp_path: Path) -> None:
    [run] = trained(store, **LEVELS["lower"])
    data = json.loads((run.folder / "tokenizer.json").read_text())
    data["normalizer"] = {"type": "Replace", "pattern": {"Regex": "(("}, "content": ""}
    assert damaged(run, data).tokenizer().encode("the cat").tolist()
    data["model"]["vocab"] = dict.fromkeys(data["model"]["vocab"], 0)
    for use in (lambda: damaged(run, data).tokenizer(), lambda: import_file(store, run.folder / "best.safetensors")):
        with pytest.raises(CheckpointError, match="0, 1, 2"):
            use()
    (run.folder / "tokenizer.json").write_text(json.dumps(data) + " " * 10**6)
    with pytest.raises(CheckpointError, match="longer than"):
        run.tokenizer()


def test_settings_that_leave_no_vocabulary(store: RunStore) -> None:
    with pytest.raises(ConfigError, match="no word occurs 9999 times"):
        entered(store, level="word", min_count=9999)
    with pytest.raises(ConfigError, match="vocab_size 20 is too small for subwords"):
        entered(store, level="bpe", vocab_size=20)
    [run] = entered(store, level="word", vocab_size=4)
    run.release()
    assert run.tokenizer().tokens == ["<unk>", "the", "\n", ","]


def test_the_same_words_are_read_by_whoever_has_the_file(store: RunStore) -> None:
    [run] = trained(store, **LEVELS["spaces"])
    other = tokenizers.Tokenizer.from_file(str(run.folder / "tokenizer.json"))
    assert other.encode(TEXT).ids == run.tokenizer().encode(TEXT).tolist()
    assert isinstance(run.tokenizer(), WordTokenizer)
