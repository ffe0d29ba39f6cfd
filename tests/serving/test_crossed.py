"""Cross-perplexity that has been measured once is read from disk: for the same weights, texts and settings alone."""

import json
from pathlib import Path

import pytest

from charlm.analysis import cross
from charlm.data.catalog import data_dir
from charlm.errors import ConfigError, MeasurementError
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import Serving
from tests.tiny_runs import entered, trained

SHORT = {"length": 50}


@pytest.fixture
def runs(store: RunStore) -> list[Run]:
    [gru] = trained(store, "gru", steps=2, label="secret plan")
    [ngram] = trained(store, "ngram", label="counts")
    return [gru, ngram]


def files() -> list[Path]:
    return sorted((data_dir() / "measured" / "cross").glob("*.json"))


def test_what_was_measured_is_not_measured_again(
    store: RunStore, runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files()
    first = list(Serving(store).cross(runs, SHORT))
    assert len(first) > 2 and first[-1].result is not None
    [file] = sorted(set(files()) - set(before))
    assert "secret" not in file.read_text() and "pets" not in file.read_text()  # nobody's names
    monkeypatch.setattr(cross, "measure", None)  # no second time
    again = list(Serving(store).cross(runs, SHORT))
    assert [(one.share, one.result) for one in again] == [(1.0, first[-1].result)]
    renamed = Serving(store).known_cross(runs, SHORT, ["A", "B"])
    assert renamed is not None and renamed["names"] == ["A", "B"] and renamed["rows"][0]["name"] == "A"
    assert [row["bits"] for row in renamed["rows"]] == [row["bits"] for row in first[-1].result["rows"]]


def test_other_questions_are_not_known(store: RunStore, runs: list[Run]) -> None:
    serving = Serving(store)
    assert serving.known_cross(runs, SHORT) is None
    list(serving.cross(runs, SHORT))
    assert serving.known_cross(runs, SHORT) is not None
    assert serving.known_cross(runs, SHORT | {"seed": 8}) is None and serving.known_cross(runs[:1], SHORT) is None
    assert serving.known_cross(runs[::-1], SHORT) is None
    weights = runs[0].folder / "best.safetensors"
    weights.write_bytes((trained(store, "gru", steps=3)[0].folder / "best.safetensors").read_bytes())
    assert serving.known_cross(runs, SHORT) is None, "it has learned more since"


def test_a_damaged_file_is_as_good_as_none(store: RunStore, runs: list[Run]) -> None:
    serving, before = Serving(store), files()
    list(serving.cross(runs, SHORT))
    [file] = sorted(set(files()) - set(before))
    whole = json.loads(file.read_text())
    rows = whole["rows"]
    short = [{**one, "bits": one["bits"][1:]} for one in rows]
    unknown = [{**one, "texts": None} for one in rows]
    for damaged in ("", "[]", {"rows": 1}, {"rows": rows[1:]}, {"rows": short}, {"rows": unknown}):
        file.write_text(damaged if isinstance(damaged, str) else json.dumps(damaged))
        assert serving.known_cross(runs, SHORT) is None
    list(serving.cross(runs, SHORT))
    assert json.loads(file.read_text()) == whole


def test_what_cannot_be_asked_is_not_known(store: RunStore, runs: list[Run]) -> None:
    serving, [new] = Serving(store), entered(store, label="new")
    new.release()
    assert serving.known_cross([new, *runs], SHORT) is None and serving.known_cross([]) is None
    assert serving.known_cross(runs, {"samples": 0}) is None
    with pytest.raises(MeasurementError, match="has no weights yet"):
        next(serving.cross([new, *runs], SHORT))
    with pytest.raises(ConfigError):
        next(serving.cross(runs, {"samples": 0}))
