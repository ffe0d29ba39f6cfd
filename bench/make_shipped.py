"""Train the three runs that come with the app and put them into checkpoints/shipped/.

    python -m bench.make_shipped [--work FOLDER]

One race of LSTM, GRU and RNN on The Adventures of Sherlock Holmes, the same batches for all. What is begun in the
work folder is resumed there.
"""

import argparse
import json
import shutil
from pathlib import Path

from charlm.catalog import DEFAULT_KEY, load_corpus
from charlm.config import ARCHS
from charlm.entry import enter, reopen
from charlm.presets import from_options
from charlm.race import Control, Racer, run_race
from charlm.runs import SHIPPED, Run, RunStore

OPTIONS = {"hidden_size": 192, "dropout": 0.2, "steps": 4500, "learning_rate": 8e-3, "eval_every": 225}
FILES = ("tokenizer.json", "metrics.jsonl", "samples.jsonl", "best.safetensors")
MOST_BYTES = 6_000_000


def race(store: RunStore) -> list[Run]:
    """The finished runs, in the order of ARCHS; trains what is missing, and says how it goes."""
    config = from_options(OPTIONS)
    corpus = load_corpus(DEFAULT_KEY, config.corpus)
    begun = [run for run in store.list() if not run.shipped]
    for run in begun:
        if run.status != "finished":
            reopen(run, {})
    runs = begun or enter(store, corpus, config, ARCHS)
    racers = [Racer(run, corpus, resume=bool(begun)) for run in runs if run.status != "finished"]

    def report() -> None:
        if all(racer.state.step % OPTIONS["eval_every"] == 0 for racer in racers):
            losses = ", ".join(f"{racer.run.arch} {racer.state.best_val_loss:.3f}" for racer in racers)
            print(f"step {racers[0].state.step}: {losses}", flush=True)

    run_race(racers, Control(), report)
    return [next(run for run in store.list() if run.arch == arch) for arch in ARCHS]


def publish(run: Run) -> int:
    """Copy a run into checkpoints/shipped/ under a name of its own; returns its bytes."""
    name = f"{DEFAULT_KEY}-{run.arch}"
    folder = SHIPPED / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in FILES:
        shutil.copy(run.folder / file, folder / file)
    info = {**run.info, "run_id": name, "label": name, "message": ""}
    (folder / "run.json").write_text(json.dumps(info, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return sum(file.stat().st_size for file in folder.iterdir())


def main() -> None:
    """Train and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("checkpoints") / "making-shipped")
    runs = race(RunStore(parser.parse_args().work))
    size = sum(publish(run) for run in runs)
    print(f"{size:,} bytes of at most {MOST_BYTES:,}")
    if size > MOST_BYTES:
        raise SystemExit("too large: choose a smaller hidden_size")


if __name__ == "__main__":
    main()
