"""Data parallelism: the rows of a batch are divided between threads that synchronise once a step.

Rows of a batch do not depend on each other, so each thread takes its own through the whole sequence, forward and back,
on one core; the gradients are added up at the end. Threads that share every single product instead have to wait for
each other some hundred times a step, and lose most of their time as soon as another process wants a core.
"""

import copy
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import numpy as np
import torch
from torch import Tensor

from charlm.models import LanguageModel, State
from charlm.models.kernels.plan import BufferPool, pack_weight, seed_gpu, weight_key


class DataParallelStep:
    """Computes the loss and the gradients of a batch, its rows divided into shards of one thread each.

    Args:
        model: its weights are shared by all shards.
        count: how many; 1 works in the calling thread.
    """

    def __init__(self, model: LanguageModel, count: int) -> None:
        self.model, self.count = model, count
        self.parameters = list(model.parameters())
        self._sparse: set[Tensor] = set()  # those whose gradient is given for some rows only
        self._replicas = [_replica(model) for _ in range(count)]
        self._pool = ThreadPoolExecutor(count, "shard", torch.set_num_threads, (1,)) if count > 1 else None

    def gradients(self, inputs: Tensor, targets: Tensor, hidden: State | None) -> tuple[Tensor, State]:
        """Set the gradients of the mean loss of a batch; on a GPU nothing here waits for it.

        Args:
            inputs: ids (B, T), on the CPU.
            targets: ids (B, T), one later, likewise; those of -1 do not count.
            hidden: the state before; None is the zero state.

        Returns:
            The loss in nats per token, a scalar on the model's device, and the state after the batch, detached.
        """
        state = self.model.initial_state(len(inputs)) if hidden is None else hidden
        tokens, device = int(np.count_nonzero(targets.numpy() >= 0)), self.parameters[0].device
        inputs, targets = _beside(device, inputs, targets)
        seed_gpu(device, self.model.generator)
        self._clear()
        if self._pool is None or len(inputs) < self.count:
            loss, end, grads = self.model.gradients(inputs, targets, state, tokens, self.parameters)
            self._set([grads])
            return loss, end
        factors = self.model.shared_matrices(inputs.shape[1], -(-len(inputs) // self.count))
        packs = dict(zip(map(weight_key, factors), self._pool.map(pack_weight, factors), strict=True))
        for replica in self._replicas:
            replica.packed_weights = packs
            replica.train(self.model.training)
            replica.generator.manual_seed(int(torch.randint(2**62, (), generator=self.model.generator)))
        states = zip(*(part.chunk(self.count, dim=1) for part in state), strict=True)  # (L, B / count, H)
        parts = zip(inputs.chunk(self.count), targets.chunk(self.count), states, strict=True)
        work = [  # not for all replicas where the rows do not go round
            self._pool.submit(replica.gradients, ids, wanted, before, tokens, self.parameters)
            for replica, (ids, wanted, before) in zip(self._replicas, parts, strict=False)
        ]
        losses, ends, grads_of = zip(*(part.result() for part in work), strict=True)
        self._set(grads_of)
        loss = torch.tensor(math.fsum(loss.item() for loss in losses), dtype=torch.float64)
        return loss, tuple(torch.cat(each, dim=1) for each in zip(*ends, strict=True))

    def _clear(self) -> None:
        """Forget the last step's gradients, but for those of some rows only: their tensors are used again."""
        for parameter in self.parameters:
            if parameter not in self._sparse:
                parameter.grad = None

    def _set(self, grads_of: Sequence[Sequence[Tensor]]) -> None:
        """Give each parameter the sum of its gradients, one of each shard."""
        for parameter, *grads in zip(self.parameters, *grads_of, strict=True):
            if grads[0].is_sparse:
                before = parameter.grad
                grads.insert(0, torch.zeros_like(parameter) if before is None else before.zero_())
                self._sparse.add(parameter)
            parameter.grad = _total(grads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _replica(model: LanguageModel) -> LanguageModel:
    """The same weights with a generator and buffers of its own."""
    replica = copy.copy(model)
    replica.generator, replica.buffer_pool = torch.Generator(), BufferPool()
    return replica


def _beside(device: torch.device, *parts: Tensor) -> Sequence[Tensor]:
    """Tensors of one shape where the model is; to cuda in one copy that the CPU does not wait for."""
    if device.type == "cuda":
        return torch.stack(parts).pin_memory().to(device, non_blocking=True).unbind()
    return [part.to(device) for part in parts]


def _total(tensors: Sequence[Tensor]) -> Tensor:
    """Their sum, in the first one."""
    first, *others = tensors
    for other in others:
        first.add_(other)
    return first
