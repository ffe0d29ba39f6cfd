"""Votes taken and kept: what real models wrote, one line a vote, nothing lost that was not asked to go."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charlm.analysis.votes import HUMAN
from charlm.config import SampleConfig
from charlm.errors import CheckpointError, ConfigError, CorpusError
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import GeneratedText, Serving, votes
from charlm.serving.ballots import Ballot
from charlm.serving.votes import VoteLog, Votes
from tests.tiny_runs import TEXT, trained

BOOK = "".join(f"{line} Then number {place} came along.\n" for place, line in enumerate(TEXT.splitlines() * 20))
CONFIG = SampleConfig(length=80, temperature=0.7, samples=1, stop=("e",), duel=True)


@pytest.fixture
def runs(store: RunStore) -> list[Run]:
    return trained(store, "lstm", "ngram", text=BOOK, steps=4)


def made(kept: Votes, runs: list[Run], seed: int | None = None, visitor: str = "") -> Ballot:
    steps = list(kept.ballot(runs, CONFIG, seed, visitor))
    assert [step.result for step in steps[:-1]] == [None] * (len(steps) - 1)
    assert all(0 <= step.share <= 1 for step in steps) and steps[-1].share == 1 and steps[-1].result
    return steps[-1].result


def line(**changes: Any) -> dict[str, Any]:
    texts = [{"run_id": "a", "label": "A", "arch": "gru"}, {"run_id": HUMAN, "label": "", "arch": ""}]
    usual = {"time": "2026-01-01T00:00:00.000+00:00", "visitor": "", "kind": "best", "texts": texts, "chosen": 0,
             "part": "test", "corpus": "tales.txt", "shipped": False}  # fmt: skip
    return {**usual, **changes}


def test_models_and_the_book_continue_the_same_words(store: RunStore, runs: list[Run]) -> None:
    kept = Serving(store).votes
    ballot = made(kept, runs, seed=5)
    assert {len(text) for text in ballot.texts} == {80}  # no stop string ends one early
    assert ballot.prompt + ballot.texts[ballot.human] in BOOK
    assert sorted(one.run_id for one in ballot.authors) == sorted([HUMAN, *(run.run_id for run in runs)])
    config = SampleConfig(length=80, temperature=0.7, seed=5)
    for run in runs:
        [place] = [place for place, one in enumerate(ballot.authors) if one.run_id == run.run_id]
        assert list(Serving(store).generate(run, ballot.prompt, config))[-1].text == ballot.texts[place]
    again = made(kept, runs, seed=5)
    assert sorted(again.texts) == sorted(ballot.texts) and again.ballot != ballot.ballot
    assert sorted(made(kept, runs).texts) != sorted(ballot.texts)


def test_a_vote_is_answered_with_the_authors_and_counted(store: RunStore, runs: list[Run]) -> None:
    kept = Serving(store).votes
    ballot = made(kept, runs)
    with pytest.raises(ConfigError, match="kind 'worst' is not one of: best, human"):
        kept.vote(ballot.ballot, 0, "worst")
    place = (ballot.human + 1) % 3
    answer = kept.vote(ballot.ballot, place, "human")
    assert (answer["kind"], answer["chosen"], answer["human"]) == ("human", place, ballot.human)
    assert [one["run_id"] for one in answer["authors"]] == [one.run_id for one in ballot.authors]
    assert answer["texts"] == list(ballot.texts) and answer["prompt"] == ballot.prompt
    with pytest.raises(ConfigError, match="waits for a vote"):
        kept.vote(ballot.ballot, place, "human")
    [told] = [json.loads(one) for one in (store.root / "votes.jsonl").read_text(encoding="utf-8").splitlines()]
    assert told["chosen"] == place and told["kind"] == "human" and told["visitor"] == "" and not told["shipped"]
    assert {one["label"] for one in told["texts"]} == {"", *(run.label for run in runs)}
    for run in runs:
        store.delete(run)
    tally = Serving(store).votes.tallies()["together"]["human"]  # of another process, the runs deleted
    assert tally["votes"] == 1 and {row["name"] for row in tally["rows"]} == {"the human", *(run.label for run in runs)}
    assert Serving(store).votes.tallies()["together"]["best"]["votes"] == 0
    assert kept.reset() == 1 and not (store.root / "votes.jsonl").exists() and kept.reset() == 0


def test_a_model_that_cannot_write_is_named(store: RunStore, runs: list[Run]) -> None:
    for path in runs[0].folder.glob("*.safetensors"):
        path.write_bytes(b"damaged")
    with pytest.raises(CorpusError, match=f"{runs[0].label} could not write: "):
        made(Serving(store).votes, runs)
    with pytest.raises(ConfigError, match="choose 1 to 6 models"):
        made(Serving(store).votes, [])
    with pytest.raises(ConfigError, match="chosen twice"):
        made(Serving(store).votes, [runs[1], runs[1]])


def test_a_vote_that_cannot_be_kept_can_be_given_again(tmp_path: Path, runs: list[Run]) -> None:
    (tmp_path / "file").write_text("no folder")

    def write(found: Any, prompt: str, config: SampleConfig) -> Iterator[dict[str, GeneratedText]]:
        yield {run.run_id: GeneratedText(prompt, "x" * 80, done=True) for run in found}

    kept = Votes(RunStore(tmp_path / "file" / "runs"), write)
    ballot = made(kept, runs)
    with pytest.raises(CheckpointError, match=r"votes cannot be kept in .*; make room there"):
        kept.vote(ballot.ballot, 0, "best")
    (tmp_path / "file").unlink()
    assert kept.vote(ballot.ballot, 0, "best")["chosen"] == 0
    assert kept.tallies()["together"]["best"]["votes"] == 1


def test_a_torn_line_loses_itself_only(tmp_path: Path) -> None:
    log = VoteLog(tmp_path)
    log.append(line(chosen=0))  # type: ignore[arg-type]
    log.append(line(chosen=1))  # type: ignore[arg-type]
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-30])  # as a killed process leaves it
    assert [one["chosen"] for one in log.lines()] == [0]
    log.append(line(chosen=1, kind="human"))  # type: ignore[arg-type]
    assert [(one["kind"], one["chosen"]) for one in log.lines()] == [("best", 0), ("human", 1)]


@pytest.mark.parametrize(
    "odd",
    [{"kind": "worst"}, {"chosen": 2}, {"chosen": -1}, {"chosen": True}, {"chosen": "0"}, {"texts": []},
     {"visitor": None},
     {"texts": [{"run_id": "a", "label": "A", "arch": "gru"}]},
     {"texts": [{"run_id": "", "label": "", "arch": ""}] * 2},
     {"texts": [{"run_id": "a", "label": "A", "arch": "gru"}] * 2},
     {"texts": [{"run_id": 5, "label": "A", "arch": "gru"}, {"run_id": "", "label": "", "arch": ""}]}],
)  # fmt: skip
def test_what_is_no_vote_is_passed_over(odd: dict[str, Any], tmp_path: Path) -> None:
    lines = ["[" * 50, json.dumps(line(**odd)), "", "x" * 100_000, "5", json.dumps(line(chosen=1, more="unknown"))]
    (tmp_path / "votes.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert [one["chosen"] for one in VoteLog(tmp_path).lines()] == [1]


def test_a_full_file_loses_its_oldest_quarter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(votes, "MOST_BYTES", 10_000)
    log, sizes = VoteLog(tmp_path), []
    for number in range(120):
        log.append(line(corpus=f"text {number}"))  # type: ignore[arg-type]
        sizes.append(log.path.stat().st_size)
    corpora = [one["corpus"] for one in log.lines()]
    assert max(sizes) <= 10_000 and sizes[-1] > 5_000
    assert corpora == [f"text {number}" for number in range(120 - len(corpora), 120)] and len(corpora) > 20


def test_reset_takes_out_one_visitors_votes_only(tmp_path: Path) -> None:
    log = VoteLog(tmp_path)
    for place in range(9):
        log.append(line(visitor=("anna", "boris", "")[place % 3], corpus=str(place)))  # type: ignore[arg-type]
    assert log.remove("anna") == 3 and log.remove("anna") == 0 and log.remove("nobody") == 0
    assert [one["corpus"] for one in log.lines()] == ["1", "2", "4", "5", "7", "8"]
    assert log.remove(None) == 6 and log.lines() == []


def test_votes_at_once_are_all_kept(tmp_path: Path) -> None:
    """Eight writers with a log of their own each, as processes have, and one that resets its own meanwhile."""

    def write(writer: int) -> None:
        log = VoteLog(tmp_path)
        for number in range(15):
            log.append(line(visitor=f"v{writer}", corpus=str(number)))  # type: ignore[arg-type]
        if writer == 0:
            log.remove("v0")

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [(one["visitor"], one["corpus"]) for one in VoteLog(tmp_path).lines()]
    assert sorted(found) == sorted((f"v{writer}", str(number)) for writer in range(1, 8) for number in range(15))
