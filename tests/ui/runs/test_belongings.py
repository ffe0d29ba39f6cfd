"""A visitor of a public Space deletes all that is theirs at once; what another one has stays to the byte."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from charlm.config import SampleConfig
from charlm.data.catalog import data_dir
from charlm.data.own_texts import open_upload, pasted_text
from charlm.data.text_store import recall
from charlm.errors import LimitError
from charlm.public.identity import asking
from charlm.public.limits import Visitor
from charlm.ui.runs.belongings import belongings, belongings_html, delete_all
from charlm.ui.services import PublicAppServices
from tests.patience import patience
from tests.tiny_runs import TEXT, settings, small_corpus, wait_for

ANNA, BORIS = Visitor("anna"), Visitor("boris")


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PublicAppServices]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    made = PublicAppServices()
    yield made
    made.jobs.close(seconds=patience(30))


@contextmanager
def as_visitor(visitor: Visitor) -> Iterator[None]:
    token = asking.set(visitor)
    yield
    asking.reset(token)


def finished(space: PublicAppServices, text: str, label: str = "") -> str:
    """A small run of the visitor who asks, trained to its end."""
    [run_id] = space.services.jobs.start(small_corpus(text), settings(steps=2, label=label), ["gru"])
    wait_for(lambda: space.store.get(run_id).status == "finished", "for the training")
    return run_id


def leave_traces(space: PublicAppServices, text: str) -> dict[str, Any]:
    """A finished run, one in the trash, a kept text, a file, and of an included run a measurement and a vote."""
    services = space.services
    ids = [finished(space, text, label) for label in ("kept", "deleted")]
    services.store.delete(services.store.get(ids[1]))
    key = services.texts.keep(pasted_text(text))
    file = services.files.text("mine.csv", text)
    shipped = services.store.get("sherlock-small-rnn")
    services.serving.inspect("surprise", [shipped], text)
    wait_for(lambda: services.serving.inspect("surprise", [shipped], text, begin=False)[0].done, "for the measurement")
    assert list((data_dir() / "measured").glob("*/surprise-*.json"))
    ballot = list(services.serving.votes.ballot([shipped], SampleConfig(length=20)))[-1].result
    assert ballot and services.serving.votes.vote(ballot.ballot, 0, "best")["chosen"] == 0
    return {"ids": ids, "key": key, "file": Path(file), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def everything(folders: list[Path]) -> dict[Path, bytes]:
    """All files in some folders, but for locks."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    locks = (".lock", ".edit", ".votes.lock", "texts.lock")
    return {path: path.read_bytes() for path in files if path.name not in locks}


def test_all_of_one_visitor_goes_and_all_of_another_stays(space: PublicAppServices, tmp_path: Path) -> None:
    shared = "Both of them have this one. " * 30
    with as_visitor(BORIS):
        his = leave_traces(space, TEXT.replace("mat", "rug"))
        finished(space, shared)
    before = everything([tmp_path])
    with as_visitor(ANNA):
        hers = leave_traces(space, TEXT)
        alike = finished(space, shared)
        [busy] = space.services.jobs.start(small_corpus(TEXT), settings(steps=1_500, eval_every=1_000), ["lstm"])
        assert belongings(space.services) == "4 runs, 1 text"
        html = belongings_html(space.services, asking=True)
        assert "4 runs, 1 text: gone for good?" in html and 'data-act="delete-mine"' in html
        assert 'data-act="delete-mine"' not in belongings_html(space.services)
        assert delete_all(space.services, patience(60)) == "4 runs, 1 text"
        assert belongings(space.services) == "0 runs, 0 texts"
        assert delete_all(space.services) == "0 runs, 0 texts"
        assert space.services.serving.votes.tallies()["own"]["best"]["votes"] == 0
    for run_id in (*hers["ids"], alike, busy):
        assert not (space.store.root / run_id).exists() and not (space.store.trash / run_id).exists()
    assert open_upload(hers["key"], data_dir()) is None and recall(hers["sha256"]) is None
    assert not hers["file"].exists() and not (data_dir() / "measured" / ANNA.key).exists()
    assert not space.jobs.queue()
    assert everything([tmp_path]) == before, "something of the other visitor's changed, or something stayed"
    assert recall(hashlib.sha256(shared.encode()).hexdigest()) is not None
    with as_visitor(BORIS):
        assert belongings(space.services) == "3 runs, 1 text" and his["file"].is_file()
        assert space.services.serving.votes.tallies()["own"]["best"]["votes"] == 1


def test_who_cannot_be_told_from_others_deletes_nothing(space: PublicAppServices) -> None:
    stranger = Visitor("an address", "8.8.8.8", known=False)
    with as_visitor(stranger):
        run_id = finished(space, TEXT)
        key = space.services.texts.keep(pasted_text(TEXT))
        with pytest.raises(LimitError, match="allow cookies"):
            delete_all(space.services)
    assert space.store.get(run_id) and open_upload(key, data_dir()) is not None
