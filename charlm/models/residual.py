"""What Transformer and minGRU share: an embedding, blocks that each add something to it, a norm, a linear output."""

import math
from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.config import ModelConfig
from charlm.models.cross_entropy import are_many, kept
from charlm.models.language_model import NeuralModel


class Wide(nn.Module):
    """The second half of a block: to a wider layer and back."""

    def __init__(self, size: int, times: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.up = nn.Linear(size, times * size, bias=False)
        self.down = nn.Linear(times * size, size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(self.norm(x))))


class ResidualModel(NeuralModel):
    """Blocks whose outputs are added to their inputs, each behind a norm of its own (pre-norm, Xiong et al. 2020).

    Without `embed_dim` vectors are as long as a layer is wide; shorter or longer ones are first turned into such.

    Attributes:
        KEPT: tensors of H a token and layer that a training keeps, its gradients among them.
        blocks: a list of what `block` makes.
    """

    KEPT: int
    blocks: Any

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__(config, seed)
        size, length = config.hidden_size, config.embed_dim or config.hidden_size
        self.embed = nn.Embedding(config.vocab_size, length, sparse=are_many(config.vocab_size))
        self.widen = nn.Linear(length, size, bias=False) if length != size else None
        self.blocks = nn.ModuleList(self.block() for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(size)
        self.fc = nn.Linear(size, config.vocab_size)
        self.draw_weights()
        if config.tie_weights:
            self.embed.weight = self.fc.weight  # whose first numbers are small, as logits want them

    @classmethod
    def kept(cls, config: ModelConfig) -> int:
        return config.num_layers * config.hidden_size * cls.KEPT + kept(config.vocab_size, config.hidden_size)

    @abstractmethod
    def block(self) -> nn.Module:
        """One block; what it adds at the end comes out of layers called `out` and `down`."""

    def embedded(self, ids: Tensor) -> Tensor:
        """Ids (B, T) -> what the first block reads, (B, T, H)."""
        x = self.embed(ids)
        return self.drop(x if self.widen is None else self.widen(x))

    def draw_weights(self) -> None:
        """First weights, as `config.init` says.

        Tuned ones keep the variance of what they multiply, and what blocks add is the less the more of them there are
        (Radford et al. 2019). The recurrent notebook has nothing to say about blocks: weights are torch's then.
        """
        super().draw_weights()
        if self.config.init == "tuned" and not self.fc.weight.is_meta:
            self._tune()

    @torch.no_grad()
    def _tune(self) -> None:
        for name, parameter in self.named_parameters():
            if name.endswith(".bias"):
                parameter.zero_()
            elif parameter.dim() > 1 and name not in ("embed.weight", "fc.weight"):
                parameter.normal_(0.0, 1.0 / math.sqrt(parameter.shape[1]), generator=self.generator)
            if name.endswith((".out.weight", ".down.weight")):
                parameter.div_(math.sqrt(2 * self.config.num_layers))
