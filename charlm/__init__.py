"""CharLM Lab: train small language models and see how they differ.

    >>> import charlm
    >>> run = charlm.load_run("sherlock-lstm")
    >>> print("".join(charlm.generate(run.load_model(), run.tokenizer(), "Holmes")))

`train`, `generate` and `evaluate` bring torch along, which takes seconds: they are imported when first asked for.
"""

import os
import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from charlm.config import CorpusConfig, ModelConfig, SampleConfig, TrainConfig
from charlm.errors import CharLMError, CheckpointError, ConfigError, CorpusError, JobError

if TYPE_CHECKING:
    from charlm.generation import generate
    from charlm.runs.store import load_run
    from charlm.training.evaluate import evaluate
    from charlm.training.train import train

# torch's threads wait for one another by spinning unless this is set before torch is loaded: beside any other busy
# process (a web server, a browser) a step of training then takes up to fifty times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_LAZY = {
    "train": "charlm.training.train",
    "generate": "charlm.generation",
    "evaluate": "charlm.training.evaluate",
    "load_run": "charlm.runs.store",
}

__all__ = [
    "CharLMError",
    "CheckpointError",
    "ConfigError",
    "CorpusConfig",
    "CorpusError",
    "JobError",
    "ModelConfig",
    "SampleConfig",
    "TrainConfig",
    "evaluate",
    "generate",
    "load_run",
    "train",
]


def _version() -> str:
    """As installed, else as pyproject.toml says beside the package."""
    import tomllib
    from importlib.metadata import PackageNotFoundError, version
    from pathlib import Path

    try:
        return version("charlm-lab")
    except PackageNotFoundError:
        project = Path(__file__).parent.parent / "pyproject.toml"
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _LAZY:
        raise AttributeError(f"module 'charlm' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


class _Package(ModuleType):
    """Importing a module charlm.NAME would put it over the function of that name; this keeps the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _LAZY and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
