"""Language models: ids and state in, logits and state out. One file per family; ARCHITECTURES names them."""

from charlm.config import ModelConfig
from charlm.models.language_model import LanguageModel, State
from charlm.models.recurrent import GRUModel, LSTMModel, RecurrentModel, RNNModel

RECURRENT: dict[str, type[RecurrentModel]] = {"lstm": LSTMModel, "gru": GRUModel, "rnn": RNNModel}
ARCHITECTURES: dict[str, type[LanguageModel]] = {**RECURRENT}


def build_model(config: ModelConfig, seed: int = 0) -> LanguageModel:
    """A fresh model with its first weights drawn from `seed`; `config.vocab_size` must be set."""
    return ARCHITECTURES[config.arch](config, seed)


def gate_count(arch: str) -> int:
    """How many times hidden_size the products of a recurrent layer give."""
    return RECURRENT[arch].STEPS.gates


__all__ = ["ARCHITECTURES", "LanguageModel", "State", "build_model", "gate_count"]
