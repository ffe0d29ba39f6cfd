"""Language models: ids and state in, logits and state out. One file per family; ARCHITECTURES names them."""

from charlm.config import ModelConfig
from charlm.models.language_model import LanguageModel, State
from charlm.models.recurrent import GRUModel, LSTMModel, RNNModel

ARCHITECTURES: dict[str, type[LanguageModel]] = {"lstm": LSTMModel, "gru": GRUModel, "rnn": RNNModel}


def build_model(config: ModelConfig, seed: int = 0) -> LanguageModel:
    """A fresh model with its first weights drawn from `seed`; `config.vocab_size` must be set."""
    return ARCHITECTURES[config.arch](config, seed)


__all__ = ["ARCHITECTURES", "LanguageModel", "State", "build_model"]
