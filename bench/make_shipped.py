"""Train the models that come with the app, and put them with their cards into checkpoints/shipped/.

    python -m bench.make_shipped [--small] [ARCH ..] [--work FOLDER]

LSTM, GRU, RNN and Transformer of about as many parameters each, on The Adventures of Sherlock Holmes, with the settings
of bench/how_far.py. An unfinished training in the work folder is resumed, a finished one only published again. Weights
are kept in 16 bits each; what that costs is measured and stands in the card.

With --small, LSTM, GRU and RNN of one layer, a hundredth of that, published with the snapshots of their training.
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.how_far import PARAMETERS, recipe
from bench.model_card import card
from bench.resumable import train
from charlm.data.batches import Dataset
from charlm.data.catalog import DEFAULT_KEY, load_corpus
from charlm.models import LanguageModel
from charlm.models.kernels.plan import all_threads
from charlm.runs.checkpoint import load_weights, save_weights, weights_about
from charlm.runs.history import MetricsLog
from charlm.runs.snapshots import snapshot_path
from charlm.runs.store import SHIPPED, Run
from charlm.training.evaluate import Evaluation, evaluate

ARCHS = ("lstm", "gru", "rnn", "transformer")
PASSES = 8  # over the text, about ten minutes on two cores; more lead to memorising it
FILES = ("tokenizer.json", "metrics.jsonl", "samples.jsonl")
GROUP = "5de11c0c5e"  # trained apart, on the same batches: shown as the race that they are
WEIGHTS, CARD = "best.safetensors", "README.md"
MOST_BYTES, MOST_TOGETHER = 10_000_000, 32_000_000
MOST_LOST = 0.002  # nats that 16 bits may cost
# The small race: units of its one layer, for about 33,000 parameters each.
SMALL = {"lstm": 54, "gru": 64, "rnn": 118}
SMALL_PASSES, SMALL_GROUP = 12, "5de11c0c5f"
SMALL_OPTIONS = {"num_layers": 1, "dropout": 0.0, "weight_decay": 0.0, "learning_rate": 0.0, "snapshots": 12}
LOGGED = 5  # of so many lines of a small one's log, one is kept
MOST_SMALL = 3_000_000  # bytes of all files of the small race


def trained(arch: str, work: Path) -> Run:
    """The finished run of an architecture: found, resumed, or trained."""
    options = {"epochs": PASSES, "label": f"{DEFAULT_KEY}-{arch}", "snapshots": 0}
    return train(work, DEFAULT_KEY, "quality", recipe(DEFAULT_KEY, arch, {"parameters": PARAMETERS, **options}))


def trained_small(arch: str, work: Path) -> Run:
    """The same of the small race."""
    options = {"epochs": SMALL_PASSES, "label": f"{DEFAULT_KEY}-small-{arch}", "hidden_size": SMALL[arch]}
    return train(work, DEFAULT_KEY, "quality", recipe(DEFAULT_KEY, arch, {**SMALL_OPTIONS, **options}))


def publish(run: Run, group: str = GROUP, label: str = "") -> int:
    """Put a run into checkpoints/shipped/ in a folder of its label's name; returns the bytes of its weights.

    Args:
        run: finished.
        group: that it is shown in.
        label: there; empty: as it is.

    Raises:
        SystemExit: its weights are too long, or cost too much in 16 bits.
    """
    name = run.label
    folder = SHIPPED / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in FILES:
        shutil.copy(run.folder / file, folder / file)
    model, path = run.load_model(), folder / WEIGHTS
    about = weights_about(run.folder / WEIGHTS)
    save_weights(path, model, half=True, step=about["step"], val_loss=about["val_loss"])
    kept = load_weights(path, run.model_config)
    whole, half = measured(run, model), measured(run, kept)
    info = {**run.info, "run_id": name, "label": label or name, "message": "", "group": group}
    (folder / "run.json").write_text(json.dumps(info, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card(run, kept, whole, half), encoding="utf-8")
    lost, size = half.nats_per_token - whole.nats_per_token, path.stat().st_size
    print(f"{name}: {half.nats_per_token:.4f} nats, 16 bits cost {lost:+.6f}; {size:,} bytes")
    if lost > MOST_LOST or size > MOST_BYTES:
        raise SystemExit(f"{name}: 16 bits may cost {MOST_LOST}, its weights may take {MOST_BYTES:,} bytes")
    return size


def publish_history(run: Run) -> None:
    """Put a published run's snapshots beside it, and shorten its log."""
    folder = SHIPPED / run.label
    (folder / "snapshots").mkdir()
    for step in run.snapshots():
        shutil.copy(snapshot_path(run.folder, step), snapshot_path(folder, step))
    rows = enumerate(run.metrics(), 1)
    MetricsLog(folder / "metrics.jsonl").write(
        row for place, row in rows if row["val_loss"] is not None or place % LOGGED == 0
    )


def measured(run: Run, model: LanguageModel) -> Evaluation:
    """The loss over the whole held-out text."""
    config = run.train_config
    ids = run.tokenizer().encode(load_corpus(DEFAULT_KEY, run.corpus_config).text)
    data = Dataset(ids, config.batch_size, config.seq_len, run.corpus_config.val_fraction)
    return evaluate(model, data.val_ids, threads=all_threads())


def main(words: Sequence[str] | None = None) -> None:
    """Train and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archs", nargs="*", metavar="ARCH", help=f"of {', '.join(ARCHS)} (default: all)")
    parser.add_argument("--small", action="store_true", help="the small race with its snapshots")
    parser.add_argument("--work", type=Path, default=Path("checkpoints") / "making-shipped")
    given = parser.parse_args(words)
    for arch in given.archs or (SMALL if given.small else ARCHS):
        if given.small:
            publish(run := trained_small(arch, given.work), SMALL_GROUP, f"small-{arch}")
            publish_history(run)
        else:
            publish(trained(arch, given.work))
    together = sum(path.stat().st_size for path in SHIPPED.glob(f"*/{WEIGHTS}"))
    print(f"{together:,} bytes of at most {MOST_TOGETHER:,}")
    if together > MOST_TOGETHER:
        raise SystemExit("too large together: choose fewer parameters")
    small = sum(path.stat().st_size for path in SHIPPED.glob(f"{DEFAULT_KEY}-small-*/**/*") if path.is_file())
    print(f"{small:,} bytes of at most {MOST_SMALL:,} in the small race")
    if small > MOST_SMALL:
        raise SystemExit("the small race is too large: choose fewer units")


if __name__ == "__main__":
    main()
