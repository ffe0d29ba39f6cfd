"""Resumable trainings for the programs here, by name and settings; each validation is printed and logged."""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from charlm.cli.options import open_corpus
from charlm.cli.train import released, stops_between_steps
from charlm.data.dataset import corpus_cut, tokenizer_for
from charlm.jobs.scheduler import Control, RunTrainer, prepare, run_trainers
from charlm.presets import from_options
from charlm.runs.create import create_runs
from charlm.runs.resume import reopen
from charlm.runs.store import Run, RunStore

LOSSES = ("train_loss", "val_loss", "test_loss")


def label_of(name: str, words: Sequence[str]) -> str:
    """What a recipe's run is called, each change of its settings otherwise."""
    mark = hashlib.sha256(" ".join(sorted(words)).encode()).hexdigest()[:8]
    return f"{name}-{mark}" if words else name


def settings_of(words: Sequence[str]) -> dict[str, Any]:
    """`["epochs=3", "init=tuned"]` by name, each value a number or truth if it can be read as one."""
    pairs = [word.partition("=") for word in words]
    return {name: _value(value) for name, _, value in pairs}


def _value(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word


def command(corpus: str, preset: str, options: Mapping[str, Any]) -> str:
    """What does the same on the command line."""
    said = [f"--{'' if value is not False else 'no-'}{name.replace('_', '-')}" for name, value in options.items()]
    values = ["" if isinstance(value, bool) else f" {value}" for value in options.values()]
    words = "".join(f" {flag}{value}" for flag, value in zip(said, values, strict=True))
    return f"python -m charlm train {corpus} --preset {preset}{words}"


def train(work: Path, corpus: str, preset: str, options: Mapping[str, Any]) -> Run:
    """The finished run of this label in the work folder: found there, resumed, or trained."""
    store, config = RunStore(work), from_options(options, preset)
    known = [run for run in store.list() if run.label == config.train.label and not run.shipped]
    if known and known[0].status == "finished":
        return known[0]
    text = open_corpus(corpus, config.corpus)
    if known:
        run = known[0]
        text = reopen(run, {}, text)
    else:
        tokenizer = tokenizer_for(text, config.model, config.corpus)
        every = {"eval_every": corpus_cut(text, tokenizer, config.train, config.corpus)[0].steps_per_epoch}
        print(command(corpus, preset, {**options, **every}), flush=True)
        [run] = create_runs(store, text, from_options({**options, **every}, preset), [config.model.arch], (), tokenizer)
    control = Control()
    with stops_between_steps(control), released([run]):
        trainers = prepare([run], text, resume=bool(known))
        run_trainers(trainers, control, Reporter(trainers[0], work / f"{run.run_id}.jsonl"))
    return store.get(run.run_id)


class Reporter:
    """Prints and logs each validation of a training once.

    Args:
        trainer: what trains.
        path: of the log; it may hold validations from before an interruption.
    """

    def __init__(self, trainer: RunTrainer, path: Path) -> None:
        self._trainer, self._path = trainer, path
        before = logged(path)
        self._logged_step = before[-1]["step"] if before else 0
        self._earlier = before[-1]["wall_minutes"] if before else 0.0
        self._began = time.monotonic()

    def __call__(self) -> None:
        """Look for what is new."""
        if self._trainer.state.validated_step <= self._logged_step:
            return
        for row in self._trainer.run.metrics(since=self._logged_step):
            if row.get("val_loss") is not None:
                self._tell(row)

    def _tell(self, row: Mapping[str, Any]) -> None:
        minutes = self._earlier + (time.monotonic() - self._began) / 60.0
        losses = {name: row.get(name) for name in LOSSES}
        entry = {"step": row["step"], "epoch": row["epoch"], "wall_minutes": round(minutes, 2), **losses}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self._logged_step = row["step"]
        said = ", ".join(f"{name.replace('_', ' ')} {loss:.4f}" for name, loss in losses.items() if loss is not None)
        print(f"epoch {entry['epoch']:.2f}, {minutes:.1f} minutes by the clock: {said}", flush=True)


def logged(path: Path) -> list[dict[str, Any]]:
    """The entries of a log; none without one."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])
