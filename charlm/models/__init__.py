"""Language models: ids and state in, logits and state out. One file per family; `ARCHITECTURES` names them."""

import sys
from importlib import import_module

from charlm.architectures import ARCHITECTURES
from charlm.config import ModelConfig
from charlm.models import base
from charlm.models.base import LanguageModel, NeuralModel, State

# The name that base.py had when the first recipes for new architectures were written.
sys.modules[f"{__name__}.language_model"] = base


def model_class(arch: str) -> type[LanguageModel]:
    """The class of an architecture, imported when it is first needed."""
    module, _, name = ARCHITECTURES[arch].source.partition(":")
    found: type[LanguageModel] = getattr(import_module(f"charlm.models.{module}"), name)
    return found


def build_model(config: ModelConfig, seed: int = 0) -> LanguageModel:
    """A new model with weights initialised from `seed`; `config.vocab_size` must be set."""
    return model_class(config.arch)(config, seed)


__all__ = ["LanguageModel", "NeuralModel", "State", "build_model", "model_class"]
