"""What Transformer and minGRU share: an embedding, residual blocks, a norm, a linear output."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.config import ModelConfig
from charlm.models.base import NeuralModel
from charlm.models.kernels.cross_entropy import activations, has_sparse_gradient
from charlm.models.kernels.linear import Linear
from charlm.models.kernels.small import Array, Tape, Var, is_small


class MLP(nn.Module):
    """The second half of a block: to a layer `times` as wide, GELU, and back."""

    def __init__(self, size: int, times: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.up = Linear(size, times * size, bias=False)
        self.down = Linear(times * size, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.down(F.gelu(self.up(self.norm(x))))
        return result

    def small(self, tape: Tape, x: Var) -> Var:
        """The same of rows (N, H), with the operations of a tape."""
        up = tape.product(tape.norm(x, self.norm), tape.weight(self.up.weight))
        return tape.product(tape.gelu(up), tape.weight(self.down.weight))


class ResidualModel(NeuralModel):
    """Blocks whose outputs are added to their inputs, each behind a norm of its own (pre-norm, Xiong et al. 2020).

    Without `embed_dim` vectors are as long as a layer is wide; others are first projected to that width.

    Attributes:
        TENSORS: tensors of H a token and layer that training keeps, gradients included.
        WIDEST: times H, the numbers of a token in the widest place of a block.
        blocks: the result of `block` for each layer.
    """

    TENSORS: int
    WIDEST: int
    blocks: Any

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__(config, seed)
        size, length = config.hidden_size, config.embed_dim or config.hidden_size
        self.embed = nn.Embedding(config.vocab_size, length)
        self.widen = Linear(length, size, bias=False) if length != size else None
        self.blocks = nn.ModuleList(self.block() for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(size)
        self.fc = nn.Linear(size, config.vocab_size)
        self.init_weights()
        if config.tie_weights:
            self.embed.weight = self.fc.weight  # whose initial weights are small, as logits want them

    @classmethod
    def activations(cls, config: ModelConfig) -> int:
        return config.num_layers * config.hidden_size * cls.TENSORS + activations(config.vocab_size, config.hidden_size)

    @abstractmethod
    def block(self) -> nn.Module:
        """One block; the layers whose results it adds to its input are called `out` and `down`."""

    def embed_inputs(self, ids: Tensor) -> Tensor:
        """Ids (B, T) -> the input of the first block, (B, T, H)."""
        self.embed.sparse = has_sparse_gradient(self.embed.weight)
        x, share = self.embed(ids), self.config.embed_dropout
        if share and self.training:
            x = x * self.dropout(x.new_ones(self.config.vocab_size, 1), share)[ids]
        x = self.sequence_dropout(x, self.config.input_dropout)
        return x if self.widen is None else self.widen(x)

    def is_small(self, ids: Tensor, formats: Sequence[torch.dtype]) -> bool:
        config, length = self.config, self.embed.weight.shape[1]
        is_plain = not (config.embed_dropout or config.input_dropout or config.locked_dropout)
        numbers = 4 * ids.numel() * self.WIDEST * config.hidden_size  # of which a block keeps several times as many
        return is_plain and is_small(numbers, ids, config.vocab_size, [config.hidden_size, length], formats)

    def small_inputs(self, tape: Tape, ids: Array) -> Var:
        """`embed_inputs` of ids (B, T), (N, H)."""
        x = tape.look_up(ids.ravel(), tape.weight(self.embed.weight))
        return x if self.widen is None else tape.product(x, tape.weight(self.widen.weight))

    def small_sum(self, tape: Tape, x: Var, added: Var) -> Var:
        """x and what a half of a block adds to it, after its dropout, (N, H) each."""
        return tape.add(x, tape.dropout(added, self.config.dropout))

    def small_outputs(self, tape: Tape, x: Var) -> Var:
        """`output_features`, (N, H) each."""
        return tape.dropout(tape.norm(x, self.norm), self.config.dropout_before_output)

    def sequence_dropout(self, x: Tensor, share: float | None = None) -> Tensor:
        """Dropout of x (B, T, ..), with one mask for a whole sequence if the config says so."""
        if not self.config.locked_dropout:
            return self.dropout(x, share)
        return self.dropout(x.transpose(0, 1), share, locked=True).transpose(0, 1)

    def output_features(self, x: Tensor) -> Tensor:
        """The output of the last block -> the input of `fc`, (B, T, H) each."""
        return self.sequence_dropout(self.norm(x), self.config.dropout_before_output)

    @torch.no_grad()
    def init_weights(self) -> None:
        """Initialise as `config.init` says; `notebook`, which knows no blocks, as torch."""
        super().init_weights()
        if not self.fc.weight.is_meta and self.config.init in ("tuned", "xavier"):
            for name, parameter in self.named_parameters():
                if name.endswith(".bias"):
                    parameter.zero_()
                elif parameter.dim() > 1:
                    (self._tune if self.config.init == "tuned" else self._balance)(name, parameter)

    def _tune(self, name: str, weight: Tensor) -> None:
        """Keep the variance of products; the more blocks, the less each adds (Radford et al. 2019, section 2.3)."""
        if name not in ("embed.weight", "fc.weight"):
            weight.normal_(0.0, 1.0 / math.sqrt(weight.shape[1]), generator=self.generator)
        if name.endswith((".out.weight", ".down.weight")):
            weight.div_(math.sqrt(2 * self.config.num_layers))

    def _balance(self, name: str, weight: Tensor) -> None:
        """As in tutorials: small vectors, weights that keep variances in both passes (Glorot and Bengio 2010)."""
        if name == "embed.weight":
            weight.uniform_(-0.1, 0.1, generator=self.generator)
        else:
            nn.init.xavier_uniform_(weight, generator=self.generator)
