"""Models copied into a form that compiled loops read: many tokens of many texts in one call."""

from collections.abc import Callable
from typing import Any

from charlm.generation.compiled.base import CompiledModel
from charlm.generation.compiled.mingru import CompiledMinGRU
from charlm.generation.compiled.recurrent import CompiledRNN
from charlm.generation.compiled.transformer import CompiledTransformer
from charlm.models import LanguageModel
from charlm.models.kernels.jit import is_wanted
from charlm.models.mingru import MinGRUModel
from charlm.models.recurrent import RecurrentModel
from charlm.models.transformer import TransformerModel


def can_compile(model: LanguageModel) -> bool:
    """Whether there are compiled loops for the model: it is on the CPU, and loops can be compiled."""
    return is_wanted() and model.device.type == "cpu" and _compiler_of(model) is not None


def compile_model(model: LanguageModel) -> CompiledModel:
    """A copy of the model as it is now for compiled loops; `can_compile` must hold."""
    compiler = _compiler_of(model)
    assert compiler is not None
    return compiler(model)


def _compiler_of(model: LanguageModel) -> Callable[[Any], CompiledModel] | None:
    if isinstance(model, RecurrentModel):
        return CompiledRNN
    exact: dict[type, Callable[[Any], CompiledModel]] = {
        MinGRUModel: CompiledMinGRU,
        TransformerModel: CompiledTransformer,
    }
    return exact.get(type(model))  # a class derived from one may compute something else


__all__ = ["CompiledModel", "can_compile", "compile_model"]
