"""Command-line options made from the config classes: name, range, default and hint are read from the fields."""

import dataclasses
import functools
import inspect
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from charlm.config import Config, CorpusConfig, ModelConfig, unescape
from charlm.data import catalog
from charlm.data.corpus import Corpus, join_corpora, read_corpus, read_corpus_file
from charlm.errors import ConfigError, CorpusError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object or list as the last line.")]
RunsDir = Annotated[
    Path | None, typer.Option("--runs-dir", help="Folder of the runs. (default: CHARLM_RUNS, or checkpoints)")
]
RunToken = Annotated[str, typer.Argument(metavar="RUN", help="A run's id or its beginning, its label, or a folder.")]
PRETRAINED = "a pretrained model: its folder, a .gguf file, or hf:OWNER/NAME."
ModelToken = Annotated[
    str, typer.Argument(metavar="RUN", help=f"A run's id or its beginning, its label, or a folder; or {PRETRAINED}")
]
ModelTokens = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help=f"Runs: ids, beginnings of ids, labels, folders; or {PRETRAINED}"),
]
RunTokens = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Runs: ids, beginnings of ids, labels, folders.")
]
CorpusToken = Annotated[
    str,
    typer.Argument(metavar="CORPUS", help="A file, a folder, - for standard input, or a name of `corpora`."),
]
CorpusTokens = Annotated[
    list[str],
    typer.Argument(
        metavar="CORPUS...",
        help="Files, folders, - for standard input, or names of `corpora`; joined as given.",
    ),
]


def _prompt(typed: str) -> str:
    """A prompt of the command line, in which `\\n` is a line end."""
    return unescape(readable(typed))


Prompt = Annotated[
    str,
    typer.Option("--prompt", help="What the text begins with; \\n is a line end.", metavar="TEXT", parser=_prompt),
]


def hint_of(field: dataclasses.Field[Any]) -> str:
    """The field's hint with its choices or range, unit and default, for `--help`."""
    meta, default = field.metadata, field.default
    parts = [", ".join(meta["choices"])] if meta["choices"] else []
    if isinstance(default, tuple):
        parts = [f"up to {meta['high']}, one option each; \\n is a line end"]
    elif isinstance(default, bool):
        parts = [f"default {'yes' if default else 'no'}"]
    elif isinstance(default, int | float):
        parts = [f"{meta['low']:,} to {meta['high']:,} {meta['unit']}".rstrip(), f"default {default}"]
    elif default:
        parts += [f"default {default}"]
    return f"{meta['hint']}." + (f" ({'; '.join(parts)})" if parts else "")


def option_of(field: dataclasses.Field[Any], panel: str) -> inspect.Parameter:
    """A typer option for the field; None says that it was not given, so that a preset's value stays."""
    flag, kind = field.name.replace("_", "-"), type(field.default)
    declared = f"--{flag}/--no-{flag}" if kind is bool else f"--{flag}"
    metavar = {bool: None, tuple: "TEXT"}.get(kind, kind.__name__.upper())
    hint = hint_of(field)
    shown = typer.Option(None, declared, help=hint, metavar=metavar, show_default=False, rich_help_panel=panel)
    # Numbers arrive as words, so that a wrong one is refused by name and value, like everywhere else.
    annotation: Any = {bool: bool | None, tuple: list[str] | None}.get(kind, str | None)
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=shown, annotation=annotation)


def value_of(field: dataclasses.Field[Any], given: Any) -> Any:
    """What was typed for the field, in the field's type; the config class checks the range.

    Raises:
        ConfigError: not a number where one is needed.
    """
    if isinstance(field.default, bool):
        return given
    if isinstance(field.default, str):
        return _prompt(given) if field.name == "prompt" else readable(given)
    if isinstance(field.default, tuple):
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
    chosen = {
        field.name: (field, cls.__name__.removesuffix("Config").removesuffix("Settings"))
        for cls in classes
        for field in dataclasses.fields(cls)
        if (not only or field.name in only) and field.name not in skip
    }

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def run(**given: Any) -> Any:
            typed = {name: given.pop(name) for name in chosen}
            options = {name: value_of(chosen[name][0], one) for name, one in typed.items() if one not in (None, [], ())}
            return command(**given, options=options)

        signature = inspect.signature(command)
        own = [one.replace(kind=one.KEYWORD_ONLY) for one in signature.parameters.values() if one.name != "options"]
        parameters = [*own, *(option_of(*pair) for pair in chosen.values())]
        run.__dict__["__signature__"] = signature.replace(parameters=parameters)
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def named_archs(archs: str) -> list[str]:
    """The architectures in a list such as `lstm, gru`.

    Raises:
        ConfigError: one is none.
    """
    return [ModelConfig(arch=name.strip()).arch for name in archs.split(",") if name.strip()]


def open_corpora(tokens: Sequence[str], config: CorpusConfig) -> Corpus:
    """The texts that several CORPUS name, joined in their order; see `open_corpus`."""
    return join_corpora([functools.partial(open_corpus, token) for token in tokens], config)


def open_corpus(token: str, config: CorpusConfig) -> Corpus:
    """The text that CORPUS names: `-` for standard input, a file, a folder, or an entry of the catalog.

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
