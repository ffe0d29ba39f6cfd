"""What clients send, checked: each function returns what was meant, or says in a sentence what is wrong with it."""

import json
import math
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from charlm.catalog import load_corpus
from charlm.config import CorpusConfig, SampleConfig
from charlm.corpus import Corpus, read_bytes, read_corpus
from charlm.errors import ConfigError, CorpusError


def corpus_of(key: str, file: Any, config: CorpusConfig) -> Corpus:
    """The text a client means: its upload, else the catalog's."""
    if file:
        path = uploaded(file)
        name = file.get("orig_name") if isinstance(file.get("orig_name"), str) else path.name
        return read_corpus(read_bytes(path), name or path.name, config)
    if not isinstance(key, str) or not key:
        raise CorpusError("no corpus is given: name one of the catalog, or upload a file")
    return load_corpus(key, config)


def uploaded(file: Any) -> Path:
    """The path of a file that came through gradio's own upload; nothing else is ever opened."""
    given = file.get("path") if isinstance(file, dict) else None
    folder = Path(get_upload_folder()).resolve()
    if isinstance(given, str) and given and "\0" not in given:
        path = Path(given).resolve()
        if path.is_relative_to(folder) and path.is_file():
            return path
    raise CorpusError("the file is not an upload; send it with gradio_client's handle_file")


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
