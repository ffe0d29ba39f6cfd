"""Language models: ids and state in, logits and state out. One file per family; `config.ARCHITECTURES` names them."""

from importlib import import_module

from charlm.config import ARCHITECTURES, ModelConfig
from charlm.models.language_model import LanguageModel, NeuralModel, State


def model_class(arch: str) -> type[LanguageModel]:
    """The class of an architecture; its file is read when it is first asked for."""
    module, _, name = ARCHITECTURES[arch].source.partition(":")
    found: type[LanguageModel] = getattr(import_module(f"charlm.models.{module}"), name)
    return found


def build_model(config: ModelConfig, seed: int = 0) -> LanguageModel:
    """A fresh model with its first weights drawn from `seed`; `config.vocab_size` must be set."""
    return model_class(config.arch)(config, seed)


__all__ = ["LanguageModel", "NeuralModel", "State", "build_model", "model_class"]
