"""LSTM, GRU and plain RNN: an id lookup, recurrent layers with dropout between them, a linear output."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from charlm.config import ModelConfig
from charlm.models.base import NeuralModel, State
from charlm.models.kernels.bptt import GRU, LSTM, RELU, RNN, CellSpec, RecurrentLayer
from charlm.models.kernels.cross_entropy import activations, are_many, look_up
from charlm.models.kernels.jit import is_wanted
from charlm.models.kernels.small import Array, Tape, Var, is_small

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
# Tensors of H a token and layer that training keeps beside the gates: states, cells, dropout, gradients.
TENSORS = 5
# Standard deviation of the initial input weights that an id looks up.
LOOKED_UP = 1.5


class RecurrentModel(NeuralModel):
    """What the three share. Parameters have torch's names: `embed.weight`, `rnn.weight_ih_l0`, `fc.weight`.

    Attributes:
        MODULE: torch's module of the layers, which holds the weights and computes on a GPU and without numba.
        CELL: what our own layers compute.
        NUM_STATES: tensors of a state.
        ABOVE, OUTPUT: factors of the initial weights of the layers above the first, and of the output, to torch's.
        RECURRENT: length of the rows of the recurrent ones, which are orthogonal to each other.
    """

    COMPILED = "steps"
    TIME_MAJOR = True
    ON_GPU = "cuDNN's layers"
    HANDLES_PRECISION = is_wanted()  # torch's layers run under autocast
    MODULE: Callable[..., nn.RNNBase]
    CELL: CellSpec
    NUM_STATES = 1
    ABOVE, OUTPUT, RECURRENT = 3.0, 3.0, 1.0

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__(config, seed)
        input_size = config.embed_dim or config.vocab_size
        self.embed: nn.Embedding | None = (
            nn.Embedding(config.vocab_size, config.embed_dim) if config.embed_dim else None
        )
        self.rnn = type(self).MODULE(input_size, config.hidden_size, config.num_layers, **self._cell_options())
        self.fc = nn.Linear(config.hidden_size, config.vocab_size)
        if not self.fc.weight.is_meta:
            self._initialise()
        if config.tie_weights and self.embed is not None:
            self.fc.weight = self.embed.weight

    def _cell_options(self) -> dict[str, str]:
        return {}

    @classmethod
    def macs_per_token(cls, config: ModelConfig) -> int:
        hidden, gates = config.hidden_size, cls.CELL.gates
        first = config.embed_dim * gates * hidden
        return (2 * config.num_layers - 1) * gates * hidden**2 + first + hidden * config.vocab_size

    @classmethod
    def step_macs(cls, config: ModelConfig) -> int:
        """Those of a layer with its own state, for which the next step waits; or of a large vocabulary's logits."""
        logits = config.hidden_size * config.vocab_size if are_many(config.vocab_size) else 0
        return max(cls.CELL.gates * config.hidden_size**2, logits)

    @classmethod
    def sync_points(cls, config: ModelConfig, seq_len: int) -> int:
        return config.num_layers * seq_len

    @classmethod
    def activations(cls, config: ModelConfig) -> int:
        layers = config.num_layers * config.hidden_size * (cls.CELL.gates + TENSORS)
        return layers + 3 * config.embed_dim + activations(config.vocab_size, config.hidden_size)

    def shared_matrices(self, uses: int, rows: int) -> list[Tensor]:
        if self.config.weight_dropout or not self.plan().uses_packed(uses, rows):
            return []
        weights = [getattr(self.rnn, f"weight_hh_l{layer}").detach() for layer in range(self.config.num_layers)]
        return [matrix for weight in weights for matrix in (weight.t(), weight)]

    def initial_state(self, batch_size: int) -> State:
        shape = (self.config.num_layers, batch_size, self.config.hidden_size)
        return tuple(self.fc.weight.new_zeros(shape) for _ in range(self.NUM_STATES))

    def features(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        state = self.initial_state(ids.shape[0]) if state is None else state
        one_call = ids.is_cuda and not (self.training and (self.config.locked_dropout or self.config.weight_dropout))
        hidden, state = (self._cudnn if one_call else self._layers)(ids.t(), state)  # (T, B, H)
        return self._sequence_dropout(hidden, self.config.dropout_before_output).transpose(0, 1), state  # (B, T, H)

    def is_small(self, ids: Tensor, formats: Sequence[torch.dtype]) -> bool:
        config, numbers = self.config, ids.numel() * self.CELL.gates * self.config.hidden_size
        is_plain = not (config.embed_dim or config.embed_dropout or config.weight_dropout)
        return is_plain and is_small(numbers, ids, config.vocab_size, [config.hidden_size], formats)

    def small_features(self, tape: Tape, ids: Array, state: Sequence[Array]) -> tuple[Var, list[Array]]:
        period, x, ends = ids.shape[1] if self.config.locked_dropout else 0, None, []
        for layer in range(self.config.num_layers):
            x = tape.dropout(x, self.config.dropout, period) if x is not None else None
            weights = tape.weights[layer * len(PARAMETERS) :][: len(PARAMETERS)]
            x, end = tape.recurrent(self._cell(), ids, x, weights, [part[layer] for part in state])
            ends.append(end)
        assert x is not None
        features = tape.dropout(x, self.config.dropout_before_output, period)
        return features, [np.stack(parts) for parts in zip(*ends, strict=True)]

    def _sequence_dropout(self, x: Tensor, share: float) -> Tensor:
        """Dropout of (T, B, ..), locked to a sequence if the config says so."""
        return self.dropout(x, share, self.config.locked_dropout)

    def _layers(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """The layers one after the other; ids (T, B)."""
        ends = []
        x, seen = self._inputs(ids)
        for layer in range(self.config.num_layers):
            weights = self._weights(layer, seen)
            x, *end = self._layer(x, weights, [part[layer] for part in state])
            x = self._sequence_dropout(x, self.config.dropout) if layer + 1 < self.config.num_layers else x
            ends.append(end)
        return x, tuple(torch.stack(parts) for parts in zip(*ends, strict=True))

    def _inputs(self, ids: Tensor) -> tuple[Tensor, Tensor | None]:
        """The input of the first layer, (T, B) or (T, B, E), and a factor of the weights that ids look up, (1, V)."""
        share, vocab_size = self.config.embed_dropout, self.config.vocab_size
        seen = self.dropout(self.fc.weight.new_ones(vocab_size, 1), share) if share and self.training else None
        if self.embed is None and self._is_compiled(ids):
            return ids.contiguous(), None if seen is None else seen.t()
        if self.embed is None:  # torch's layers read one-hot vectors
            one_hot = self.fc.weight.new_zeros(*ids.shape, vocab_size)
            x = one_hot.scatter_(2, ids[..., None], 1.0)
        else:
            x = look_up(ids, self.embed.weight)
        return self._sequence_dropout(x if seen is None else x * seen[ids], self.config.input_dropout), None

    def _weights(self, layer: int, seen: Tensor | None) -> list[Tensor]:
        """A layer's weights for one batch, some recurrent ones dropped (DropConnect, Wan et al. 2013)."""
        weight_ih, weight_hh, *biases = (getattr(self.rnn, f"{name}_l{layer}") for name in PARAMETERS)
        weight_ih = weight_ih * seen if layer == 0 and seen is not None else weight_ih
        return [weight_ih, self.dropout(weight_hh, self.config.weight_dropout), *biases]

    def _layer(self, x: Tensor, weights: list[Tensor], before: list[Tensor]) -> tuple[Tensor, ...]:
        """Hidden states (T, B, H) of a layer over (T, B, ..), and its last states; those before it are (B, H) each."""
        if self._is_compiled(x):
            layer: Callable[..., tuple[Tensor, ...]] = RecurrentLayer.apply
            return layer(self._cell(), self.plan(), torch.is_grad_enabled(), x, *weights, *before)
        return self._torch_layer(x, weights, before)

    def _is_compiled(self, x: Tensor) -> bool:
        """Whether our own layers compute, instead of torch's."""
        return x.is_cpu and self.plan().compiled

    def _torch_layer(self, x: Tensor, weights: list[Tensor], before: list[Tensor]) -> tuple[Tensor, ...]:
        """The same by torch's own function, cuDNN on a GPU."""
        states = [part[None] for part in before]
        function = getattr(torch, self.rnn.mode.lower())
        out, *end = function(
            x, states if self.NUM_STATES > 1 else states[0], weights, True, 1, 0.0, self.training, False, False
        )
        return out, *(part[0].to(before[0].dtype) for part in end)

    def _cell(self) -> CellSpec:
        """The cell of kernels/bptt.py."""
        return self.CELL

    def _cudnn(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """All layers in one call of torch's module; its dropout draws from torch's global generator."""
        self.rnn.dropout = self.config.dropout if self.training and self.config.num_layers > 1 else 0.0
        x, end = self.rnn(self._inputs(ids)[0], state if self.NUM_STATES > 1 else state[0])
        return x, tuple(part.to(state[0].dtype) for part in (end if self.NUM_STATES > 1 else (end,)))

    @torch.no_grad()
    def _initialise(self) -> None:
        """Initialise from the model's own generator, as `config.init` says."""
        hidden, tuned = self.config.hidden_size, self.config.init == "tuned"
        if self.config.init == "xavier":
            self._balance()
            return
        bound = 1.0 / math.sqrt(hidden)
        for name, parameter in self.named_parameters():
            if name == "embed.weight":
                parameter.normal_(0.0, 0.5 if tuned else 1.0, generator=self.generator)
            else:
                parameter.uniform_(-bound, bound, generator=self.generator)
        if tuned:
            self._tune(hidden)
        if self.config.init == "notebook":
            self.fc.weight.uniform_(-1.0, 1.0, generator=self.generator)
            self.fc.bias.zero_()

    def _balance(self) -> None:
        """As in tutorials: small vectors, Xavier weights (Glorot and Bengio 2010), orthogonal recurrent ones."""
        for name, parameter in self.named_parameters():
            if "bias" in name:
                parameter.zero_()
            elif name == "embed.weight":
                parameter.uniform_(-0.1, 0.1, generator=self.generator)
            else:
                draw = nn.init.orthogonal_ if "weight_hh" in name else nn.init.xavier_uniform_
                draw(parameter, generator=self.generator)

    def _tune(self, hidden: int) -> None:
        """Orthogonal recurrent weights (Saxe et al. 2014), larger weights between layers, zero biases.

        States are small at first: with torch's input weights the layers above hardly train for hundreds of steps. The
        factors were measured; see bench/RECIPES.md.
        """
        for name, parameter in self.rnn.named_parameters():
            if "bias" in name:
                parameter.zero_()
            elif "weight_hh" in name:
                for gate in parameter.split(hidden):
                    nn.init.orthogonal_(gate, type(self).RECURRENT, generator=self.generator)
            elif name == "weight_ih_l0":
                if self.embed is None:
                    parameter.normal_(0.0, LOOKED_UP, generator=self.generator)
            else:
                parameter.mul_(type(self).ABOVE)
        if not are_many(self.config.vocab_size):
            self.fc.weight.mul_(type(self).OUTPUT)
        self.fc.bias.zero_()


class LSTMModel(RecurrentModel):
    """Long short-term memory: a cell with input, forget and output gates."""

    MODULE, CELL, NUM_STATES = nn.LSTM, LSTM, 2
    OUTPUT = 6.0

    def _tune(self, hidden: int) -> None:
        """As the others, with the forget gate open at first (Jozefowicz et al. 2015)."""
        super()._tune(hidden)
        for layer in range(self.config.num_layers):
            getattr(self.rnn, f"bias_ih_l{layer}")[hidden : 2 * hidden] = 1.0


class GRUModel(RecurrentModel):
    """Gated recurrent unit: reset and update gates, no separate cell."""

    MODULE, CELL = nn.GRU, GRU
    ABOVE, RECURRENT = 1.5, 0.7


class RNNModel(RecurrentModel):
    """The plain recurrence: the new state is tanh or relu of a sum of input and old state."""

    MODULE, CELL = nn.RNN, RNN
    OUTPUT, RECURRENT = 1.0, 0.9

    def _cell_options(self) -> dict[str, str]:
        return {"nonlinearity": self.config.nonlinearity}

    def _cell(self) -> CellSpec:
        return RELU if self.config.nonlinearity == "relu" else RNN


def gate_count(arch: str) -> int:
    """The number of gates of a recurrent architecture: rows of its weights, as a multiple of hidden_size."""
    return {"lstm": LSTM, "gru": GRU, "rnn": RNN}[arch].gates
