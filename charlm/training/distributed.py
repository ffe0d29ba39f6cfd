"""One training in several processes, on one machine or many, as torchrun starts them.

Process 0 is the training: it alone reads the text, steps, validates, decides and writes the run. Before each step it
gives every process the weights and its rows of the batch; each computes the gradients of its own rows, and process 0
forms their mean. A row's hidden state stays in the process that has the row, and is collected for every save. So the
others need neither the text nor the run, and any number of processes can resume what was saved.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor

from charlm.config import ModelConfig, TrainConfig
from charlm.errors import ConfigError, JobError
from charlm.models import LanguageModel, NeuralModel, State, build_model
from charlm.models.kernels.cross_entropy import Sampler
from charlm.training.data_parallel import DataParallelStep
from charlm.training.device import choose, device_for

# What process 0 orders: compute the gradients of a batch (from the zero state), take or give hidden states, end.
STEP, FIRST_STEP, TAKE_STATE, GIVE_STATE, END = range(5)
# How long the others wait for an order: process 0 may validate, or wait for its disk. And all for what all work on.
ORDER_WAIT, STEP_WAIT = timedelta(days=7), timedelta(minutes=30)


@dataclass(frozen=True)
class Setup:
    """What the others must know of a training before its first step."""

    model: dict[str, Any]
    train: dict[str, Any]
    rows: int  # of a batch, in each process
    seq_len: int
    sampler: Sampler | None


class Processes:
    """All processes of one training; as a context manager, the connection between them.

    Attributes:
        rank: this one's number, from 0.
        size: how many.

    Raises:
        JobError: they do not find each other.
    """

    def __init__(self) -> None:
        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self._is_lost = self._has_begun = False
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
        with self._together():
            backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
            dist.init_process_group(backend, timeout=STEP_WAIT)
            self._orders = dist.new_group(backend="gloo", timeout=ORDER_WAIT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the training of the others, too."""
        if self.rank == 0 and not self._is_lost:
            with suppress(JobError):
                self._order(END) if self._has_begun else self._share(None)
        with suppress(RuntimeError):
            dist.destroy_process_group()

    @contextmanager
    def _together(self) -> Iterator[None]:
        """What all processes do at once fails in all of them when one is gone."""
        try:
            yield
        except RuntimeError as error:
            self._is_lost = True
            raise JobError(
                f"another process of this training has ended or cannot be reached ({_brief(error)}); resume the run: "
                "it goes on from what was saved last"
            ) from None

    # --- process 0 ---------------------------------------------------------------------------------------------------

    def rows_of(self, batch_size: int) -> int:
        """The rows of a batch that each process computes.

        Raises:
            ConfigError: they are not the same number for each.
        """
        if batch_size % self.size:
            raise ConfigError(
                f"batch_size {batch_size} cannot be shared out equally between {self.size} processes; choose "
                f"{max(1, batch_size // self.size) * self.size} or another multiple of {self.size}"
            )
        return batch_size // self.size

    def begin(self, model: LanguageModel, config: TrainConfig, batch_size: int, seq_len: int) -> None:
        """Tell the others what is trained.

        Args:
            model: ready to be trained.
            config: its settings.
            batch_size, seq_len: as the text allows them.
        """
        check_gpus(model.device.type)
        sampler = model.sampler if isinstance(model, NeuralModel) else None
        settings = model.config.to_dict(), config.to_dict()
        self._share(Setup(*settings, self.rows_of(batch_size), seq_len, sampler))
        self._has_begun = True

    def scatter(self, state: State | None) -> State | None:
        """Give each process the hidden states of its rows.

        Args:
            state: of all rows, (L, B, ..); None: the zero state.

        Returns:
            Those of this process's rows.
        """
        if state is None:
            return None
        self._order(TAKE_STATE)
        own = list[Tensor]()
        with self._together():
            for part in state:
                shares = [share.contiguous() for share in part.cpu().chunk(self.size, dim=1)]
                dist.scatter(mine := torch.empty_like(shares[0]), shares, group=self._orders)
                own.append(mine.to(part.device))
        return tuple(own)

    def gather(self, state: State | None) -> State | None:
        """The hidden states of all rows, (L, B, ..), given those of this process's; as they are before `begin`."""
        if state is None or not self._has_begun:
            return state
        self._order(GIVE_STATE)
        whole = list[Tensor]()
        with self._together():
            for part in state:
                mine = part.cpu().contiguous()
                dist.gather(mine, shares := [torch.empty_like(mine) for _ in range(self.size)], group=self._orders)
                whole.append(torch.cat(shares, dim=1).to(part.device))
        return tuple(whole)

    def share_out(self, model: LanguageModel, batch: Tensor, is_first: bool) -> Tensor:
        """Give each process the weights and its rows of a batch.

        Args:
            model: in training.
            batch: inputs and targets, (2, B, T).
            is_first: whether the rows begin with the zero state.

        Returns:
            This process's rows, (2, B / size, T).
        """
        self._order(FIRST_STEP if is_first else STEP)
        seeds = torch.randint(2**62, (self.size,), generator=model.generator)
        parts = [share.flatten() for share in batch.cpu().chunk(self.size, dim=1)]
        work = [torch.cat((seed[None], part)) for seed, part in zip(seeds, parts, strict=True)]
        with self._together():
            dist.scatter(torch.empty_like(work[0]), work, group=self._orders)
            dist.broadcast(_flat(model), 0)
        return batch.chunk(self.size, dim=1)[0]

    def mean(self, model: LanguageModel, loss: Tensor) -> Tensor:
        """Replace the gradients by their mean over all processes; returns the mean loss, a scalar.

        Args:
            model: with the gradients of this process's rows.
            loss: of these rows.
        """
        parameters = list(model.parameters())
        total = self._add_up(parameters, loss) / self.size
        grads = total[:-1].split([parameter.numel() for parameter in parameters])
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad.view_as(parameter)
        return total[-1]

    def _order(self, what: int) -> None:
        with self._together():
            dist.broadcast(torch.tensor(what), 0, group=self._orders)

    # --- all ---------------------------------------------------------------------------------------------------------

    def _share(self, setup: Setup | None) -> Setup | None:
        """What process 0 has to say, in all; None: that there is nothing to do."""
        with self._together():
            dist.broadcast_object_list(said := [setup], 0, group=self._orders)
        return said[0]

    def _add_up(self, parameters: list[torch.nn.Parameter], loss: Tensor) -> Tensor:
        """All gradients and the loss in a row, added up over all processes in process 0."""
        grads = [parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]
        total = torch.cat((*grads, loss.to(grads[0]).view(1)))
        with self._together():
            dist.reduce(total, 0)
        return total

    # --- the others --------------------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Compute what process 0 orders, until it ends the training.

        Raises:
            ConfigError: this machine lacks the GPU that is wanted.
            JobError: process 0 has ended without a word.
        """
        setup = self._share(None)
        if setup is None:
            return
        config, rows = TrainConfig.from_dict(setup.train), setup.rows
        check_gpus(kind := device_for(config.device))
        model = build_model(ModelConfig.from_dict(setup.model)).to(kind).train()
        device = choose(model.config, rows, model.device.type, config.precision)
        torch.set_num_threads(1)  # rows are shared out as a whole
        model.precision = device.dtype
        if isinstance(model, NeuralModel):
            model.sampler = setup.sampler
        state = model.initial_state(rows)
        order, work = torch.tensor(END), torch.empty(1 + 2 * rows * setup.seq_len, dtype=torch.int64)
        with DataParallelStep(model, device.threads) as step:
            while True:
                with self._together():
                    dist.broadcast(order, 0, group=self._orders)
                if order == END:
                    return
                if order == TAKE_STATE:
                    state = self._take_state(state)
                elif order == GIVE_STATE:
                    self._give_state(state)
                else:
                    with self._together():
                        dist.scatter(work, group=self._orders)
                        dist.broadcast(weights := _flat(model), 0)
                    _take_weights(model, weights)
                    model.generator.manual_seed(int(work[0]))
                    inputs, targets = work[1:].view(2, rows, setup.seq_len)
                    loss, state = step.gradients(inputs, targets, state if order == STEP else None)
                    self._add_up(list(model.parameters()), loss)

    def _take_state(self, state: State) -> State:
        """The hidden states of this process's rows, given others of the same shapes."""
        own = [torch.empty_like(part, device="cpu") for part in state]
        with self._together():
            for part in own:
                dist.scatter(part, group=self._orders)
        return tuple(part.to(old.device) for part, old in zip(own, state, strict=True))

    def _give_state(self, state: State) -> None:
        with self._together():
            for part in state:
                dist.gather(part.cpu().contiguous(), group=self._orders)


class DistributedStep(DataParallelStep):
    """Computes the loss and the gradients of a batch together with the other processes, in process 0.

    Args:
        model: in training.
        count: threads of this process, which share its rows.
        processes: all of them.
    """

    def __init__(self, model: LanguageModel, count: int, processes: Processes) -> None:
        super().__init__(model, count)
        self._processes = processes

    def gradients(self, inputs: Tensor, targets: Tensor, hidden: State | None) -> tuple[Tensor, State]:
        """See `DataParallelStep.gradients`; the states are those of this process's rows."""
        own = self._processes.share_out(self.model, torch.stack((inputs, targets)), hidden is None)
        loss, end = super().gradients(own[0], own[1], hidden)
        return self._processes.mean(self.model, loss), end


def _brief(error: Exception) -> str:
    """The first sentence of what torch says, without the place in its source."""
    said = re.sub(r"^\[\S+:\d+\]\s*", "", str(error).strip()).partition("\n")[0]
    return said.partition(". ")[0].rstrip(".")[:200] or type(error).__name__


def check_gpus(kind: str) -> None:
    """Refuse more processes on this machine than it has GPUs, where they are to compute on those.

    Args:
        kind: cpu, cuda or mps.

    Raises:
        ConfigError: there are more; or it is mps, which processes do not share.
    """
    if kind == "mps":
        raise ConfigError("several processes cannot train on device 'mps'; train with --device cpu, or in one process")
    count, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
    if kind == "cuda" and count > gpus:
        raise ConfigError(
            f"{count} processes on a machine with {gpus} GPU{'s' if gpus != 1 else ''}: start as many as there are "
            f"(--nproc-per-node {gpus}), or train with --device cpu"
        )


def _flat(model: LanguageModel) -> Tensor:
    """All parameters of a model in a row."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def _take_weights(model: LanguageModel, weights: Tensor) -> None:
    """Put what `_flat` gives into a model."""
    parameters = list(model.parameters())
    parts = weights.split([parameter.numel() for parameter in parameters])
    with torch.no_grad():
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.copy_(part.view_as(parameter))
