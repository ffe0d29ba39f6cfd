"""Published tutorials: their settings and losses, and how these were measured. `reproduce` trains and compares."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

from charlm.config import CorpusConfig
from charlm.data.batches import Dataset
from charlm.data.corpus import Corpus, corpus_from_text
from charlm.data.dataset import dataset_of
from charlm.models import LanguageModel
from charlm.runs.checkpoint import load_weights
from charlm.runs.history import MetricsLog
from charlm.runs.run import Run

LOG = "analysis/reproduce.jsonl"  # in the run's folder: a line an epoch


@dataclass(frozen=True)
class Tutorial:
    """What is trained.

    Attributes:
        about: in a line.
        corpus: of the catalog; or what it is called, if `text` is given.
        archs: one after the other.
        epochs: as published.
        way: how its losses were measured, one of WAYS.
        losses: as published, in nats per token, by architecture and epoch; epoch 0: the best of all.
        preset, options: the settings.
        text: the text itself.
    """

    about: str
    corpus: str
    archs: tuple[str, ...]
    epochs: int
    way: str
    losses: Mapping[str, Mapping[int, float]]
    preset: str
    options: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""

    def read(self, config: CorpusConfig, by_name: Callable[[str, CorpusConfig], Corpus]) -> Corpus:
        """Its text; `by_name` opens one of the catalog."""
        return corpus_from_text(self.text, self.corpus, config) if self.text else by_name(self.corpus, config)


LAST_BATCH, BATCH_MEAN, TRAINING = "last validation batch, dropout on", "validation batches", "training batches"
OURS = "whole held-out text"
# The assignment came with a text of its own, which we do not have; this one is ours.
ASSIGNMENT = """A text is a row of letters. A model reads the text one letter at a time and guesses the next letter
of the text. When the guess is wrong, the model mends its weights a little, and reads on. After one
pass it knows which letters the text likes best. After ten passes it knows the short words of the
text. After a hundred passes it knows the text by heart: give it the beginning of a line, and it
writes the rest of the line. That is no language yet. A long text has more in it than a small model
can hold, so the model has to keep what is common and to forget what is rare. A short text like this
text is held whole, and what the model writes is the text itself.
"""

TUTORIALS: dict[str, Tutorial] = {
    "grimm": Tutorial(
        "Grimms' Fairy Tales by LSTM, GRU and RNN, 2 x 512", "grimm", ("lstm", "gru", "rnn"), 30, LAST_BATCH,
        {"lstm": {1: 2.80, 2: 2.32, 3: 2.16, 30: 1.479}, "gru": {30: 1.513, 0: 1.501}, "rnn": {30: 2.015}}, "notebook",
    ),
    "anna": Tutorial(
        "Anna Karenina by a 2 x 512 LSTM", "anna", ("lstm",), 20, BATCH_MEAN, {"lstm": {20: 1.3007, 0: 1.2917}},
        "notebook", {"dropout": 0.5, "init": "torch", "drop_newlines": False},
    ),
    "wikitext-2": Tutorial(
        "WikiText-2 by words: an LSTM with vectors of 800, 2 x 512", "wikitext-2", ("lstm",), 50, TRAINING,
        {"lstm": {50: 3.41}}, "wikitext-2",
    ),
    "tiny": Tutorial(
        "a class assignment: 2 x 128, one row of 20 characters, LSTM against GRU", "assignment.txt", ("lstm", "gru"),
        100, TRAINING, {}, "tiny", text=ASSIGNMENT,
    ),
}  # fmt: skip


@torch.no_grad()
def batch_losses(model: LanguageModel, data: Dataset) -> list[float]:
    """The losses of batches through the held-out text as the tutorials cut it, the state carried on.

    The text is laid in rows, what does not fill them left out; as the last target of a row, which the last batch has,
    its first token comes again, which no model can know: with 100 steps about 0.05 nats more.

    Args:
        model: in the mode that it is to be measured in.
        data: its `batch_size` and `seq_len` are used.

    Returns:
        Nats per token of each batch; empty where the text has not one.
    """
    rows, width = data.batch_size, data.seq_len
    row = len(data.val_ids) // (rows * width) * width
    inputs = torch.from_numpy(data.val_ids[: rows * row].astype("int64")).view(rows, row)
    targets = inputs.roll(-1, dims=1)
    state, losses = model.initial_state(rows), []
    for first in range(0, row, width):
        logits, state = model(inputs[:, first : first + width], state)
        losses.append(F.cross_entropy(logits.flatten(0, 1), targets[:, first : first + width].flatten()).item())
    return losses


def _last_batch(run: Run, model: LanguageModel, data: Dataset, epoch: int) -> float:
    """As a notebook did that forgot to turn dropout off, and kept the last batch's loss only."""
    losses = batch_losses(model.train(), data)
    model.eval()
    return losses[-1] if losses else math.nan


def _batch_mean(run: Run, model: LanguageModel, data: Dataset, epoch: int) -> float:
    losses = batch_losses(model, data)
    return math.fsum(losses) / len(losses) if losses else math.nan


def _training(run: Run, model: LanguageModel, data: Dataset, epoch: int) -> float:
    """The mean over an epoch's steps, dropout on."""
    rows = [row["train_loss"] for row in run.metrics() if epoch - 1 < row["epoch"] <= epoch]
    return math.fsum(rows) / len(rows) if rows else math.nan


WAYS: dict[str, Callable[[Run, LanguageModel, Dataset, int], float]] = {
    LAST_BATCH: _last_batch,
    BATCH_MEAN: _batch_mean,
    TRAINING: _training,
}


def measure(run: Run, corpus: Corpus, way: str) -> dict[str, Any]:
    """The losses of a run after its last epoch, measured the tutorial's way and ours; logged in its folder.

    Args:
        run: ended at an epoch's end.
        corpus: its text.
        way: one of WAYS.
    """
    epoch = round(run.epoch)
    data = dataset_of(run.tokenizer(), corpus, run.train_config, run.corpus_config)
    model = load_weights(run.folder / "last.safetensors", run.model_config)
    val_loss = next(row["val_loss"] for row in reversed(run.metrics()) if row.get("val_loss") is not None)
    entry = {
        "step": run.step,
        "epoch": epoch,
        OURS: val_loss,
        way: WAYS[way](run, model, data, epoch),
        "seconds": run.seconds,
    }
    log = _log(run)
    log.path.parent.mkdir(exist_ok=True)
    log.append(entry)
    return entry


def measured(run: Run) -> list[dict[str, Any]]:
    """What `measure` logged, one entry an epoch."""
    return list({entry["epoch"]: entry for entry in _log(run).rows()}.values())


def _log(run: Run) -> MetricsLog:
    return MetricsLog(run.folder / LOG)


def comparison(tutorial: Tutorial, arch: str, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Published loss, ours and the difference, after the last epoch that was trained and wherever one was published.

    Args:
        tutorial: with the published losses.
        arch: the architecture compared.
        entries: of `measured`, in the order of the epochs.
    """
    if not entries:
        return []
    known, last, rows = tutorial.losses.get(arch, {}), entries[-1]["epoch"], list[dict[str, Any]]()
    for entry in entries:
        if entry["epoch"] in known or entry["epoch"] == last:
            rows += _rows(arch, str(entry["epoch"]), tutorial.way, known.get(entry["epoch"]), entry)
    if 0 in known and last >= tutorial.epochs:
        best = {
            way: min((entry[way] for entry in entries if entry[way] is not None), default=None)
            for way in (tutorial.way, OURS)
        }
        rows += _rows(arch, "best", tutorial.way, known[0], best)
    return rows


def _rows(arch: str, epoch: str, way: str, published: float | None, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Their way of measuring, and ours, for which nothing was published."""
    difference = None if published is None or entry[way] is None else entry[way] - published
    about = {"arch": arch, "epoch": epoch}
    return [
        {**about, "measured": way, "published": published, "ours": entry[way], "difference": difference},
        {**about, "measured": OURS, "published": None, "ours": entry[OURS], "difference": None},
    ]
