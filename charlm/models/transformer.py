"""A small decoder-only Transformer: every token looks back on the last `context` ones, itself among them."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.config import ModelConfig
from charlm.models.base import State
from charlm.models.blocks import MLP, ResidualModel

WIDER = 4  # of the block's second half, beside hidden_size
# Scores are at most this times sqrt(D), D the size of a head: queries and keys have a fixed length (QK-norm, Henry et
# al. 2020), so that attention stays soft at the learning rates that recurrent layers like.
SHARPNESS = 1.5
# A sequence goes through the model in pieces of `context` tokens within these bounds: there are few scores at a time.
LEAST_PIECE, MOST_PIECE = 64, 512


class Block(nn.Module):
    """Attention, and a wider layer."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.qkv = nn.Linear(size, 3 * size, bias=False)
        self.out = nn.Linear(size, size, bias=False)
        self.wide = MLP(size, WIDER)


class TransformerModel(ResidualModel):
    """Attention (Vaswani et al. 2017) with a sliding window, positions by rotation (RoPE, Su et al. 2021).

    Its state are the keys and values of the last W = context - 1 tokens, the newest last, (L, B, W, N, D) each of N
    heads, and how many tokens these are: (1, B) of int64. Keys are kept as they are and turned by their place in the
    window whenever they are looked at, so that no position grows with the text. As in Transformer-XL (Dai et al. 2019)
    a training carries them from batch to batch: it computes the very function that writes.
    """

    KEPT = 46

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.window = config.window
        self.piece = max(LEAST_PIECE, min(self.window + 1, MOST_PIECE))
        self.turns: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @classmethod
    def macs_per_token(cls, config: ModelConfig) -> int:
        """Those with matrices, and with the keys and values of twice the context, of which a mask hides half."""
        return super().macs_per_token(config) + 4 * config.num_layers * config.hidden_size * (config.window + 1)

    def block(self) -> Block:
        return Block(self.config.hidden_size)

    def initial_state(self, batch_size: int) -> State:
        heads = self.config.num_heads
        shape = (self.config.num_layers, batch_size, self.window, heads, self.config.hidden_size // heads)
        new = self.fc.weight.new_zeros
        return new(shape), new(shape), new((1, batch_size), dtype=torch.int64)

    def features(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        state = self.initial_state(len(ids)) if state is None else state
        parts = []
        for piece in self.embed_inputs(ids).split(self.piece, dim=1):
            part, state = self._read(piece, state)
            parts.append(part)
        return self.output_features(torch.cat(parts, dim=1)), state

    def _read(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """All blocks over x (B, T, H), all positions at once, and the next window."""
        keys, values, filled = state
        filled, steps, ends = filled.clamp(0, self.window), x.shape[1], []
        first, mask = sight(filled[0], steps, self.window)
        for block, *past in zip(self.blocks, keys, values, strict=True):
            seen, *end = self._attend(block.qkv(block.norm(x)), past, first, mask)
            x = x + self.sequence_dropout(block.out(seen))
            x = x + self.sequence_dropout(block.wide(x))
            ends.append(end)
        activations = [torch.stack(parts).to(keys.dtype) for parts in zip(*ends, strict=True)]
        return x, (*activations, (filled + steps).clamp(max=self.window))

    def _attend(self, qkv: Tensor, past: list[Tensor], first: int, mask: Tensor | None) -> tuple[Tensor, ...]:
        """What every new token sees.

        Args:
            qkv: (B, T, 3 H), queries, keys and values of the new tokens.
            past: keys and values of the window, (B, W, N, D) each.
            first: place in the window from where on anything is looked at.
            mask: see `sight`.

        Returns:
            (B, T, H), and keys and values of the next window.
        """
        heads = qkv.unflatten(2, (3, self.config.num_heads, -1))  # (B, T, 3, N, D)
        steps, width = heads.shape[1], heads.shape[-1]
        query, new_key = F.layer_norm(heads[:, :, :2], (width,)).unbind(2)
        key = torch.cat((past[0], new_key), dim=1)  # (B, W + T, N, D)
        value = torch.cat((past[1], heads[:, :, 2]), dim=1)
        cos, sin = self._turn(key.shape[1] - first, qkv.device)
        seen = F.scaled_dot_product_attention(
            rotate(query.transpose(1, 2), cos[-steps:], sin[-steps:]),
            rotate(key[:, first:].transpose(1, 2), cos, sin),
            value[:, first:].transpose(1, 2),
            attn_mask=mask,
            scale=SHARPNESS / math.sqrt(width),
        )  # (B, N, T, D)
        return seen.transpose(1, 2).flatten(2), key[:, steps:], value[:, steps:]

    def _turn(self, places: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """What `rotate` takes for so many places, (places, D) each."""
        if device not in self.turns:
            speeds = torch.tensor(speeds_of(self.config), dtype=torch.float64)
            angles = torch.arange(self.window + self.piece, dtype=torch.float64)[:, None] * speeds
            cos, sin = angles.cos(), angles.sin()
            both = torch.cat((cos, cos), dim=1), torch.cat((-sin, sin), dim=1)
            self.turns[device] = both[0].float().to(device), both[1].float().to(device)
        cos, sin = self.turns[device]
        return cos[:places], sin[:places]


def speeds_of(config: ModelConfig) -> list[float]:
    """By how much each pair of a head's units turns from token to token.

    The fastest by one, the slowest by about one over the whole context (Su et al. have 10,000 tokens there, more than
    most models here look back on).
    """
    pairs = config.hidden_size // config.num_heads // 2
    return [(config.window + 1) ** (-pair / pairs) for pair in range(pairs)]


def sight(filled: Tensor, steps: int, window: int) -> tuple[int, Tensor | None]:
    """What `steps` new tokens may look at.

    Args:
        filled: (B,), how many of the last places of each window hold a token.
        steps: how many come after them.
        window: its places.

    Returns:
        The first place that any of them needs; and which of the places from there on each may look at, (T, ..), or
        (B, 1, T, ..) where the windows differ; None if all may look at all.
    """
    least, most = (int(end) for end in filled.aminmax())
    first = window - most
    if least == most and steps == 1:
        return first, None
    places = torch.arange(first, window + steps, device=filled.device)
    new = torch.arange(steps, device=filled.device)[:, None]
    mask = (places >= new) & (places <= new + window)
    if least < most:
        mask = mask & (places >= window - filled[:, None])[:, None, None]
    return first, mask


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs of units (j, j + D / 2) of x (.., T, D) by angles: cos, cos and -sin, sin of them, (T, D) each."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
