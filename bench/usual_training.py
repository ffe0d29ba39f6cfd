"""The usual training step, as tutorials write it: one-hot inputs, torch's layers, Adam; nothing of ours."""

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn


class CharRNN(nn.Module):
    """One-hot characters through nn.LSTM, nn.GRU or nn.RNN, dropout, a linear layer."""

    def __init__(self, arch: str, vocab_size: int, hidden_size: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        layers = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[arch]
        self.rnn = layers(vocab_size, hidden_size, num_layers, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(hidden_size, vocab_size)

    def forward(self, x, hidden):  # type: ignore[no-untyped-def]
        output, hidden = self.rnn(x, hidden)
        output = self.dropout(output)
        output = output.contiguous().view(-1, self.rnn.hidden_size)
        return self.fc(output), hidden


def one_hot_encode(ids: np.ndarray, vocab_size: int) -> np.ndarray:
    one_hot = np.zeros((ids.size, vocab_size), dtype=np.float32)
    one_hot[np.arange(ids.size), ids.flatten()] = 1.0
    return one_hot.reshape((*ids.shape, vocab_size))


def trainer(
    arch: str, vocab_size: int, hidden_size: int, num_layers: int, batch_size: int, seq_len: int, steps: int
) -> Callable[[], dict[str, float]]:
    """A function that trains `steps` batches of random characters and returns its rate."""
    net = CharRNN(arch, vocab_size, hidden_size, num_layers, dropout=0.3)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    criterion = nn.CrossEntropyLoss()
    rng = np.random.default_rng(0)
    shape = (num_layers, batch_size, hidden_size)
    hidden = (torch.zeros(shape), torch.zeros(shape)) if arch == "lstm" else torch.zeros(shape)
    net.train()

    def play() -> dict[str, float]:
        nonlocal hidden
        began = time.perf_counter()
        for _ in range(steps):
            x, y = rng.integers(0, vocab_size, (2, batch_size, seq_len))
            inputs, targets = torch.from_numpy(one_hot_encode(x, vocab_size)), torch.from_numpy(y)
            hidden = tuple(each.data for each in hidden) if arch == "lstm" else hidden.data
            net.zero_grad()
            output, hidden = net(inputs, hidden)
            loss = criterion(output, targets.view(batch_size * seq_len))
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5)
            optimizer.step()
        return {"chars_per_second": steps * batch_size * seq_len / (time.perf_counter() - began)}

    return play
