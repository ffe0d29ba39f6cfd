"""How long until a model is as good as a notebook's after 30 epochs: the notebook's own training, then ours.

    python -m bench.time_to_quality usual ARCH [--work FOLDER]
    python -m bench.time_to_quality ours ARCH [SETTING=VALUE ..] [--seeds 1,2,3] [--work FOLDER]
    python -m bench.time_to_quality table [--work FOLDER]

Both train on Grimms' Fairy Tales with 2 layers of 512 on the same machine. `usual` logs an epoch at a time, and resumes
where it was: the seconds of its passes alone (its validations and ours are not counted), its own figure, and the loss
over the whole held-out text, which is what is compared. The target is the best of these; all epochs up to it count as
long as the quickest of them took, so that the machine may do other things in between. `ours` is `python -m charlm train
grimm`; the time until a validation reaches the target counts validations, too, and nothing else may run beside it.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench.resumable import markdown, settings_of

# What is said to our side; the rest is as every training here begins. One validation, at the end.
SIZES = {"hidden_size": 512, "num_layers": 2, "dropout": 0, "batch_size": 32, "seq_len": 32, "eval_every": 10**6}
RECIPES: dict[str, dict[str, Any]] = {
    "lstm": {**SIZES, "epochs": 0.68, "learning_rate": 2e-2, "warmup_steps": 20},
    "gru": {**SIZES, "epochs": 0.74, "learning_rate": 7e-3, "beta1": 0.8, "warmup_steps": 20},
    "rnn": {**SIZES, "epochs": 1.0, "warmup_steps": 20},
}
HEAD = ("arch", "target", "usual: epoch", "usual: s", "ours: seed", "steps", "s", "loss", "times faster")


def main(words: Sequence[str] | None = None) -> None:
    """Train one side, or print what is known."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=("usual", "ours", "table"))
    parser.add_argument("arch", nargs="?", choices=("lstm", "gru", "rnn"), default="lstm")
    parser.add_argument("settings", nargs="*", metavar="SETTING=VALUE", help="fields of the config classes, for ours")
    parser.add_argument("--seeds", default="1,2,3", help="of ours")
    parser.add_argument("--epochs", type=int, default=0, help="of the usual; 0: the notebook's 30")
    parser.add_argument("--corpus", default="grimm", help="a file or a name of the catalog")
    parser.add_argument("--work", type=Path, default=Path("checkpoints") / "time-to-quality")
    given = parser.parse_args(words)
    given.work.mkdir(parents=True, exist_ok=True)
    if given.side == "usual":
        train_usual(given.arch, given.corpus, given.work, given.epochs)
    elif given.side == "ours":
        for seed in given.seeds.split(","):
            train_ours(given.arch, given.corpus, given.work, {**settings_of(given.settings), "seed": int(seed)})
    print(table(given.work))


def train_usual(arch: str, corpus: str, work: Path, epochs: int) -> None:
    """The notebook's training, to its end or to so many epochs."""
    from bench.usual_notebook import EPOCHS, Notebook
    from charlm.cli.options import open_corpus
    from charlm.config import CorpusConfig
    from charlm.data.batches import Dataset
    from charlm.tokenizers import CharTokenizer

    text = open_corpus(corpus, CorpusConfig(drop_newlines=True, separator="space")).text
    tokenizer = CharTokenizer.fit(text)
    data = Dataset(tokenizer.encode(text), 1, 1)
    notebook = Notebook(arch, data.train_ids, data.val_ids, tokenizer.vocab_size, seed=0)
    state, log = work / f"usual-{arch}.pt", work / f"usual-{arch}.jsonl"
    if state.exists():
        notebook.load(state)
    while notebook.epoch < (epochs or EPOCHS):
        last_batch = notebook.train_epoch()
        entry = {"epoch": notebook.epoch, "seconds": round(notebook.seconds, 1), "last_batch": last_batch}
        entry["loss"] = measured(notebook.net.state_dict(), arch, data.val_ids)
        print(json.dumps(entry), flush=True)
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        notebook.save(state)


def measured(weights: Mapping[str, Any], arch: str, ids: Any) -> float:
    """The loss over a whole held-out text of weights that have torch's names."""
    from bench.usual_notebook import HIDDEN, LAYERS
    from charlm.config import ModelConfig
    from charlm.models import build_model
    from charlm.training.evaluate import evaluate

    vocab_size = weights["fc.bias"].shape[0]
    model = build_model(ModelConfig(arch=arch, vocab_size=vocab_size, hidden_size=HIDDEN, num_layers=LAYERS))
    model.load_state_dict(weights)
    return evaluate(model.eval(), ids, threads=2).nats_per_token


def train_ours(arch: str, corpus: str, work: Path, settings: Mapping[str, Any]) -> None:
    """A run in a process of its own, as a user would start it."""
    options = {**RECIPES[arch], "arch": arch, **settings}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, "-m", "charlm", "train", corpus, *words, "--drop-newlines", "--separator", "space"]
    if code := subprocess.run([*command, "--runs-dir", str(work / "runs")]).returncode:
        raise SystemExit(code)


def table(work: Path) -> str:
    """What is known, in Markdown."""
    rows: list[list[str]] = []
    for log in sorted(work.glob("usual-*.jsonl")):
        arch = log.stem.removeprefix("usual-")
        usual = best_of(list(map(json.loads, log.read_text(encoding="utf-8").splitlines())))
        about = [arch, f"{usual['loss']:.4f}", f"{usual['epoch']}", f"{usual['seconds']:.0f}"]
        rows += [about + cells for cells in reached(work, arch, usual)]
    return markdown(HEAD, rows)


def best_of(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entry of the best epoch; its `seconds` as if each epoch had been as quick as the quickest."""
    best = min(entries, key=lambda entry: entry["loss"])
    ends = [0.0, *(entry["seconds"] for entry in entries)]
    quickest = min(end - start for start, end in pairwise(ends))
    return {**best, "seconds": best["epoch"] * quickest}


def reached(work: Path, arch: str, usual: Mapping[str, Any]) -> list[list[str]]:
    """A line for each run of ours, with the first validation that is as good as the target, or the best."""
    from charlm.runs.store import RunStore

    runs = [run for run in RunStore(work / "runs").list() if run.arch == arch and not run.shipped]
    lines = []
    for run in sorted(runs, key=lambda run: run.run_id):
        validations = [row for row in run.metrics() if row.get("val_loss") is not None]
        if not validations:
            continue
        good = [row for row in validations if row["val_loss"] <= usual["loss"]]
        row = good[0] if good else min(validations, key=lambda row: row["val_loss"])
        times = f"{usual['seconds'] / row['seconds']:.1f}" if good else "not reached"
        seconds, loss = f"{row['seconds']:.1f}", f"{row['val_loss']:.4f}"
        lines.append([f"{run.train_config.seed}", f"{row['step']}", seconds, loss, times])
    return lines or [["", "", "", "", ""]]


if __name__ == "__main__":
    main()
