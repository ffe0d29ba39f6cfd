"""The norms of a loss's gradient by every state, step by step back through time; what `gradient` averages.

In double precision, and in segments between which the scale is taken out: nothing underflows, memory is bounded, and a
caller can stop in between.
"""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.analysis.unrolled import Named, Unrolled, has_state
from charlm.config import ARCHITECTURES
from charlm.errors import MeasurementError
from charlm.models import LanguageModel
from charlm.training.train import clone_for_eval

BATCH = 16  # positions differentiated at a time
WHOLE_BATCH = 2  # of a model that is differentiated in one piece, with no chance to stop in between
SEGMENT = 16  # steps of a backward pass between two chances to stop
# Numbers of 8 bytes that a graph may keep, about 1.2 GB; wide layers have smaller batches.
MOST_NUMBERS, TENSORS = 150_000_000, 12


class Node(NamedTuple):
    """What a loss is differentiated by: h or c of a layer, or the input (layer 0)."""

    state: str
    layer: int


Norms = dict[Node, Tensor]  # log10 of the gradient's norms, (lags, positions), -inf for none
Working = Generator[float, None, Norms]  # yields which share is done


def gradient_norms(model: LanguageModel, windows: Tensor, lags: int) -> Working:
    """Differentiate the loss of the last token of each window.

    Args:
        model: any model whose embedding is called `embed`; recurrent ones by their states, too.
        windows: ids, (positions, warm-up of at least 1 + lags + 1).
        lags: steps back; a Transformer is differentiated as far as its layers' contexts together reach.

    Returns:
        By state and layer; lag 0 is the state, or the input, that the last step reads.

    Raises:
        MeasurementError: the loss is no finite number.
    """
    return (_states if has_state(model) else _inputs)(model, windows, lags)


def _states(model: LanguageModel, windows: Tensor, lags: int) -> Working:
    """The gradients by states and inputs of a recurrent model.

    The graph is differentiated from its end in segments. Where two meet, the gradients of a position are divided by
    their largest number, which is kept apart: nothing underflows, however many steps they go back.
    """
    unrolled, warmup = Unrolled(model), windows.shape[1] - 1 - lags
    read, target = windows[:, :-1].t(), windows[:, -1]  # (T, B)
    states = unrolled.initial(len(target))
    for number, ids in enumerate(read[: warmup - 1]):
        with torch.no_grad():  # not around `yield`: another measurement may have the next turn
            states = unrolled.step(ids, states)[1]
        if number % SEGMENT == 0:
            yield 0.1 * number / warmup
    # The step before the first one that counts belongs to the graph: there the layers above read the first states.
    segments, top = [], torch.empty(0)
    for start in range(warmup - 1, len(read), SEGMENT):
        segment = _Segment(unrolled, states, read[start : start + SEGMENT])
        segments.append(segment)
        states, top = segment.nodes[-1], segment.top
        yield 0.1 + 0.3 * (start + 1 - warmup) / lags
    loss = _loss(unrolled.logits(top), target)
    found: dict[Node, list[Tensor]] = {Node(name, layer): [] for name in unrolled.names for layer in range(len(states))}
    found[Node("input", 0)] = []
    outputs, grads, decades = [loss], [torch.ones_like(loss)], torch.zeros(len(target), dtype=torch.float64)
    for number in reversed(range(len(segments))):
        is_last = outputs[0] is loss
        carried = segments[number].differentiate(outputs, grads, is_last, decades, found)
        largest = torch.stack([grad.flatten(1).abs().amax(1) for grad in carried]).amax(0)
        largest = torch.where(largest > 0, largest, 1.0)
        decades = decades + largest.log10()
        grads = [grad / largest.view(-1, *[1] * (grad.dim() - 1)) for grad in carried]
        outputs = [] if number == 0 else list(_flat(segments[number - 1].nodes[-1]))
        segments.pop()
        yield 1.0 - 0.6 * number / max(1, lags // SEGMENT)
    return {node: torch.stack(values[:lags]) for node, values in found.items()}


class _Segment:
    """Some steps of an unrolled model, cut off from those before.

    Args:
        unrolled: the model.
        states: before the first step.
        ids: (steps, B).

    Attributes:
        nodes: the states after each step.
        top: after the last step, the input of the logits.
    """

    def __init__(self, unrolled: Unrolled, states: Sequence[Named], ids: Tensor) -> None:
        self._names, self._steps = unrolled.names, len(ids)
        self._leaves = [{name: part.detach().requires_grad_() for name, part in layer.items()} for layer in states]
        self._inputs = [unrolled.embed(row).requires_grad_() for row in ids]
        self.nodes: list[list[Named]] = []
        after: Sequence[Named] = self._leaves
        for x in self._inputs:
            self.top, after, _ = unrolled.step(x, after)
            self.nodes.append(list(after))

    def differentiate(
        self,
        outputs: list[Tensor],
        grads: list[Tensor],
        is_last: bool,
        decades: Tensor,
        found: dict[Node, list[Tensor]],
    ) -> list[Tensor]:
        """The gradients by the states before the first step.

        Args:
            outputs, grads: the states after the last step, and their gradients; of the last segment, the loss.
            is_last: whether the last step is the loss's own, so that the states after it are no node.
            decades: (B,), to be added to the logarithms.
            found: the norms at all nodes are added to its lists, those of the last steps first.
        """
        nodes = self.nodes[: -1 if is_last else None]
        wanted = [*_flat(self._leaves), *self._inputs]
        for states in nodes:
            wanted += _flat(states)
        grads = list(torch.autograd.grad(outputs, wanted, grads))
        carried = grads[: sum(map(len, self._leaves))]
        inputs = grads[len(carried) : len(carried) + self._steps]
        found[Node("input", 0)] += [_log_norm(grad, decades) for grad in reversed(inputs)]
        at_nodes = iter(grads[len(carried) + self._steps :])
        by_node: dict[Node, list[Tensor]] = {}
        for states in nodes:
            for layer, named in enumerate(states):
                for name in named:
                    grad = next(at_nodes)
                    if name in self._names:
                        by_node.setdefault(Node(name, layer), []).append(_log_norm(grad, decades))
        for node, values in by_node.items():
            found[node] += reversed(values)
        return carried


def _flat(states: Sequence[Named]) -> list[Tensor]:
    """The tensors of all layers."""
    return [part for layer in states for part in layer.values()]


def _inputs(model: LanguageModel, windows: Tensor, lags: int) -> Working:
    """The gradients by the embedding's output, of a model of any kind."""
    double = clone_for_eval(model).double()
    embed: Any = double.embed
    taken: list[Tensor] = []
    lags = _reached(model, lags)

    def leaf(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        taken.append(output.detach().requires_grad_())
        return taken[-1]

    before, read, target = windows[:, : -1 - lags], windows[:, -1 - lags : -1], windows[:, -1]
    with torch.no_grad():
        _, state = double(before)
    yield 0.2
    handle = embed.register_forward_hook(leaf)
    try:
        logits, _ = double(read, state)
    finally:
        handle.remove()
    yield 0.5
    grads = torch.autograd.grad(_loss(logits[:, -1], target), taken[0])[0]  # (B, lags, E)
    zero = torch.zeros(len(target), dtype=torch.float64)
    return {Node("input", 0): torch.stack([_log_norm(grad, zero) for grad in grads.flip(1).unbind(1)])}


def _loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The sum over positions, each of which is a function of its own row alone."""
    loss = F.cross_entropy(logits, targets, reduction="sum")
    if not bool(torch.isfinite(loss)):
        raise MeasurementError("the model's logits on this text are not finite numbers: its states grow without limit")
    return loss


def _log_norm(grad: Tensor, decades: Tensor) -> Tensor:
    """log10 of the norm of each row of (B, ..), plus `decades` (B,); scaled, so that no square underflows."""
    largest = grad.abs().amax(1, keepdim=True)
    scaled = grad / torch.where(largest > 0, largest, 1.0)
    norms: Tensor = torch.linalg.vector_norm(scaled, dim=1)
    return largest[:, 0].log10() + norms.clamp(min=1.0).log10() + decades


def _reached(model: LanguageModel, lags: int) -> int:
    """How many lags can be measured: of a Transformer, those that its layers' contexts together reach."""
    config = model.config
    reach = config.num_layers * config.window + 1 if ARCHITECTURES[config.arch].attends else lags
    return min(lags, reach)


def batch_size(model: LanguageModel, lags: int) -> int:
    """How many positions are differentiated at a time, as memory and the chance to stop allow."""
    config = model.config
    most = BATCH if has_state(model) else WHOLE_BATCH
    numbers = config.num_layers * config.hidden_size * TENSORS + (config.embed_dim or config.vocab_size)
    return max(1, min(most, MOST_NUMBERS // (numbers * lags)))
