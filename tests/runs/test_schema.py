"""What strangers may have written into a run.json: refused in a sentence, or of the right kind ever after."""

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlm.cli.runs import facts_of, row_of
from charlm.errors import CheckpointError
from charlm.runs.run import Run
from charlm.runs.schema import LINES, NO_PROGRESS, STATUSES, progress_of, tidied
from charlm.runs.store import RunStore
from charlm.ui.compare.ranking import ranking_csv, ranking_table
from charlm.ui.runs.details import chain, details, origin_line
from charlm.ui.runs.listing import runs_heading, runs_table
from charlm.ui.verdict import verdict
from tests.tiny_runs import entered, spoil

ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(-1e300, 1e300) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
PARENT = {"run_id": "a", "label": "b", "step": 3, "why": "fork"}


@pytest.fixture
def run(store: RunStore) -> Run:
    [run] = entered(store)
    run.update({"step": 9, "best_val_loss": 2.0}, status="failed", ancestry=[PARENT], mend={"learning_rate": 0.1})
    run.release()
    return store.get(run.run_id)


def show(store: RunStore) -> str:
    """Everything that lists and shows runs."""
    runs = store.list()
    parts = [runs_heading(runs, 1), runs_table(runs), *verdict(runs), ranking_table(runs), ranking_csv(runs)]
    for run in runs:
        parts += [details(run), chain(run, ["a"]), origin_line(run), json.dumps([facts_of(run), row_of(run)])]
    return "".join(parts)


@pytest.mark.parametrize(
    "changes",
    [{"created": [1]}, {"created": "0001-01-01"}, {"created": "x" * 10**6}, {"group": ["g"]}, {"status": {}},
     {"status": "hacked"}, {"preset": {"a": 1}}, {"message": ["m"]}, {"message": "m\n" * 10**5},
     {"label": "x" * 10**6}, {"label": None}, {"label": "\u202e\x00"}, {"ancestry": [{}]}, {"ancestry": 5},
     {"ancestry": [{"run_id": [], "label": {}, "step": "x", "why": 1}] * 300}, {"ancestry": "fork"},
     {"mend": {"learning_rate": [1]}}, {"mend": {"learning_rate": None, "x": 1}}, {"mend": "all"}, {"mend": 10**18},
     {"corpus": {"name": ["x"], "sha256": {}, "characters": "many", "distinct": -3, "val_chars": 1e300}},
     {"corpus": {}}, {"versions": [1]}, {"imported": "zip"}, {"imported": {"file": 3, "x" * 99: "y"}},
     {"looks": "all"}, {"looks": [5, 3]}, {"looks": [3, None]}, {"looks": [{}]}, {"looks": list(range(2, 99))},
     {"trimmed": "yes", "left_alone": [], "device": {}, "updated": 7, "format": "1", "run_id": ["x"]}],
)  # fmt: skip
def test_what_has_no_sense_is_left_out(changes: dict[str, Any], store: RunStore, run: Run) -> None:
    spoil(run.folder / "run.json", **changes)
    [found] = store.list()
    assert found.run_id == run.run_id and found.status in STATUSES and run.run_id in show(store)
    assert len(found.label) <= 80 and "\n" not in found.message and len(found.ancestry) <= 100
    found.update({"step": 10}, status="stopped")
    assert store.get(run.run_id).step == 10


@pytest.mark.parametrize(
    "changes",
    [{"corpus": []}, {"corpus": None}, {"progress": {"step": -1}}, {"progress": {"step": 1.5}},
     {"progress": {"total_steps": "x"}}, {"progress": {"best_val_loss": 1e41}}, {"progress": {"seconds": -1}},
     {"progress": {"best_step": True}}, {"num_parameters": -1}, {"num_parameters": 10**19},
     {"model": {"hidden_size": 10**9}}, {"train": []}, {"corpus_config": 3}, {"x": 10**20}],
)  # fmt: skip
def test_without_these_there_is_no_run(changes: dict[str, Any], store: RunStore, run: Run) -> None:
    spoil(run.folder / "run.json", **changes)
    assert store.list() == []
    with pytest.raises(CheckpointError, match=r"run\.json in") as caught:
        store.get(run.run_id)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_huge_description_is_not_read(store: RunStore, run: Run) -> None:
    (run.folder / "run.json").write_text(json.dumps({"more": "x" * (1 << 20), **run.info}), encoding="utf-8")
    with pytest.raises(CheckpointError, match="longer than 1,048,576 bytes"):
        store.get(run.run_id)


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(name=st.sampled_from([*LINES, "status", "created", "ancestry", "mend", "corpus", "progress", "versions",
                             "imported", "num_parameters", "model", "train", "corpus_config"]), odd=ODD)  # fmt: skip
def test_any_value_anywhere_is_shown_or_refused(name: str, odd: Any, store: RunStore, run: Run) -> None:
    whole = (run.folder / "run.json").read_text(encoding="utf-8")
    try:
        spoil(run.folder / "run.json", **{name: odd})
        show(store)
    finally:
        (run.folder / "run.json").write_text(whole, encoding="utf-8")


def test_what_is_tidy_stays_as_it_is(run: Run) -> None:
    assert tidied(run.info) == run.info
    assert tidied({**run.info, "of tomorrow": [1]})["of tomorrow"] == [1]
    origin = {"format": "zip", "file": "a\nb", "steps": 3, "exact": True, "odd": [1], "x" * 99: "y", "none": None}
    kept = {"format": "zip", "file": "a b", "steps": 3, "exact": True}
    assert tidied({**run.info, "imported": origin})["imported"] == kept
    assert progress_of({}) == NO_PROGRESS and math.isfinite(run.progress["best_val_loss"])
    assert (run.ancestry, run.fix, run.imported) == ([PARENT], {"learning_rate": 0.1}, {})
