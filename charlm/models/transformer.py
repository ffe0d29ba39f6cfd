"""A small decoder-only Transformer: every token attends to the last `context` ones, itself included."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.config import ModelConfig
from charlm.models.base import State
from charlm.models.blocks import MLP, ResidualModel
from charlm.models.kernels.attention import Attention
from charlm.models.kernels.linear import Linear
from charlm.models.kernels.small import Array, Tape, Var

WIDER = 4  # of the block's second half, beside hidden_size
# Scores are at most this times sqrt(D), D the size of a head: queries and keys have a fixed length (QK-norm, Henry et
# al. 2020), so that attention stays soft at the learning rates that recurrent layers like.
SHARPNESS = 1.5
# A sequence goes through the model in pieces of `context` tokens within these bounds: there are few scores at a time.
LEAST_PIECE, MOST_PIECE = 64, 512
CPU = torch.device("cpu")


class Block(nn.Module):
    """Attention, and a wider layer."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.qkv = Linear(size, 3 * size, bias=False)
        self.out = Linear(size, size, bias=False)
        self.wide = MLP(size, WIDER)


class TransformerModel(ResidualModel):
    """Attention (Vaswani et al. 2017) with a sliding window, positions by rotation (RoPE, Su et al. 2021).

    Its state is the keys and values of the last W = context - 1 tokens, the newest last, (L, B, W, N, D) each of N
    heads, and the number of these tokens: (1, B) of int64, on the CPU, since the mask's shape depends on it. Keys are
    stored unrotated and rotated by their place in the window whenever they are read, so that no position grows with the
    text. As in Transformer-XL (Dai et al. 2019) training carries them from batch to batch: it computes the same
    function as generation.
    """

    TENSORS, WIDEST = 46, WIDER
    COMPILED = "attention"

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__(config, seed)
        self.window = config.window
        self.piece = max(LEAST_PIECE, min(self.window + 1, MOST_PIECE))
        self._cached_rotations: dict[torch.device, tuple[Tensor, Tensor]] = {}

    @classmethod
    def macs_per_token(cls, config: ModelConfig) -> int:
        """Those of matrices, and of keys and values of twice the context, of which a mask hides half."""
        return super().macs_per_token(config) + 4 * config.num_layers * config.hidden_size * (config.window + 1)

    def block(self) -> Block:
        return Block(self.config.hidden_size)

    def initial_state(self, batch_size: int) -> State:
        heads = self.config.num_heads
        shape = (self.config.num_layers, batch_size, self.window, heads, self.config.hidden_size // heads)
        new = self.fc.weight.new_zeros
        return new(shape), new(shape), torch.zeros(1, batch_size, dtype=torch.int64)

    def features(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        state = self.initial_state(len(ids)) if state is None else state
        parts, pieces = [], self.embed_inputs(ids).split(self.piece, dim=1)
        compiled = self._is_compiled(pieces[0], alone=len(pieces) == 1)
        for piece in pieces:
            part, state = self._read(piece, state, compiled)
            parts.append(part)
        return self.output_features(torch.cat(parts, dim=1)), state

    def is_small(self, ids: Tensor, formats: Sequence[torch.dtype]) -> bool:
        return ids.shape[1] <= self.piece and super().is_small(ids, formats)

    def small_features(self, tape: Tape, ids: Array, state: Sequence[Array]) -> tuple[Var, list[Array]]:
        keys, values, filled = state
        filled, heads, ends = filled.clip(0, self.window), self.config.num_heads, []
        size, places = self.config.hidden_size // heads, int(filled.max()) + ids.shape[1]
        cos, sin = (part[:, size // 2 :].t().contiguous().numpy() for part in self._rotations(places, CPU))
        x = self.small_inputs(tape, ids)
        for block, *past in zip(self.blocks, keys, values, strict=True):
            qkv = tape.product(tape.norm(x, block.norm), tape.weight(block.qkv.weight))
            shape, scale = (*ids.shape, 3, heads, size), SHARPNESS / math.sqrt(size)
            seen, end = tape.attention(qkv, shape, past, (filled[0], cos, sin), scale)
            x = self.small_sum(tape, x, tape.product(seen, tape.weight(block.out.weight)))
            x = self.small_sum(tape, x, block.wide.small(tape, x))
            ends.append(end)
        activations = [np.stack(parts) for parts in zip(*ends, strict=True)]
        return self.small_outputs(tape, x), [*activations, (filled + ids.shape[1]).clip(max=self.window)]

    def _is_compiled(self, x: Tensor, alone: bool) -> bool:
        """Whether attention is our own, which gives the window no gradient: nobody wants one, or it is a batch's own.

        Args:
            x: the input of the first block.
            alone: whether it is the whole sequence, so that its window is that of the batch before.
        """
        wanted = alone if self.training else not torch.is_grad_enabled()
        return wanted and x.is_cpu and x.dtype == torch.float32 and self.plan().compiled

    def _read(self, x: Tensor, state: State, compiled: bool) -> tuple[Tensor, State]:
        """All blocks over x (B, T, H), all positions at once, and the next window."""
        keys, values, filled = state
        filled, steps, ends = filled.cpu().clamp(0, self.window), x.shape[1], []
        first, mask = (0, None) if compiled else attention_mask(filled[0], steps, self.window, x.device)
        for block, *past in zip(self.blocks, keys, values, strict=True):
            qkv = block.qkv(block.norm(x)).unflatten(2, (3, self.config.num_heads, -1))
            seen, *end = self._compiled(qkv, past, filled[0]) if compiled else self._attend(qkv, past, first, mask)
            x = x + self.sequence_dropout(block.out(seen.flatten(2)))
            x = x + self.sequence_dropout(block.wide(x))
            ends.append(end)
        activations = [torch.stack(parts).to(keys.dtype) for parts in zip(*ends, strict=True)]
        return x, (*activations, (filled + steps).clamp(max=self.window))

    def _attend(self, qkv: Tensor, past: list[Tensor], first: int, mask: Tensor | None) -> tuple[Tensor, ...]:
        """Attention of every new token.

        Args:
            qkv: (B, T, 3, N, D), queries, keys and values of the new tokens.
            past: keys and values of the window, (B, W, N, D) each.
            first: the first place of the window that is attended to.
            mask: see `attention_mask`.

        Returns:
            (B, T, N, D), and keys and values of the next window.
        """
        steps, width = qkv.shape[1], qkv.shape[-1]
        query, new_key = F.layer_norm(qkv[:, :, :2], (width,)).unbind(2)
        key = torch.cat((past[0], new_key), dim=1)  # (B, W + T, N, D)
        value = torch.cat((past[1], qkv[:, :, 2]), dim=1)
        cos, sin = self._rotations(key.shape[1] - first, qkv.device)
        seen = F.scaled_dot_product_attention(
            rotate(query.transpose(1, 2), cos[-steps:], sin[-steps:]),
            rotate(key[:, first:].transpose(1, 2), cos, sin),
            value[:, first:].transpose(1, 2),
            attn_mask=mask,
            scale=SHARPNESS / math.sqrt(width),
        )  # (B, N, T, D)
        return seen.transpose(1, 2), key[:, steps:], value[:, steps:]

    def _compiled(self, qkv: Tensor, past: list[Tensor], filled: Tensor) -> tuple[Tensor, ...]:
        """As `_attend`, of a window of which `filled` (B,) places hold a token; the next one has no gradient."""
        half = qkv.shape[-1] // 2
        cos, sin = (part[:, half:].t() for part in self._rotations(int(filled.max()) + qkv.shape[1], qkv.device))
        attention: Callable[..., tuple[Tensor, ...]] = Attention.apply
        return attention(qkv.float(), past, filled, cos, sin, SHARPNESS / math.sqrt(qkv.shape[-1]))

    def _rotations(self, places: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The cosines and sines that `rotate` takes for the first `places` places, (places, D) each."""
        if device not in self._cached_rotations:
            speeds = torch.tensor(speeds_of(self.config), dtype=torch.float64)
            angles = torch.arange(self.window + self.piece, dtype=torch.float64)[:, None] * speeds
            cos, sin = angles.cos(), angles.sin()
            both = torch.cat((cos, cos), dim=1), torch.cat((-sin, sin), dim=1)
            self._cached_rotations[device] = both[0].float().to(device), both[1].float().to(device)
        cos, sin = self._cached_rotations[device]
        return cos[:places], sin[:places]


def speeds_of(config: ModelConfig) -> list[float]:
    """The angle in radians by which each pair of a head's units is rotated from token to token.

    The fastest by 1, the slowest by about 1 over the whole context (Su et al. take 10,000 tokens, more than the context
    of most models here).
    """
    pairs = config.hidden_size // config.num_heads // 2
    return [(config.window + 1) ** (-pair / pairs) for pair in range(pairs)]


def attention_mask(
    filled: Tensor, steps: int, window: int, device: torch.device | None = None
) -> tuple[int, Tensor | None]:
    """The places that new tokens may attend to.

    Args:
        filled: (B,), how many of the last places of each window hold a token.
        steps: T, the number of new tokens.
        window: the number of its places.
        device: of the mask; None: the CPU, where `filled` should be, as it is looked at here.

    Returns:
        The first place that any of them needs; and which of the places from there on each may attend to, (T, ..), or
        (B, 1, T, ..) where the windows differ; None if all may attend to all.
    """
    least, most = (int(end) for end in filled.aminmax())
    first = window - most
    if least == most and steps == 1:
        return first, None
    places = torch.arange(first, window + steps, device=device)
    new = torch.arange(steps, device=device)[:, None]
    mask = (places >= new) & (places <= new + window)
    if least < most:
        mask = mask & (places >= window - filled.to(device)[:, None])[:, None, None]
    return first, mask


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs of units (j, j + D / 2) of every place by its angles (RoPE, Su et al. 2021).

    Args:
        x: (.., T, D).
        cos: (T, D), the cosines of the D / 2 angles, twice.
        sin: (T, D), their sines, negative in the first half.
    """
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
