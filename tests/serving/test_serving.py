"""Texts written side by side: the same alone and together, prompts, errors, words, scores."""

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from charlm.config import SampleConfig
from charlm.data.catalog import data_dir
from charlm.errors import CheckpointError, ConfigError, CorpusError
from charlm.runs.checkpoint import save_weights
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import GeneratedText, Serving, batcher
from tests.tiny_runs import TEXT, entered, store_in, trained

SHORT = SampleConfig(length=40, seed=3)


@pytest.fixture
def runs(store: RunStore) -> list[Run]:
    return trained(store, "lstm", "gru", "rnn", steps=4, test_fraction=0.1)


def written(serving: Serving, run: Run, prompt: str = "The ", config: SampleConfig = SHORT) -> GeneratedText:
    return list(serving.generate(run, prompt, config))[-1]


@pytest.mark.parametrize("how", [{}, {"greedy": True}, {"top_k": 3}, {"top_p": 0.5, "temperature": 1.5}])
def test_a_text_is_the_same_alone_and_in_company(store: RunStore, runs: list[Run], how: dict[str, Any]) -> None:
    config = SampleConfig(length=60, seed=11, **how)
    together = list(Serving(store).compare(runs, "The cat", config))[-1]
    assert list(together) == [run.run_id for run in runs]
    for run in runs:
        alone = written(Serving(store), run, "The cat", config)
        assert alone.text == together[run.run_id].text and len(alone.text) == 60
    if not how:
        other = written(Serving(store), runs[0], "The cat", SampleConfig(length=60, seed=12))
        assert other.text != together[runs[0].run_id].text


def test_texts_grow_and_end(store: RunStore, runs: list[Run]) -> None:
    drafts = list(Serving(store).compare(runs, "The ", SampleConfig(length=400)))
    for run in runs:
        texts = [one[run.run_id].text for one in drafts]
        assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
        assert len(texts[-1]) == 400 and drafts[-1][run.run_id].done and drafts[-1][run.run_id].chars_per_second > 0


def test_an_empty_prompt_writes(store: RunStore, runs: list[Run]) -> None:
    draft = written(Serving(store), runs[0], "")
    assert draft.prompt == "" and len(draft.text) == 40 and draft.skipped == []


def test_unknown_characters_are_skipped_and_named(store: RunStore, runs: list[Run]) -> None:
    serving = Serving(store)
    draft = written(serving, runs[0], "T<é>he\x00 é𝔘")
    assert draft.prompt == "The " and draft.skipped == ["<", "é", ">", "\x00", "𝔘"]
    assert draft.text == written(serving, runs[0], "The ").text
    nothing = written(serving, runs[0], "日本語")
    assert nothing.prompt == "" and nothing.skipped == list("日本語") and len(nothing.text) == 40


def test_six_at_most_none_twice_and_at_least_one(store: RunStore, runs: list[Run]) -> None:
    serving = Serving(store)
    for chosen, said in (([], "1 to 6"), (runs[:1] * 2, "twice"), (runs * 3, "not 9")):
        with pytest.raises(ConfigError, match=said):
            next(serving.compare(chosen, "", SHORT))


def test_what_fails_in_one_is_said_in_its_draft_only(store: RunStore, runs: list[Run]) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        (runs[1].folder / name).write_bytes(b"\0" * 100)
    [young] = entered(store)
    last = list(Serving(store).compare([*runs, young], "The ", SHORT))[-1]
    assert "safetensors" in last[runs[1].run_id].error and "no weights yet" in last[young.run_id].error
    assert len(last[runs[0].run_id].text) == len(last[runs[2].run_id].text) == 40
    assert list(Serving(store).compare([young], "", SHORT)) == [{young.run_id: last[young.run_id].__class__(
        "", done=True, error=last[young.run_id].error)}]  # fmt: skip
    with pytest.raises(CorpusError, match="no weights yet"):
        list(Serving(store).generate(young, "", SHORT))


def test_a_model_that_grows_beyond_numbers_says_so(store: RunStore, tmp_path: Path) -> None:
    [run] = trained(store, "rnn", steps=1, nonlinearity="relu", num_layers=1)
    model = run.load_model()
    with torch.no_grad():
        for name in ("rnn.weight_hh_l0", "fc.weight"):
            model.get_parameter(name).fill_(1e30)
    save_weights(run.folder / "best.safetensors", model)
    with pytest.raises(CorpusError, match="grew beyond all numbers"):
        list(Serving(store).generate(run, "The ", SHORT))


def test_a_better_model_is_taken_up(store: RunStore, runs: list[Run]) -> None:
    serving = Serving(store)
    before = written(serving, runs[0])
    assert serving.open(runs[0])[0] is serving.open(store.get(runs[0].run_id))[0]
    model = runs[0].load_model()
    with torch.no_grad():
        model.get_parameter("fc.bias").copy_(torch.arange(model.config.vocab_size, dtype=torch.float32))
    save_weights(runs[0].folder / "best.safetensors", model)
    assert written(serving, runs[0]).text != before.text


def test_a_deleted_run_is_refused(store: RunStore, runs: list[Run]) -> None:
    serving = Serving(store)
    serving.open(runs[0])
    store.delete(runs[0])
    with pytest.raises(CheckpointError, match="missing"):
        serving.open(runs[0])


def test_many_visitors_at_once_get_what_one_gets(store: RunStore, runs: list[Run]) -> None:
    serving, alone, texts = Serving(store), {}, []
    for run in runs:
        alone[run.run_id] = written(Serving(store), run).text

    def visit() -> None:
        last = list(serving.compare(runs, "The ", SHORT))[-1]
        texts.append({run_id: draft.text for run_id, draft in last.items()})

    threads = [threading.Thread(target=visit) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == [alone] * 6


def test_warming_up_opens_the_shipped_models(tmp_path: Path) -> None:
    trained(RunStore(tmp_path / "shipped"), steps=1)
    serving = Serving(store_in(tmp_path))
    serving.warm_up()
    [run] = serving.store.list()
    assert run.shipped and serving.lexicon(run)


# --- samples, texts that go on ---------------------------------------------------------------------------------------


def test_samples_are_the_texts_of_the_next_seeds(store: RunStore, runs: list[Run]) -> None:
    config = SampleConfig(length=40, seed=3, samples=3)
    last = list(Serving(store).compare(runs, "Thé ", config))[-1]
    for run in runs:
        samples = last[run.run_id].samples
        alone = [written(Serving(store), run, "Th ", SampleConfig(length=40, seed=3 + at)).text for at in range(3)]
        assert [one.text for one in samples] == alone and len(set(alone)) == 3
        assert all(one.done and one.prompt == "Th " and one.skipped == ["é"] for one in samples)


@pytest.mark.parametrize("prompt", ["The ", ""])
def test_texts_go_on_as_if_they_had_been_longer(prompt: str, store: RunStore, runs: list[Run]) -> None:
    serving = Serving(store)
    long = {run.run_id: written(serving, run, prompt, SampleConfig(length=80, seed=4)) for run in runs}
    begun = {run_id: [GeneratedText(prompt, draft.text[:40], sample=1)] for run_id, draft in long.items()}
    drafts = list(serving.compare(runs, "ignored", SHORT, begun))
    assert all(draft.text.startswith(long[run_id].text[:40]) for one in drafts for run_id, draft in one.items())
    assert {run_id: draft.text for run_id, draft in drafts[-1].items()} == {
        run_id: draft.text for run_id, draft in long.items()
    }
    assert all(draft.prompt == prompt for draft in drafts[-1].values())


@given(st.text("ab", max_size=9), st.text("cd", max_size=9))
def test_only_the_end_of_a_long_text_is_read_again(prompt: str, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batcher, "READ_AGAIN", 6)
        read = GeneratedText(prompt, text).context()
    whole = prompt + text
    assert "".join(read) == whole[-6:] and text.endswith(read[1])
    assert read == (prompt, text) if len(whole) < 6 else read[0]


def test_a_search_is_the_same_in_company(store: RunStore, runs: list[Run]) -> None:
    config = SampleConfig(length=40, beams=3)
    together = list(Serving(store).compare(runs, "The ", config))[-1]
    assert [written(Serving(store), run, config=config).text for run in runs] == [
        draft.text for draft in together.values()
    ]


def test_a_text_that_stops_is_done(store: RunStore, runs: list[Run]) -> None:
    serving, whole = Serving(store), written(Serving(store), runs[0]).text
    draft = written(serving, runs[0], config=SampleConfig(length=40, seed=3, stop=(whole[10:13],)))
    assert draft.done and not draft.error and draft.text == whole.partition(whole[10:13])[0]


# --- words and scores ------------------------------------------------------------------------------------------------


def test_the_lexicon_is_the_corpus_words(store: RunStore, runs: list[Run]) -> None:
    serving = Serving(store)
    assert serving.lexicon(runs[0]) >= {"the", "cat", "mat"} and serving.lexicon(runs[0]) is serving.lexicon(runs[1])
    runs[2].corpus = {}
    assert serving.lexicon(runs[2]) == frozenset()


def test_its_own_validation_text_scores_the_best_validation_loss(store: RunStore, runs: list[Run]) -> None:
    serving = Serving(store)
    for run in runs:
        scores = serving.evaluate(run)
        assert scores["nats_per_token"] == pytest.approx(run.best_val_loss, rel=1e-6)
        assert scores["split"] == "val" and scores["tokens"] == run.corpus["val_chars"] - 1 and scores["skipped"] == 0
    test = serving.evaluate(runs[0], split="test")
    assert test["tokens"] == len(TEXT) - int(len(TEXT) * 0.9) - 1
    assert serving.evaluate(runs[0], split="all")["tokens"] == len(TEXT) - 1
    assert serving.evaluate(runs[0], TEXT)["nats_per_token"] == serving.evaluate(runs[0], split="all")["nats_per_token"]


def test_scores_of_other_texts(store: RunStore, runs: list[Run]) -> None:
    serving = Serving(store)
    scores = serving.evaluate(runs[0], "The <cat>!")
    assert scores["split"] == "all" and scores["skipped"] == 3 and scores["tokens"] == 6
    with pytest.raises(CorpusError, match="at least 2 known tokens; this text has 0"):
        serving.evaluate(runs[0], "日本語")
    with pytest.raises(ConfigError, match="'half' is not one of"):
        serving.evaluate(runs[0], TEXT, "half")


def test_scores_without_a_test_tail_or_without_the_text(store: RunStore) -> None:
    [run] = trained(store, steps=1)
    serving = Serving(store)
    with pytest.raises(CorpusError, match="no test tail; use split val"):
        serving.evaluate(run, split="test")
    for file in (data_dir() / "texts").iterdir():
        file.unlink()
    with pytest.raises(CorpusError, match=r"\(pets.txt\) is no longer here; give one"):
        serving.evaluate(run)


@pytest.mark.parametrize(("training", "pieces"), [(False, 200), (True, 40)])
def test_a_crowd_is_handed_larger_pieces(training: bool, pieces: int, store: RunStore) -> None:
    serving = Serving(store, lambda: training)
    for readers, seconds in ((1, 0.06), (100, 100 / pieces), (10_000, 2.0)):
        serving._readers = readers
        assert serving._flush_seconds() == pytest.approx(min(max(0.06, seconds), 2.0))


def test_readers_are_counted_while_they_read(store: RunStore) -> None:
    [run] = trained(store, "rnn")
    serving = Serving(store)
    texts = serving.generate(run, "The ", SampleConfig(length=500))
    next(texts)
    assert serving._readers == 1
    texts.close()
    assert serving._readers == 0
