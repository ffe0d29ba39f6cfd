"""`votes` on votes that were given on real, tiny models."""

from pathlib import Path

import pytest

from charlm.cli import main
from charlm.config import SampleConfig
from charlm.runs.store import RunStore
from charlm.serving import Serving
from tests.cli.test_cli import TINY, answer, book, refusal

__all__ = ["book"]  # a fixture


def vote(run_id: str, kind: str) -> None:
    store = RunStore()
    kept = Serving(store).votes
    ballot = list(kept.ballot([store.get(run_id)], SampleConfig(length=30)))[-1].result
    assert ballot
    kept.vote(ballot.ballot, ballot.human, kind)


def test_votes_are_counted_written_and_deleted(book: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["votes"]) == 0
    assert "No votes yet" in capsys.readouterr().out
    assert "there are no votes yet" in refusal(capsys, "votes", "--csv", str(tmp_path / "none.csv"))
    run_id = answer(capsys, "train", book, *TINY, "--val-fraction", "0.4", "--label", "tiny")["run_id"]
    for kind in ("human", "human", "best"):
        vote(run_id, kind)
    found = answer(capsys, "votes")
    assert found["human"]["votes"] == 2 and found["best"]["votes"] == 1
    assert {row["name"]: row["chosen"] for row in found["human"]["rows"]} == {"the human": 2, "tiny": 0}
    assert found["human"]["rows"][0]["chance"] == 0.5
    path = tmp_path / "votes.csv"
    assert main(["votes", "--csv", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "was recognised in 2 of 2 votes" in shown and "tiny" in shown
    assert len(path.read_text(encoding="utf-8").splitlines()) == 5
    assert "nobody can be asked here; add --yes to delete all blind votes" in refusal(capsys, "votes", "--reset")
    assert answer(capsys, "votes", "--reset", "--yes") == {"deleted": 3}
    assert answer(capsys, "votes")["human"]["votes"] == 0
