"""The Grimm notebook's training, epoch by epoch, as it has it: nothing of ours but the ids and the second measurement.

One-hot inputs, torch's layers, Adam, and a validation with dropout on of which the last batch is kept.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.usual_training import CharRNN, one_hot_encode

HIDDEN, LAYERS, DROPOUT, RATE, CLIP = 512, 2, 0.3, 0.001, 5
ROWS, COLUMNS = 128, 100
EPOCHS = 30


def get_batches(ids: np.ndarray, n_seqs: int, n_steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets, the last target of a row being the first input again."""
    batch_size = n_seqs * n_steps
    n_batches = len(ids) // batch_size
    ids = ids[: n_batches * batch_size].reshape((n_seqs, -1))
    for n in range(0, ids.shape[1], n_steps):
        x = ids[:, n : n + n_steps]
        y = np.zeros_like(x)
        try:
            y[:, :-1], y[:, -1] = x[:, 1:], ids[:, n + n_steps]
        except IndexError:
            y[:, :-1], y[:, -1] = x[:, 1:], ids[:, 0]
        yield x, y


class Notebook:
    """A training that can be put down and taken up again.

    Args:
        arch: lstm, gru or rnn.
        train_ids, val_ids: of the two parts of the text.
        vocab_size: distinct characters.
        seed: of torch's global generator.
    """

    def __init__(self, arch: str, train_ids: np.ndarray, val_ids: np.ndarray, vocab_size: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.arch, self.vocab_size = arch, vocab_size
        self.train_ids, self.val_ids = train_ids.astype(np.int64), val_ids.astype(np.int64)
        self.net = CharRNN(arch, vocab_size, HIDDEN, LAYERS, DROPOUT)
        nn.init.uniform_(self.net.fc.weight, -1, 1)
        nn.init.zeros_(self.net.fc.bias)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=RATE)
        self.epoch, self.seconds = 0, 0.0

    def save(self, path: Path) -> None:
        """Everything to continue from."""
        made = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "rng": torch.get_rng_state()}
        torch.save({**made, "epoch": self.epoch, "seconds": self.seconds}, path.with_suffix(".new"))
        path.with_suffix(".new").replace(path)

    def load(self, path: Path) -> None:
        """Continue from there."""
        made: dict[str, Any] = torch.load(path, weights_only=True)
        self.net.load_state_dict(made["net"])
        self.optimizer.load_state_dict(made["optimizer"])
        torch.set_rng_state(made["rng"])
        self.epoch, self.seconds = made["epoch"], made["seconds"]

    def train_epoch(self) -> float:
        """One pass and its validation; returns the last validation batch's loss. Only the pass counts as seconds."""
        criterion, began, hidden = nn.CrossEntropyLoss(), time.perf_counter(), self._start()
        self.net.train()
        for x, y in get_batches(self.train_ids, ROWS, COLUMNS):
            inputs, targets = torch.from_numpy(one_hot_encode(x, self.vocab_size)), torch.from_numpy(y)
            hidden = self._cut(hidden)
            self.net.zero_grad()
            output, hidden = self.net(inputs, hidden)
            loss = criterion(output, targets.reshape(ROWS * COLUMNS))
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), CLIP)
            self.optimizer.step()
        self.seconds += time.perf_counter() - began
        self.epoch += 1
        return self._validate(criterion)

    def _validate(self, criterion: nn.Module) -> float:
        """As the notebook does: dropout on, and each batch's loss replaces the one before."""
        hidden, last = self._start(), float("nan")
        for x, y in get_batches(self.val_ids, ROWS, COLUMNS):
            inputs, targets = torch.from_numpy(one_hot_encode(x, self.vocab_size)), torch.from_numpy(y)
            hidden = self._cut(hidden)
            output, hidden = self.net(inputs, hidden)
            last = criterion(output, targets.reshape(ROWS * COLUMNS)).item()
        return last

    def _start(self) -> Any:
        zeros = torch.zeros(LAYERS, ROWS, HIDDEN)
        return (zeros, zeros) if self.arch == "lstm" else zeros

    def _cut(self, hidden: Any) -> Any:
        return tuple(each.data for each in hidden) if self.arch == "lstm" else hidden.data
