"""minGRU: a gated recurrence whose gates read only the input, so that all steps can be computed at once."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from charlm.models.base import State
from charlm.models.blocks import MLP, ResidualModel
from charlm.models.kernels.linear import Linear
from charlm.models.kernels.scan import scan
from charlm.models.kernels.small import Array, Tape, Var

TAPS = 4  # tokens that the short convolution sees
WIDER = 2  # of the block's second half, beside hidden_size


class CausalConv1d(nn.Module):
    """A causal convolution of every unit by itself: the weighted sum of its last TAPS values."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(TAPS, size))

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, H) and the values before it (B, TAPS - 1, H) -> (B, T, H), and the values for the next call."""
        steps, x = x.shape[1], torch.cat((past, x), dim=1)
        total = x[:, :steps] * self.weight[0]
        for tap in range(1, TAPS):
            total = torch.addcmul(total, x[:, tap : tap + steps], self.weight[tap])
        return total, x[:, steps:]


class Block(nn.Module):
    """The recurrence behind a short convolution, and a wider layer."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.conv = CausalConv1d(size)
        self.gates = Linear(size, 2 * size)  # of the update gate, and of the candidates
        self.wide = MLP(size, WIDER)


class MinGRUModel(ResidualModel):
    """minGRU (Feng et al. 2024) in the blocks of their language models: convolution, recurrence, wider layer.

    Its state is the recurrence's, (L, B, H), and the last inputs of the convolution, (L, B, TAPS - 1, H).
    """

    TENSORS, WIDEST = 30, WIDER
    COMPILED = "the recurrence"
    ON_GPU = "a parallel scan"

    def block(self) -> Block:
        return Block(self.config.hidden_size)

    def initial_state(self, batch_size: int) -> State:
        layers, size = self.config.num_layers, self.config.hidden_size
        new = self.fc.weight.new_zeros
        return new(layers, batch_size, size), new(layers, batch_size, TAPS - 1, size)

    def features(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        hidden, seen = self.initial_state(len(ids)) if state is None else state
        x, ends = self.embed_inputs(ids), []
        for block, before, past in zip(self.blocks, hidden, seen, strict=True):
            mixed, end = block.conv(block.norm(x), past)
            states = scan(block.gates(mixed), before)
            x = x + self.sequence_dropout(states)
            x = x + self.sequence_dropout(block.wide(x))
            ends.append((states[:, -1], end))
        return self.output_features(x), tuple(torch.stack(parts) for parts in zip(*ends, strict=True))

    def small_features(self, tape: Tape, ids: Array, state: Sequence[Array]) -> tuple[Var, list[Array]]:
        x, ends = self.small_inputs(tape, ids), []
        for block, before, past in zip(self.blocks, *state, strict=True):
            mixed, seen = tape.convolution(tape.norm(x, block.norm), tape.weight(block.conv.weight), past)
            gates = block.gates
            sums = tape.product(mixed, tape.weight(gates.weight), tape.weight(gates.bias))
            states, end = tape.scan(sums, before)
            x = self.small_sum(tape, x, states)
            x = self.small_sum(tape, x, block.wide.small(tape, x))
            ends.append((end, seen))
        return self.small_outputs(tape, x), [np.stack(parts) for parts in zip(*ends, strict=True)]

    @torch.no_grad()
    def init_weights(self) -> None:
        """As ResidualModel; the convolution starts with mostly the present value, and a little of the past."""
        super().init_weights()
        for block in self.blocks:
            if not block.conv.weight.is_meta:
                block.conv.weight.normal_(0.0, 1.0 / math.sqrt(TAPS), generator=self.generator)
                block.conv.weight[-1] += 1.0
