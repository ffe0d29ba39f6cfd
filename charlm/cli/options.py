"""Command-line options made from the config classes: name, range, default and hint are read from the fields."""

import dataclasses
import functools
import inspect
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from charlm.config import Config, CorpusConfig, unescape
from charlm.data import catalog
from charlm.data.corpus import Corpus, read_corpus, read_corpus_file
from charlm.errors import ConfigError, CorpusError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object or list as the last line.")]
RunsDir = Annotated[
    Path | None, typer.Option("--runs-dir", help="Folder of the runs. (default: CHARLM_RUNS, or checkpoints)")
]
RunToken = Annotated[str, typer.Argument(metavar="RUN", help="A run's id or its beginning, its label, or a folder.")]
RunTokens = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Runs: ids, beginnings of ids, labels, folders.")
]
CorpusToken = Annotated[
    str, typer.Argument(metavar="CORPUS", help="A file, - for standard input, or a name that `corpora` lists.")
]
Prompt = Annotated[str, typer.Option("--prompt", help="What the text begins with.")]


def hint_of(field: dataclasses.Field) -> str:
    """The field's hint with its choices or range, unit and default, for `--help`."""
    meta, kind = field.metadata, type(field.default)
    if meta["choices"]:
        legal = ", ".join(meta["choices"])
    elif kind is tuple:
        legal = f"up to {meta['high']}, one option each; \\n is a line end"
    elif kind in (int, float):
        legal = f"{meta['low']:,} to {meta['high']:,} {meta['unit']}".rstrip()
    else:
        legal = ""
    worded = {True: "yes", False: "no", (): ""}
    default = field.default if kind in (int, float) else worded.get(field.default, field.default)
    said = [legal] if legal else []
    said += [f"default {default}"] if default != "" else []
    return f"{field.metadata['hint']}." + (f" ({'; '.join(said)})" if said else "")


def option_of(field: dataclasses.Field, panel: str) -> inspect.Parameter:
    """A typer option for the field; None says that it was not given, so that a preset's value stays."""
    flag, kind = field.name.replace("_", "-"), type(field.default)
    declared = f"--{flag}/--no-{flag}" if kind is bool else f"--{flag}"
    metavar = {bool: None, tuple: "TEXT"}.get(kind, kind.__name__.upper())
    shown = typer.Option(
        None, declared, help=hint_of(field), metavar=metavar, show_default=False, rich_help_panel=panel
    )  # fmt: skip
    # Numbers arrive as words, so that a wrong one is refused by name and value, like everywhere else.
    annotation: Any = {bool: bool | None, tuple: list[str] | None}.get(kind, str | None)
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=shown, annotation=annotation)


def value_of(field: dataclasses.Field, given: Any) -> Any:
    """What was typed for the field, in the field's type; the config class checks the range.

    Raises:
        ConfigError: not a number where one is needed.
    """
    kind = type(field.default)
    if kind is bool:
        return given
    if kind is str:
        return readable(given)
    if kind is tuple:
        return [unescape(readable(word)) for word in given]
    try:
        number = float(given)
        return int(given) if math.isfinite(number) and given.strip().lstrip("+-").isdecimal() else number
    except ValueError:
        raise ConfigError(f"{field.name} must be a number, not {given!r}") from None


def readable(word: str) -> str:
    """A word of the command line as UTF-8 can hold it: bytes that were no text become question marks."""
    return word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def takes(*classes: type[Config], only: tuple[str, ...] = (), skip: tuple[str, ...] = ()) -> Callable[..., Any]:
    """Give a command one option per field of the classes.

    Args:
        classes: config classes whose fields become options.
        only: if not empty, just these fields.
        skip: fields to leave out.

    Returns:
        A decorator. The command gets the options that were given, by name, in its argument `options`.
    """
    chosen = [
        (field, cls.__name__.removesuffix("Config"))
        for cls in classes
        for field in dataclasses.fields(cls)
        if (not only or field.name in only) and field.name not in skip
    ]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(command)
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in signature.parameters.items()
            if name != "options"
        ]

        @functools.wraps(command)
        def run(**given: Any) -> Any:
            typed = {field.name: (field, given.pop(field.name)) for field, _ in chosen}
            options = {name: value_of(*pair) for name, pair in typed.items() if pair[1] not in (None, [], ())}
            return command(**given, options=options)

        parameters = [*own, *(option_of(field, panel) for field, panel in chosen)]
        run.__dict__["__signature__"] = signature.replace(parameters=parameters)
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def open_corpus(token: str, config: CorpusConfig) -> Corpus:
    """The text that CORPUS names: `-` for standard input, a file, or an entry of the catalog.

    Raises:
        CorpusError: nothing of that name, or no readable text in it.
    """
    path = Path(token)
    if token == "-":
        return read_corpus(sys.stdin.buffer.read(), "standard input", config)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return read_corpus_file(path, config)
    try:
        entry = catalog.find_entry(token)
    except CorpusError as error:
        raise CorpusError(f"there is no file {token!r}, and {error}") from None
    return catalog.load_corpus(entry.key, config)
