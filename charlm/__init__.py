"""CharLM Lab: train small language models and see how they differ.

    >>> import charlm
    >>> run = charlm.load_run("sherlock-lstm")
    >>> print("".join(charlm.generate(run.load_model(), run.tokenizer(), "Holmes")))

What needs torch or numpy, which take seconds to load, is imported when it is first used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from charlm.config import CorpusConfig, ModelConfig, SampleConfig, TrainConfig
from charlm.errors import CharLMError, CheckpointError, ConfigError, CorpusError, JobError

if TYPE_CHECKING:
    from charlm.data.batches import Dataset
    from charlm.data.catalog import load_corpus
    from charlm.generation import generate
    from charlm.models import build_model
    from charlm.runs.store import load_run
    from charlm.tokenizers import CharTokenizer
    from charlm.training.evaluate import evaluate
    from charlm.training.train import train

# torch's threads wait for one another by spinning unless this is set before torch is loaded: beside any other busy
# process (a web server, a browser) a step of training then takes up to fifty times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_LAZY = {
    "CharTokenizer": "charlm.tokenizers",
    "Dataset": "charlm.data.batches",
    "build_model": "charlm.models",
    "evaluate": "charlm.training.evaluate",
    "generate": "charlm.generation",
    "load_corpus": "charlm.data.catalog",
    "load_run": "charlm.runs.store",
    "train": "charlm.training.train",
}

__all__ = [
    "CharLMError",
    "CharTokenizer",
    "CheckpointError",
    "ConfigError",
    "CorpusConfig",
    "CorpusError",
    "Dataset",
    "JobError",
    "ModelConfig",
    "SampleConfig",
    "TrainConfig",
    "build_model",
    "evaluate",
    "generate",
    "load_corpus",
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
