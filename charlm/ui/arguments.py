"""What clients send, checked: each function returns what was meant, or says in a sentence what is wrong with it."""

import json
import math
from typing import Any

from charlm.catalog import load_corpus
from charlm.config import CorpusConfig, SampleConfig
from charlm.corpus import Corpus, read_bytes, read_corpus
from charlm.errors import ConfigError, CorpusError
from charlm.ui.common import Services


def corpus_of(services: Services, key: str, file: Any, config: CorpusConfig) -> Corpus:
    """The text a client means: its upload, else the catalog's."""
    if file:
        path = services.files.uploaded(path_in(file))
        name = file.get("orig_name") if isinstance(file.get("orig_name"), str) else path.name
        most = services.text_bytes
        return read_corpus(read_bytes(path, most), name or path.name, config, most)
    if not isinstance(key, str) or not key:
        raise CorpusError("no corpus is given: name one of the catalog, or upload a file")
    return load_corpus(key, config)


def path_in(file: Any) -> Any:
    """The path in what a client sends as a file."""
    return file.get("path") if isinstance(file, dict) else None


def options_of(options: Any) -> dict[str, Any]:
    """Options as an object; a client may also send them as JSON text."""
    if isinstance(options, str):
        try:
            options = json.loads(options or "{}")
        except (ValueError, RecursionError):
            raise ConfigError(f"options must be a JSON object, not {options[:60]!r}") from None
    if options is not None and not isinstance(options, dict):
        raise ConfigError(f"options must be a JSON object, not {type(options).__name__}")
    return dict(options or {})


def sampling_of(length: Any, options: Any) -> SampleConfig:
    """How a text is to be drawn."""
    return SampleConfig.from_dict({"length": length, **options_of(options)})


def text_of(value: Any, name: str = "prompt") -> str:
    """A text, by the argument's name."""
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be text, not {type(value).__name__}")
    return value


def whole_of(value: Any, name: str = "since_step") -> int:
    """A whole number; 3.0 is one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == math.inf:
        raise ConfigError(f"{name} must be a whole number, not {str(value)[:60]!r}")
    return int(value)


def texts_of(values: Any, name: str) -> list[str]:
    """A list of texts; none is an empty one."""
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ConfigError(f"{name} must be a list of text")
    return values
