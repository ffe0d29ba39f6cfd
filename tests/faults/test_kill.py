"""SIGKILL at any instant, a third of them in the middle of a write: what was saved is there, and it goes on exactly."""

import itertools
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from charlm.errors import CheckpointError
from charlm.jobs.scheduler import prepare
from charlm.runs.checkpoint import is_valid, load_training, weights_about
from charlm.runs.create import reopen
from charlm.runs.run import ACTIVE, Run
from charlm.runs.store import RunStore
from tests.faults.outcome import content, rows, same
from tests.faults.zygote import SETTINGS, Zygote
from tests.tiny_runs import store_in, trained

FIELDS = (("lstm",), ("gru",), ("rnn",), ("lstm", "gru"), ("rnn", "lstm"), ("ngram", "gru"))


@pytest.fixture
def kills(request: pytest.FixtureRequest) -> int:
    wanted: int = request.config.getoption("--kills")
    return wanted


class Chain:
    """One training, or one race, that is killed and resumed until it has come to its end."""

    def __init__(self, zygote: Zygote, folder: Path, archs: tuple[str, ...], dice: random.Random, steps: int) -> None:
        self._zygote = zygote
        self._steps = steps
        self._folder = folder
        self._archs = archs
        self._dice = dice
        self.store = store_in(folder)
        self.kills = 0
        [self._operations, _], self._seconds, self.models = self._reference()
        self._saved: dict[str, int] = {}  # the last step that each run was told to have saved

    def _reference(self) -> tuple[list[int], float, dict[str, Run]]:
        """What the training costs, and comes to, when nobody kills it."""
        folder = self._folder / "reference"
        answer = self._zygote.order(folder, "train", archs=self._archs, steps=self._steps)
        assert not answer["killed"]
        return answer["counts"], answer["seconds"], {run.arch: run for run in store_in(folder).list()}

    def live(self) -> list[Run]:
        """Train to the end, with kills on the way; returns the runs."""
        while not all(run.status == "finished" for run in self.runs()) or not self._saved:
            answer = self._zygote.order(self._folder, "train", **self._doom(), **self._whom())
            for word, run_id, *step in answer["told"]:
                if word == "saved":
                    self._saved[run_id] = int(step[0])
            self.kills += answer["killed"]
            self.check()
        return self.runs()

    def runs(self) -> list[Run]:
        return sorted(self.store.list(), key=lambda run: self._archs.index(run.arch))

    def _doom(self) -> dict[str, Any]:
        """A third dies within a write; on average three or four kills until the end."""
        if self._dice.random() < 1 / 3:
            return {"operation": self._dice.randint(1, self._operations // 2)}
        return {"seconds": self._dice.uniform(0, 0.6 * self._seconds)}

    def _whom(self) -> dict[str, Any]:
        """Who goes on; what was killed while it was made is deleted, and made again."""
        runs = self.runs()
        if len(runs) < len(self._archs):
            for run in runs:
                self.store.delete(run)
            self.store.empty_trash()
            return {"archs": self._archs, "steps": self._steps}
        return {"run_ids": [run.run_id for run in runs if run.status != "finished"]}

    def check(self) -> None:
        """What a kill may not have done."""
        self.store.sweep()
        assert not list(self.store.root.rglob("*.tmp"))
        listed = {run.run_id for run in self.store.list()}
        assert {folder.name for folder in self.store.root.glob("[!.]*")} == listed, "a half-made folder was left"
        for run in self.runs():
            self._check_run(run)

    def _check_run(self, run: Run) -> None:
        assert run.status not in ACTIVE
        expected = {row["step"]: row for row in rows(self.models[run.arch])}
        step = self._check_state(run)
        self._check_best(run, expected)
        if run.status == "finished":
            assert step == self.models[run.arch].step
            return
        assert run.status == "interrupted"
        corpus = reopen(run, {})
        [trainer] = prepare([run], corpus, resume=True)
        run.release()
        assert trainer.state.step == step
        lines = run.log.path.read_bytes().splitlines() if run.log.path.exists() else []
        steps = [json.loads(line)["step"] for line in lines]
        assert steps == sorted(set(steps)) and all(logged <= step for logged in steps)
        assert rows(run) == [row for at, row in expected.items() if at <= step]
        assert self.store.get(run.run_id).status == "interrupted"

    def _check_state(self, run: Run) -> int:
        """The newest valid state is the last one that was saved, or the one after it; returns its step."""
        saved = self._saved.get(run.run_id, 0)
        try:
            _, state = load_training(run.folder, run.model_config, run.train_config)
        except CheckpointError:
            assert not saved, f"the state of step {saved} is lost"
            return 0
        assert state.step >= saved, f"the state of step {saved} is lost; there is only that of {state.step}"
        return state.step

    def _check_best(self, run: Run, expected: dict[int, dict[str, Any]]) -> None:
        best = run.folder / "best.safetensors"
        if best.exists():
            assert is_valid(best)
            about = weights_about(best)
            assert about["val_loss"] == pytest.approx(expected[about["step"]]["val_loss"], rel=1e-6)
            run.load_model()


def test_what_is_killed_goes_on_as_if_nothing_had_been(zygote: Zygote, tmp_path: Path, kills: int) -> None:
    dice, done, steps = random.Random(kills), 0, SETTINGS["steps"] if kills < 100 else 200
    for number, archs in enumerate(itertools.cycle(FIELDS)):
        chain = Chain(zygote, tmp_path / str(number), archs, dice, steps)
        for run in chain.live():
            reference = chain.models[run.arch]
            for name in ("last.safetensors", "best.safetensors", "resume.safetensors"):
                assert same(content(run.folder / name), content(reference.folder / name)), (number, run.run_id, name)
            assert rows(run) == rows(reference)
            assert run.samples() == reference.samples()
            assert (run.best_val_loss, run.best_step) == (reference.best_val_loss, reference.best_step)
        done += chain.kills
        if done >= kills:
            break
    assert done >= kills


# --- kills while runs are deleted, restored, trimmed -----------------------------------------------------------------


def lose_nothing(store: RunStore, run_id: str, size: int) -> str:
    """Where a run is, whole, after a kill: "here" or "trash"; and nowhere else."""
    store.sweep()
    places = {"here": store.list(), "trash": store.trashed()}
    [found] = [(where, run) for where, runs in places.items() for run in runs if run.run_id == run_id]
    where, run = found
    assert run.size_bytes == size and is_valid(run.folder / "best.safetensors")
    load_training(run.folder, run.model_config, run.train_config)
    return where


def test_a_deleted_run_is_here_or_in_the_trash(zygote: Zygote, tmp_path: Path) -> None:
    store = store_in(tmp_path)
    [run] = trained(store, steps=4)
    size = run.size_bytes
    for do, before, after in (("delete", "here", "trash"), ("restore", "trash", "here")):
        for change in itertools.count(1):
            answer = zygote.order(tmp_path, do, run_ids=[run.run_id], change=change)
            where = lose_nothing(store, run.run_id, size)
            if not answer["killed"]:
                break
            if where == after:  # back, for the next kill
                zygote.order(tmp_path, {"delete": "restore", "restore": "delete"}[do], run_ids=[run.run_id])
            assert lose_nothing(store, run.run_id, size) == before
        assert where == after and change > 1


def test_a_trash_that_was_being_emptied_is_swept(zygote: Zygote, tmp_path: Path) -> None:
    store = store_in(tmp_path)
    [run] = trained(store, steps=1)
    for change in range(1, 40):
        shutil.copytree(run.folder, store.root / f"copy-{change}")
        store.delete(store.get(f"copy-{change}"))
        answer = zygote.order(tmp_path, "empty", change=change)
        store.sweep()
        for left in store.trashed():
            assert left.run_id
        zygote.order(tmp_path, "empty")
        assert not store.trashed() and not [path for path in store.trash.iterdir() if path.is_dir()]
        if not answer["killed"]:
            break
    assert change > 1 and not answer["killed"]


def test_a_run_that_was_being_trimmed_is_whole_or_known_as_trimmed(zygote: Zygote, tmp_path: Path) -> None:
    store = store_in(tmp_path)
    [run] = trained(store, steps=4)
    for change in itertools.count(1):
        shutil.copytree(run.folder, store.root / f"copy-{change}")
        answer = zygote.order(tmp_path, "trim", run_ids=[f"copy-{change}"], change=change)
        store.sweep()
        found = store.get(f"copy-{change}")
        assert is_valid(found.folder / "best.safetensors") and found.status == "finished"
        if not found.trimmed:
            load_training(found.folder, found.model_config, found.train_config)
        store.discard(found)
        if not answer["killed"]:
            break
    assert found.trimmed and not (found.folder / "resume.safetensors").exists() and change > 1


def test_a_race_killed_while_it_is_made_leaves_whole_runs_only(zygote: Zygote, tmp_path: Path, kills: int) -> None:
    dice = random.Random(5)
    for number in range(max(5, kills // 20)):
        folder = tmp_path / str(number)
        answer = zygote.order(folder, "train", archs=["lstm", "gru"], change=dice.randint(1, 25))
        assert answer["killed"]
        store = store_in(folder)
        store.sweep()
        assert {path.name for path in store.root.glob("[!.]*")} == {run.run_id for run in store.list()}
        for run in store.list():
            assert run.status == "interrupted"
            prepare([run], reopen(run, {}), resume=True)
            run.release()
            assert run.train_config.steps == SETTINGS["steps"]
