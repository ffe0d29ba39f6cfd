"""Files that visitors bring along, made into runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from charlm.config import ARCH_NAMES
from charlm.errors import ConfigError
from charlm.ui.common import Services, action
from charlm.ui.numbers import count, listed
from charlm.ui.run_trash import told_html

# What the browser's file picker offers, on a public Space the first one only; what is read is known by its content.
TYPES = [".zip", ".net", ".pt", ".pth", ".safetensors", ".json", ".txt"]
LISTS = (".json", ".txt")
WANTED = "choose a run's zip or a checkpoint, and at most one .json or .txt with its characters beside it"


def bring_run(services: Services, checkpoint: Path, characters: Path | None = None, **options: Any) -> Any:
    """A new run made of what was uploaded; the page and the endpoints come through here.

    Args:
        services: whose store the run goes to.
        checkpoint: a run's zip, or a file of weights.
        characters: the file that lists its characters, if it does not itself.
        options: label, nonlinearity and corpus of `charlm.exchange.imports.import_file`.

    Raises:
        CharLMError: it cannot be imported.
    """
    from charlm.exchange.imports import import_file

    if services.limits is not None:
        return services.store.take_in(checkpoint, **options)
    return import_file(services.store, checkpoint, characters=characters, **options)


def told_apart(files: Sequence[Path]) -> tuple[Path, Path | None]:
    """The checkpoint and the list of its characters, in whatever order they were chosen.

    Raises:
        ConfigError: it cannot be told which is which.
    """
    lists = [path for path in files if path.suffix.lower() in LISTS]
    rest = [path for path in files if path not in lists]
    if len(rest) != 1 or len(lists) > 1:
        given = listed([path.name[:60] for path in files[:4]]) or "no file"
        raise ConfigError(f"{given} cannot be imported; {WANTED}")
    return rest[0], lists[0] if lists else None


def imported_html(run: Any) -> str:
    """What the new run is, and what can be done with it next."""
    model = run.model_config
    kind = ARCH_NAMES.get(run.arch, run.arch)
    what = f"{kind}, {model.shape}, {count(model.vocab_size, 'character')}"
    return told_html(
        f"Imported {run.label}: {what}. Below it can be forked, to train it further, and scored on a text.",
        action("compare", "Compare it", run=run.run_id),
    )
