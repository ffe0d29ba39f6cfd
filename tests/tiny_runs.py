"""What tests that train share: a small text, small settings, runs in a folder of their own, and waiting."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file

from charlm.architectures import ARCHITECTURES
from charlm.config import CorpusConfig
from charlm.data.corpus import Corpus, corpus_from_text
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.jobs.service import Jobs
from charlm.presets import RunConfig, from_options
from charlm.runs.create import create_runs
from charlm.runs.resume import reopen
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from tests.patience import wait_for as wait_for

TEXT = "".join(f"The {word} sat on the mat, and then the {word} ran away.\n" for word in ("cat", "dog", "hen") * 10)
SMALL: dict[str, Any] = {
    "hidden_size": 8,
    "num_layers": 2,
    "seq_len": 10,
    "batch_size": 4,
    "steps": 12,
    "eval_every": 4,
}
TRAINED = tuple(arch for arch, about in ARCHITECTURES.items() if not about.counted)


def small_corpus(text: str = TEXT, name: str = "pets.txt") -> Corpus:
    return corpus_from_text(text, name, CorpusConfig())


def settings(**options: Any) -> RunConfig:
    return from_options({**SMALL, **options})


def lines_of(out: str) -> list[list[str]]:
    """The cells of the tables that a program printed in Markdown."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if line.startswith("|")]


def store_in(folder: Path) -> RunStore:
    """A store without shipped runs."""
    return RunStore(folder / "runs", folder / "shipped")


def entered(store: RunStore, *archs: str, text: str = TEXT, **options: Any) -> list[Run]:
    return create_runs(store, small_corpus(text), settings(**options), archs or ("lstm",))


def stopped(store: RunStore, step: int, **options: Any) -> Run:
    """A run that was stopped after a step."""
    [run] = entered(store, **options)
    control = Control()
    [trainer] = prepare([run], small_corpus())

    def look() -> None:
        if trainer.state.step >= step:
            control.stopped.add(run.run_id)

    run_trainers([trainer], control, look)
    return store.get(run.run_id)


def trained(store: RunStore, *archs: str, text: str = TEXT, **options: Any) -> list[Run]:
    """Runs trained to their end, read anew from their folders."""
    runs = entered(store, *archs, text=text, **options)
    run_trainers(prepare(runs, small_corpus(text)), Control())
    return [store.get(run.run_id) for run in runs]


def begin(jobs: Jobs, *archs: str, **options: Any) -> list[str]:
    """Queue a training, or a race; the run ids."""
    return jobs.start(small_corpus(), settings(**options), archs or ("lstm",))


def resumed(store: RunStore, *runs: Run, **options: Any) -> list[Run]:
    """Ended runs, of a race perhaps, gone on with to their end."""
    ended = [store.get(run.run_id) for run in runs]
    for run in ended:
        corpus = reopen(run, options)
    run_trainers(prepare(ended, corpus, resume=True), Control())
    return [store.get(run.run_id) for run in ended]


def assert_same_training(one: Run, other: Run) -> None:
    """Weights, optimizer, random numbers, schedule and place in the text are equal to the bit."""
    for name in ("best.safetensors", "last.safetensors", "resume.safetensors"):
        mine, theirs = load_file(one.folder / name), load_file(other.folder / name)
        assert mine.keys() == theirs.keys()
        assert [key for key in mine if not torch.equal(mine[key], theirs[key])] == [], name
    assert state_numbers(one) == state_numbers(other)


def state_numbers(run: Run) -> dict[str, Any]:
    """The plain numbers of the state that was saved last, without its clock."""
    with safe_open(run.folder / "resume.safetensors", framework="pt") as file:
        numbers = json.loads(file.metadata()["charlm"])
    return {name: value for name, value in numbers.items() if name != "seconds"}


def untimed(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a log without their clocks."""
    return [{name: row[name] for name in row if name not in ("seconds", "chars_per_second")} for row in rows]


def spoil(path: Path, **changes: Any) -> None:
    """Change fields of a JSON file behind the program's back."""
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8")
