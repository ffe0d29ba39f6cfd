"""The loss with a large vocabulary: loss and gradients in chunks, the logits of a batch never in memory.

The gradient of a cross-entropy needs only the logits, so it is computed in their place in the forward pass, and they
are discarded (Wijmans et al. 2024, Cut your losses in large-vocabulary language models; Hsu et al. 2024, Liger).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from charlm.models.kernels.jit import compiled, exp, get, put
from charlm.models.kernels.plan import ComputePlan, as_array, sum_type

Array = np.ndarray[Any, Any]
LANES = 128  # maxima and sums kept side by side: a single one would wait for itself
LOWEST, NONE, ONE = np.float32(-np.inf), np.float32(0), np.float32(1)


@compiled
def losses(logits: Array, bias: Array, targets: Array, exps: Array, into_gradients: bool) -> float:
    """The summed cross-entropy of logits (n, V) plus bias (V,); targets of -1 do not count.

    Args:
        logits: without bias; 16 bits hold bfloat16.
        bias: float32.
        targets: (n,).
        exps: (V,) float32, overwritten.
        into_gradients: whether the logits are overwritten by their gradients.
    """
    size, lanes, total = bias.shape[0], np.empty(LANES, np.float32), 0.0
    whole = size // LANES * LANES
    for r in range(logits.shape[0]):
        row, target = logits[r], targets[r]
        lanes[:] = LOWEST
        for first in range(0, whole, LANES):
            x, b, e = row[first : first + LANES], bias[first : first + LANES], exps[first : first + LANES]
            for k in range(LANES):
                e[k] = get(x, k) + b[k]
                lanes[k] = max(lanes[k], e[k])
        highest = LOWEST
        for k in range(LANES):
            highest = max(highest, lanes[k])
        for j in range(whole, size):
            exps[j] = get(row, j) + bias[j]
            highest = max(highest, exps[j])
        chosen = exps[max(target, 0)] - highest
        lanes[:] = NONE
        for first in range(0, whole, LANES):
            e = exps[first : first + LANES]
            for k in range(LANES):
                e[k] = exp(e[k] - highest)
                lanes[k] += e[k]
        added = NONE
        for k in range(LANES):
            added += lanes[k]
        for j in range(whole, size):
            exps[j] = exp(exps[j] - highest)
            added += exps[j]
        if target >= 0:
            total += np.log(np.float64(added)) - np.float64(chosen)
        if into_gradients:
            share = ONE / added if target >= 0 else NONE
            for j in range(size):
                put(row, j, exps[j] * share)
            if target >= 0:
                put(row, target, exps[target] * share - ONE)
    return total


# Distinct tokens from which logits are computed in chunks; with fewer they take little memory.
MANY_TOKENS = 1_024
# Logits at a time, and those of them that become probabilities at a time, which stay in the cache.
CHUNK, BLOCK = 1 << 23, 1 << 18
# Rows of the weights whose gradients of a chunk are computed at a time.
PRODUCT_ROWS = 2_048
# Tokens are drawn by their frequency to this power: rare ones come up too, and the most frequent are among a batch's
# targets anyway. After 120 steps on WikiText-2, 4,096 tokens drawn so do as well as 8,192 drawn by the power 0.75.
SMOOTHING = 0.5


def are_many(vocab_size: int) -> bool:
    """Whether a vocabulary is large: logits are computed in chunks, and gradients of the rows in use only."""
    return vocab_size >= MANY_TOKENS


def has_sparse_gradient(weight: Tensor) -> bool:
    """Whether vectors (V, D) that are not looked up have no gradient, instead of zeros: of many tokens a batch has few.

    Apple's GPUs are not asked for that.
    """
    return are_many(len(weight)) and weight.device.type != "mps"


def look_up(ids: Tensor, weight: Tensor) -> Tensor:
    """Rows of weights (V, D) by ids (..), (.., D); see `has_sparse_gradient`."""
    return F.embedding(ids, weight, sparse=has_sparse_gradient(weight))


def activations(vocab_size: int, features: int) -> int:
    """Numbers a token that an output layer keeps for the backward pass, or works with."""
    return 3 * features if are_many(vocab_size) else 4 * vocab_size


class CrossEntropy(Function):
    """The summed cross-entropy of a linear output."""

    @staticmethod
    def forward(
        ctx: Any, plan: ComputePlan, keep: bool, features: Tensor, weight: Tensor, bias: Tensor, targets: Tensor
    ) -> Tensor:
        """The sum over the targets in nats, a scalar.

        Args:
            ctx: autograd's.
            plan: number format of the products; sums, exponentials and logarithms are in full.
            keep: whether a backward pass follows; otherwise no gradient is computed.
            features: (N, D).
            weight: (V, D).
            bias: (V,), added in full.
            targets: (N,); those of -1 do not count.
        """
        x, w = features.to(plan.dtype), weight.to(plan.dtype)
        rows = max(1, CHUNK // len(w))
        again = keep and x.is_cpu  # the buffers are memory of the CPU
        room = plan.buffers.take((CHUNK,), plan.dtype) if again else x.new_empty(min(rows, len(x)) * len(w))
        total = torch.zeros((), dtype=sum_type(x.device), device=x.device)
        gradients = _Gradients(x, w, bias) if keep else None
        for first in range(0, len(x), rows):
            part = x[first : first + rows]
            logits = torch.mm(part, w.t(), out=room[: len(part) * len(w)].view(len(part), -1))  # (n, V)
            total += _losses(plan, logits, bias, targets[first : first + rows], keep)
            if gradients is not None:  # the logits have become their own
                gradients.add(first, logits)
        if again:
            plan.buffers.give(room)
        ctx.saved = gradients and (gradients.dx.to(features.dtype), gradients.dweight, gradients.dbias)
        return total.to(weight.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients from the forward pass, times the gradient of the sum."""
        if ctx.saved is None:
            raise RuntimeError("a cross-entropy in chunks can be differentiated once, and only with `keep`")
        saved, ctx.saved = ctx.saved, None
        return None, None, *(part.mul_(grads[0].to(part.dtype)) for part in saved), None


class _Gradients:
    """Gradients of features (N, D), weights (V, D) and bias, added up chunk by chunk."""

    def __init__(self, x: Tensor, w: Tensor, bias: Tensor) -> None:
        self._x, self._w = x, w
        self.dx, self.dweight, self.dbias = torch.empty_like(x), w.new_zeros(w.shape, dtype=bias.dtype), bias * 0

    def add(self, first: int, logits: Tensor) -> None:
        """Add the gradients of logits (n, V), which belong to the features from `first` on."""
        part = self._x[first : first + len(logits)]
        torch.mm(logits, self._w, out=self.dx[first : first + len(logits)])
        self.dbias += torch.mm(logits.new_ones(1, len(logits)), logits)[0]
        if self.dweight.dtype == logits.dtype:
            self.dweight.addmm_(logits.t(), part)
            return
        for of_some in range(0, len(self.dweight), PRODUCT_ROWS):  # bfloat16 products are added up in float32
            some = slice(of_some, of_some + PRODUCT_ROWS)
            self.dweight[some] += torch.mm(logits[:, some].t(), part)


def _losses(plan: ComputePlan, logits: Tensor, bias: Tensor, targets: Tensor, into_gradients: bool) -> Tensor | float:
    """See `losses`; by torch's operations where nothing is compiled."""
    if plan.compiled and bias.dtype == torch.float32 and logits.is_cpu:
        exps = np.empty(len(bias), np.float32)
        return losses(as_array(logits), bias.detach().numpy(), targets.numpy(), exps, into_gradients)
    total = torch.zeros((), dtype=sum_type(logits.device), device=logits.device)
    rows = max(1, BLOCK // len(bias))
    for first in range(0, len(logits), rows):
        block, wanted = logits[first : first + rows], targets[first : first + rows, None]
        counts = wanted >= 0
        wanted = wanted.clamp(min=0)
        shares = block + bias  # (r, V) in full
        shares -= shares.amax(1, keepdim=True)
        chosen = shares.gather(1, wanted)
        sums = shares.exp_().sum(1, keepdim=True)
        total += ((sums.log() - chosen) * counts).sum(dtype=total.dtype)
        if into_gradients:
            shares *= counts / sums
            shares.scatter_add_(1, wanted, -counts.to(shares.dtype))
            block.copy_(shares)
    return total


class Drawn(NamedTuple):
    """The tokens of a sampled softmax.

    Attributes:
        ids: (S,) in ascending order.
        raised: (S,) corrections, added to their logits.
        targets: (N,) places of the batch's targets among them.
    """

    ids: Tensor
    raised: Tensor
    targets: Tensor


class Sampler:
    """Draws the tokens of a sampled softmax: about `size` of them, and all targets.

    Every token is drawn independently, with a probability of its own (Poisson sampling). A softmax among the drawn ones
    has the same sum on average if each also counts for those that were not drawn: its logit is raised by
    -log(probability) (Bengio and Senecal 2008; Jean et al. 2015, section 3.1). Targets are always included and count
    once. Where all probabilities are 1, the softmax is exact.

    Args:
        counts: (V,) how often each token comes up in the training text.
        size: tokens to draw, on average.
    """

    def __init__(self, counts: Tensor, size: int) -> None:
        self.chances = _chances(counts.double().clamp(min=1).pow(SMOOTHING), size).float()
        self._raised = -self.chances.log()

    def draw(self, targets: Tensor, generator: torch.Generator) -> Drawn:
        """The tokens for a batch with these targets (N,); the generator is one of the CPU."""
        wanted = targets.cpu()
        raised = self._raised.index_fill(0, wanted, 0.0)
        drawn = torch.rand(len(self.chances), generator=generator) < self.chances
        ids = drawn.index_fill_(0, wanted, True).nonzero()[:, 0]
        places = torch.empty(len(drawn), dtype=torch.int64).index_copy_(0, ids, torch.arange(len(ids)))
        device = targets.device
        return Drawn(ids.to(device), raised[ids].to(device), places[wanted].to(device))


def _chances(weights: Tensor, size: int) -> Tensor:
    """Probabilities proportional to the weights, of sum `size`, but none above 1."""
    chances, sure = weights, weights < 0
    while size < len(weights):
        rest = weights.masked_fill(sure, 0.0)
        chances = torch.where(sure, 1.0, rest * ((size - sure.sum()) / rest.sum()))
        if torch.equal(sure, chances >= 1.0):
            return chances
        sure = chances >= 1.0
    return torch.ones_like(weights)


def output_loss(
    plan: ComputePlan, features: Tensor, output: nn.Linear, targets: Tensor, drawn: Drawn | None = None
) -> Tensor:
    """The summed cross-entropy of a linear output in nats, among all tokens or the drawn ones; a scalar.

    Args:
        plan: number format of the products, and buffers.
        features: (N, D).
        output: from features to logits.
        targets: (N,); those of -1 do not count.
        drawn: for these targets, see `Sampler`.
    """
    weight: Tensor = output.weight
    bias: Tensor = output.bias
    if drawn is not None:
        weight, bias = look_up(drawn.ids, weight), bias[drawn.ids] + drawn.raised
        targets = drawn.targets
    loss: Callable[..., Tensor] = CrossEntropy.apply
    return loss(plan, torch.is_grad_enabled(), features, weight, bias, targets)
