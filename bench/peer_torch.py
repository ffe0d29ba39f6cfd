"""A step of training in torch as one usually writes it, also by torch.compile. See bench/peers.py."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.measure import Round, rated
from bench.usual_training import CharRNN, one_hot_encode

HEADS, DROPOUT, CLIP, RATE = 4, 0.3, 5.0, 1e-3
TAPS = 4  # tokens that a minGRU's convolution sees


class Blocks(nn.Module):
    """Residual blocks over embedded tokens, as in nanoGPT and in the minGRU paper's language models."""

    def __init__(self, block: Callable[[int], nn.Module], vocab_size: int, hidden_size: int, num_layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocab_size, hidden_size)
        self.blocks = nn.Sequential(*(block(hidden_size) for _ in range(num_layers)))
        self.norm, self.fc = nn.LayerNorm(hidden_size), nn.Linear(hidden_size, vocab_size)

    def forward(self, ids: Tensor) -> Tensor:
        return self.fc(self.norm(self.blocks(self.embed(ids))))


def mlp(size: int, times: int) -> nn.Module:
    wide = nn.Linear(size, times * size, bias=False), nn.GELU(), nn.Linear(times * size, size, bias=False)
    return nn.Sequential(nn.LayerNorm(size), *wide, nn.Dropout(DROPOUT))


class TransformerBlock(nn.Module):
    """Causal attention, and a layer four times as wide."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm, self.qkv = nn.LayerNorm(size), nn.Linear(size, 3 * size, bias=False)
        self.out, self.dropout, self.wide = nn.Linear(size, size, bias=False), nn.Dropout(DROPOUT), mlp(size, 4)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm(x)).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.dropout(self.out(seen.transpose(1, 2).flatten(2)))
        return x + self.wide(x)


class MinGRUBlock(nn.Module):
    """A short convolution, the recurrence by the paper's parallel scan, and a layer twice as wide."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.LayerNorm(size), nn.Conv1d(size, size, TAPS, groups=size)
        self.gates, self.dropout, self.wide = nn.Linear(size, 2 * size), nn.Dropout(DROPOUT), mlp(size, 2)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.conv(F.pad(self.norm(x).transpose(1, 2), (TAPS - 1, 0))).transpose(1, 2)
        gate, candidate = self.gates(mixed).chunk(2, dim=2)
        log_g = torch.where(candidate >= 0, (F.relu(candidate) + 0.5).log(), -F.softplus(-candidate))
        kept = (-F.softplus(gate)).cumsum(1)
        states = (kept + (-F.softplus(-gate) + log_g - kept).logcumsumexp(1)).exp()
        x = x + self.dropout(states)
        return x + self.wide(x)


def trainer(
    arch: str, vocab_size: int, hidden_size: int, num_layers: int, batch_size: int, seq_len: int, seconds: float,
    compiled: bool,
) -> Callable[[], Round]:  # fmt: skip
    """The usual step, of which torch.compile may compile the model."""
    recurrent = arch in ("lstm", "gru", "rnn")
    if recurrent:
        model: Any = CharRNN(arch, vocab_size, hidden_size, num_layers, DROPOUT)
    else:
        model = Blocks(TransformerBlock if arch == "transformer" else MinGRUBlock, vocab_size, hidden_size, num_layers)
    net = torch.compile(model) if compiled else model
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    rng, shape = np.random.default_rng(0), (num_layers, batch_size, hidden_size)
    hidden: Any = (torch.zeros(shape), torch.zeros(shape)) if arch == "lstm" else torch.zeros(shape)

    def step() -> None:
        nonlocal hidden
        x, y = rng.integers(0, vocab_size, (2, batch_size, seq_len))
        targets = torch.from_numpy(y).flatten()
        optimizer.zero_grad()
        if recurrent:
            hidden = tuple(part.detach() for part in hidden) if arch == "lstm" else hidden.detach()
            logits, hidden = net(torch.from_numpy(one_hot_encode(x, vocab_size)), hidden)
        else:
            logits = net(torch.from_numpy(x)).flatten(0, 1)
        F.cross_entropy(logits, targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()

    return rated(step, batch_size * seq_len, seconds)
