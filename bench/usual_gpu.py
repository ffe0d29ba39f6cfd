"""The usual training step on a GPU, as tutorials write it: torch's layers, Adam, a loss that is read at every step."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from bench.usual_training import CharRNN


class CharTransformer(nn.Module):
    """torch's encoder with a causal mask, and a table of positions."""

    def __init__(self, vocab_size: int, hidden_size: int, num_layers: int, dropout: float, seq_len: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(vocab_size, hidden_size), nn.Embedding(seq_len, hidden_size)
        layer = nn.TransformerEncoderLayer(hidden_size, 4, 4 * hidden_size, dropout, "gelu", batch_first=True)
        self.layers, self.fc = nn.TransformerEncoder(layer, num_layers), nn.Linear(hidden_size, vocab_size)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(seq_len))

    def forward(self, ids):  # type: ignore[no-untyped-def]
        x = self.embed(ids) + self.place.weight
        return self.fc(self.layers(x, mask=self.mask, is_causal=True)).flatten(0, 1)


class CharMinGRU(nn.Module):
    """minGRU in log space by cumulative sums (Feng et al. 2024, appendix B), a wider layer after each."""

    def __init__(self, vocab_size: int, hidden_size: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.embed, self.fc = nn.Embedding(vocab_size, hidden_size), nn.Linear(hidden_size, vocab_size)
        self.gates = nn.ModuleList(nn.Linear(hidden_size, 2 * hidden_size) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_size) for _ in range(2 * num_layers))
        self.wide = nn.ModuleList(
            nn.Sequential(nn.Linear(hidden_size, 2 * hidden_size), nn.GELU(), nn.Linear(2 * hidden_size, hidden_size))
            for _ in range(num_layers)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids):  # type: ignore[no-untyped-def]
        x = self.embed(ids)
        for place, (gates, wide) in enumerate(zip(self.gates, self.wide, strict=True)):
            gate, candidate = gates(self.norms[2 * place](x)).float().chunk(2, dim=-1)
            log_g = torch.where(candidate >= 0, (F.relu(candidate) + 0.5).log(), -F.softplus(-candidate))
            taken = log_g - F.softplus(-gate)
            kept = -F.softplus(gate).cumsum(1)
            x = x + self.dropout((kept + (taken - kept).logcumsumexp(1)).exp())
            x = x + self.dropout(wide(self.norms[2 * place + 1](x)))
        return self.fc(x).flatten(0, 1)


def step_of(
    arch: str, device: str, half: bool, batch_size: int, seq_len: int, vocab_size: int, **layers: int
) -> Callable[[], None]:
    """A function that trains on one batch of random characters.

    Args:
        arch: lstm, gru, rnn, transformer or mingru.
        device: torch's name.
        half: whether products are in bfloat16, by autocast.
        batch_size, seq_len, vocab_size: as everywhere.
        **layers: hidden_size and num_layers.
    """
    sizes, net = (vocab_size, layers["hidden_size"], layers["num_layers"], 0.3), nn.Module()
    if arch == "transformer":
        net = CharTransformer(*sizes, seq_len)
    elif arch == "mingru":
        net = CharMinGRU(*sizes)
    else:
        net = CharRNN(arch, *sizes)
    net = net.to(device).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    hidden: Any = None

    def step() -> None:
        nonlocal hidden
        x, y = (part.to(device) for part in torch.randint(vocab_size, (2, batch_size, seq_len)))
        with torch.autocast(device, torch.bfloat16, enabled=half):
            if isinstance(net, CharRNN):
                if hidden is not None:
                    hidden = tuple(each.detach() for each in hidden) if arch == "lstm" else hidden.detach()
                output, hidden = net(F.one_hot(x, vocab_size).float(), hidden)
            else:
                output = net(x)
            loss = F.cross_entropy(output.float(), y.flatten())
        net.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5)
        optimizer.step()
        loss.item()

    return step
