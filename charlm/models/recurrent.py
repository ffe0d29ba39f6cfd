"""LSTM, GRU and plain RNN: an id lookup, recurrent layers with dropout between them, a linear output."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from charlm.config import ModelConfig
from charlm.models.language_model import LanguageModel, State
from charlm.models.recurrence import GRULayer, LSTMLayer, RNNLayer


class RecurrentModel(LanguageModel):
    """What the three share. Parameters have torch's names: `embed.weight`, `rnn.weight_ih_l0`, `fc.weight`"""

    CELL: Callable[..., nn.RNNBase]
    NUM_STATES = 1

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__(config, seed)
        input_size = config.embed_dim or config.vocab_size
        self.embed: nn.Embedding | None = (
            nn.Embedding(config.vocab_size, config.embed_dim) if config.embed_dim else None
        )
        self.rnn = type(self).CELL(input_size, config.hidden_size, config.num_layers, **self._cell_options())
        self.fc = nn.Linear(config.hidden_size, config.vocab_size)
        if not self.fc.weight.is_meta:
            self._initialise()
        if config.tie_weights and self.embed is not None:
            self.fc.weight = self.embed.weight

    def _cell_options(self) -> dict[str, str]:
        return {}

    def initial_state(self, batch_size: int) -> State:
        shape = (self.config.num_layers, batch_size, self.config.hidden_size)
        return tuple(self.fc.weight.new_zeros(shape) for _ in range(self.NUM_STATES))

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        state = self.initial_state(ids.shape[0]) if state is None else state
        run = self._cudnn if ids.is_cuda else self._layers
        hidden, state = run(ids.t(), state)  # (T, B, H)
        return self.fc(self.drop(hidden)).transpose(0, 1), state  # (B, T, V)

    def _layers(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """The layers one by one through recurrence.py; ids (T, B)."""
        x, ends = torch.empty(0), []
        for layer in range(self.config.num_layers):
            inputs = self._first_input(ids) if layer == 0 else self._input(self.drop(x), layer)
            x, end = self._layer(inputs, tuple(part[layer] for part in state), layer)
            ends.append(end)
        return x, tuple(torch.stack(parts) for parts in zip(*ends, strict=True))

    def _cudnn(self, ids: Tensor, state: State) -> tuple[Tensor, State]:
        """The layers through torch's module, cuDNN on a GPU; its dropout draws from torch's global generator."""
        self.rnn.dropout = self.config.dropout if self.training and self.config.num_layers > 1 else 0.0
        table = self.embed.weight if self.embed is not None else torch.eye(self.config.vocab_size, device=ids.device)
        x, end = self.rnn(F.embedding(ids, table), state if self.NUM_STATES > 1 else state[0])
        return x, end if self.NUM_STATES > 1 else (end,)

    def _first_input(self, ids: Tensor) -> Tensor:
        """The first layer's input part, (T, B, gates * H): without an embedding, a row lookup in its weights."""
        if self.embed is not None:
            return self._input(F.embedding(ids, self.embed.weight), 0)
        weight = self.rnn.get_parameter("weight_ih_l0")  # (gates * H, V)
        table, bias = weight.t(), self._input_bias(0)  # (V, gates * H)
        if ids.numel() < self.config.vocab_size:
            return F.embedding(ids, table) + bias
        return F.embedding(ids, table + bias)

    def _input(self, x: Tensor, layer: int) -> Tensor:
        return F.linear(x, getattr(self.rnn, f"weight_ih_l{layer}"), self._input_bias(layer))

    def _input_bias(self, layer: int) -> Tensor:
        """The biases that can be added before the recurrence, (gates * H,)."""
        return getattr(self.rnn, f"bias_ih_l{layer}") + getattr(self.rnn, f"bias_hh_l{layer}")

    def _layer(self, inputs: Tensor, state: State, layer: int) -> tuple[Tensor, State]:
        """Input part (T, B, gates * H) and a layer's state (B, H) each -> (T, B, H) and the state at the end."""
        raise NotImplementedError

    @torch.no_grad()
    def _initialise(self) -> None:
        """First weights from the model's own generator, as `config.init` says."""
        hidden, tuned = self.config.hidden_size, self.config.init == "tuned"
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

    def _tune(self, hidden: int) -> None:
        """Orthogonal recurrent weights (Saxe et al. 2014), wide lookup weights, zero biases."""
        for name, parameter in self.rnn.named_parameters():
            if "bias" in name:
                parameter.zero_()
            elif "weight_hh" in name:
                for gate in parameter.split(hidden):
                    nn.init.orthogonal_(gate, generator=self.generator)
            elif name == "weight_ih_l0" and self.embed is None:
                parameter.normal_(0.0, 0.5, generator=self.generator)
        self.fc.bias.zero_()


class LSTMModel(RecurrentModel):
    """Long short-term memory: a cell guarded by input, forget and output gates."""

    CELL = nn.LSTM
    NUM_STATES = 2

    def _layer(self, inputs: Tensor, state: State, layer: int) -> tuple[Tensor, State]:
        hs, h, c = LSTMLayer.apply(inputs, *state, getattr(self.rnn, f"weight_hh_l{layer}"))
        return hs, (h, c)

    def _tune(self, hidden: int) -> None:
        """As the others, and the forget gate open at first (Jozefowicz et al. 2015)."""
        super()._tune(hidden)
        for layer in range(self.config.num_layers):
            getattr(self.rnn, f"bias_ih_l{layer}")[hidden : 2 * hidden] = 1.0


class GRUModel(RecurrentModel):
    """Gated recurrent unit: reset and update gates, no separate cell."""

    CELL = nn.GRU

    def _input_bias(self, layer: int) -> Tensor:
        """Only the input's bias: the reset gate multiplies the other one."""
        return getattr(self.rnn, f"bias_ih_l{layer}")

    def _layer(self, inputs: Tensor, state: State, layer: int) -> tuple[Tensor, State]:
        weight, bias = (getattr(self.rnn, f"{kind}_hh_l{layer}") for kind in ("weight", "bias"))
        hs, h = GRULayer.apply(inputs, *state, weight, bias)
        return hs, (h,)


class RNNModel(RecurrentModel):
    """The plain recurrence: the new state is one squashed sum of input and old state."""

    CELL = nn.RNN

    def _cell_options(self) -> dict[str, str]:
        return {"nonlinearity": self.config.nonlinearity}

    def _layer(self, inputs: Tensor, state: State, layer: int) -> tuple[Tensor, State]:
        weight = getattr(self.rnn, f"weight_hh_l{layer}")
        hs, h = RNNLayer.apply(inputs, *state, weight, self.config.nonlinearity == "relu")
        return hs, (h,)
