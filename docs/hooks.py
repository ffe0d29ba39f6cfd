"""What the build of these pages takes from the code: tables of commands, settings, endpoints and limits.

A page holds `<!-- generated: NAME -->`, and the build puts what `GENERATED[NAME]` returns there. Pictures that are kept
elsewhere in the repository, and linked so that they are seen there, too, are brought along.
"""

import dataclasses
import html
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock, patch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from gradio.utils import get_function_description  # noqa: E402

import charlm  # noqa: E402
import charlm.__main__  # noqa: E402  # adds the command that serves the page
from charlm.analysis.settings import SETTINGS as MEASUREMENTS  # noqa: E402
from charlm.cli import COMMANDS, load_command  # noqa: E402
from charlm.config import Config, CorpusConfig, ModelConfig, RaceConfig, SampleConfig, SearchConfig, TrainConfig  # noqa: E402
from charlm.data.batches import Dataset  # noqa: E402
from charlm.data.catalog import load_corpus  # noqa: E402
from charlm.models import build_model  # noqa: E402
from charlm.presets import PRESET_HINTS, PRESETS  # noqa: E402
from charlm.public.limits import Limits  # noqa: E402
from charlm.runs.run import Run  # noqa: E402
from charlm.tokenizers import CharTokenizer  # noqa: E402
from charlm.training.metrics import Metrics  # noqa: E402
from charlm.ui import api  # noqa: E402
from charlm.ui.schemas import options_schemas  # noqa: E402

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

CONFIGS: tuple[type[Config], ...] = (
    ModelConfig, TrainConfig, RaceConfig, SearchConfig, SampleConfig, CorpusConfig, *MEASUREMENTS.values()
)  # fmt: skip
# Where the command line's options are described that stand for a field of a config class.
SETTINGS_PAGE = "settings.md"
# What the Python page describes beside `charlm.__all__`.
MORE_PYTHON = (load_corpus, CharTokenizer, Dataset, build_model, Metrics, Run)
PICTURES = ("tests/e2e/pictures", "bench/curves")


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown; a bar in a cell has to stand in code."""
    head = list(header)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: str) -> str:
    """A text of the code as Markdown: `<unk>` is no markup."""
    return html.escape(text, quote=False)


def code(text: object) -> str:
    """The text as code; empty stays empty."""
    return f"`{text}`" if str(text) else ""


# --- settings --------------------------------------------------------------------------------------------------------


def settings() -> str:
    """Every setting, a section for each config class; those of measurements stand together in one."""
    measured = MEASUREMENTS.values()
    parts = [settings_section("##", cls) for cls in CONFIGS if cls not in measured]
    parts += ["## Measurements", "Options of `inspect` and `gym`, and of the endpoints of the same names."]
    return "\n\n".join([*parts, *(settings_section("###", cls) for cls in measured)])


def settings_section(marks: str, cls: type[Config]) -> str:
    """A config class under a heading of so many marks."""
    return f"{marks} {cls.__name__}\n\n{cls.__doc__}\n\n{settings_table(cls)}"


def settings_table(cls: type[Config]) -> str:
    """Name, default, range, unit and hint of the fields of a config class."""
    rows = [
        (
            f'<a id="{cls.__name__}.{field.name}"></a>`{field.name}`',
            code(shown(field.default)),
            span(field),
            field.metadata["unit"],
            plain(field.metadata["hint"]),
        )
        for field in dataclasses.fields(cls)
    ]
    return table(("Setting", "Default", "Range", "Unit", "What it does"), rows)


def shown(value: Any) -> str:
    """A setting's value as JSON would have it, a list with commas; nothing for an empty text or list."""
    if isinstance(value, tuple):
        return ", ".join(value)
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else f"{value}"


def span(field: dataclasses.Field) -> str:
    """What a field may be."""
    meta = field.metadata
    if meta["choices"]:
        return ", ".join(code(choice) for choice in meta["choices"])
    if isinstance(field.default, bool):
        return "`true`, `false`"
    if isinstance(field.default, str):
        return f"up to {meta['high']} characters"
    if isinstance(field.default, tuple):
        return f"up to {meta['high']} {meta['unit'] or 'texts'}"
    return f"{meta['low']:,} to {meta['high']:,}"


def presets() -> str:
    """Every preset: what it is for, and how it differs from the defaults."""
    rows = []
    for name, values in PRESETS.items():
        changes = ", ".join(f"`{setting}` {shown(value)}" for setting, value in values.items())
        rows.append((code(name), plain(PRESET_HINTS[name]), changes or "the defaults"))
    return table(("Preset", "About", "Settings that differ from the defaults"), rows)


# --- command line ----------------------------------------------------------------------------------------------------


def commands() -> str:
    """A section for each command."""
    return "\n\n".join(section(name, command) for name, command in all_commands())


def all_commands() -> Iterator[tuple[str, Any]]:
    """Every command by its whole name, in the order of the help."""
    return ((full, one) for name in COMMANDS for full, one in walk(name, load_command(name)))


def walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """The commands that do something, by their whole names, in the order of the help."""
    inner: Mapping[str, Any] = getattr(command, "commands", {})
    if not inner:
        yield name, command
    for word, sub in inner.items():
        yield from walk(f"{name} {word}".strip(), sub)


def section(name: str, command: Any) -> str:
    """What one command takes."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    words = [one.metavar if one.required else f"[{one.metavar}]" for one in arguments] + ["[OPTIONS]"] * bool(options)
    elsewhere = {heading_of(cls) for cls in CONFIGS}  # whose settings have a page of their own
    own = [one for one in (*arguments, *options) if getattr(one, "rich_help_panel", None) not in elsewhere]
    rows = [(code(flags(one)), plain(one.help or "")) for one in own]
    parts = [f"## {name}", plain(command.help), f"```text\n{' '.join(['python -m charlm', name, *words])}\n```"]
    parts.append(table(("Argument or option", "What it is"), rows))
    for cls in CONFIGS:
        taken = [one for one in options if one.rich_help_panel == heading_of(cls)]
        links = ", ".join(f"[`{flags(one)}`]({SETTINGS_PAGE}#{cls.__name__}.{one.name})" for one in taken)
        parts += [f"Settings of [{cls.__name__}]({SETTINGS_PAGE}#{cls.__name__.lower()}): {links}."] if taken else []
    return "\n\n".join(parts)


def heading_of(cls: type[Config]) -> str:
    """What the help of a command has over the options of a config class."""
    return cls.__name__.removesuffix("Config").removesuffix("Settings")


def flags(parameter: Any) -> str:
    """How an argument or option is written."""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar)
    return ", ".join(parameter.opts) + "".join(f" / {flag}" for flag in parameter.secondary_opts)


# --- endpoints, limits, Python ---------------------------------------------------------------------------------------


def declared_endpoints() -> list[Callable[..., Any]]:
    """The functions that the page declares as endpoints; no server and no page is made for it."""
    found: list[Callable[..., Any]] = []
    with patch.object(api, "api", lambda function, **_: found.append(function)):
        api.build(Mock())
    return found


def endpoint_sections() -> str:
    """A section for each endpoint: what it does, its parameters with types and defaults, and what it answers."""
    return "\n\n".join(map(endpoint_section, declared_endpoints()))


def endpoint_section(function: Callable[..., Any]) -> str:
    """Name, docstring, parameters, options and answer of an endpoint."""
    about, described, answer = get_function_description(function)
    signature = inspect.signature(function)
    rows = [
        (code(one.name), code(kind(one.annotation)), default(one), plain(described[one.name]))
        for one in signature.parameters.values()
    ]
    parts = [f"## /{function.__name__}", plain(about)]
    parts += [table(("Parameter", "Type", "Default", "What it is"), rows)] if rows else []
    if names := options_schemas().get(function.__name__):
        parts += ["Options: " + ", ".join(map(code, names)) + "."]
    return "\n\n".join([*parts, f"Returns {code(kind(signature.return_annotation))}: {plain(' '.join(answer))}"])


def kind(annotation: Any) -> str:
    """A type as JSON has it."""
    said = inspect.formatannotation(annotation).replace("collections.abc.", "").replace("typing.", "")
    return re.sub(r"dict\[str, Any\]", "dict", said)


def default(parameter: inspect.Parameter) -> str:
    """A parameter's default, or that there is none."""
    return "required" if parameter.default is inspect.Parameter.empty else code(repr(parameter.default))


def limits() -> str:
    """What a visitor of a public Space may use."""
    rows = [(code(row["name"]), f"{row['value']:,}", row["unit"], plain(row["what"])) for row in Limits().rows()]
    return table(("Limit", "Value", "Unit", "What it bounds"), rows)


def python() -> str:
    """The public Python API, for mkdocstrings: `charlm.__all__`, and what makes a training by hand."""
    public = [getattr(charlm, name) for name in charlm.__all__]
    groups: dict[str, Iterable[Any]] = {
        "Functions": [one for one in public if inspect.isfunction(one)],
        "Settings": [one for one in public if inspect.isclass(one) and issubclass(one, Config)],
        "Errors": [one for one in public if inspect.isclass(one) and issubclass(one, Exception)],
        "For a training by hand": MORE_PYTHON,
    }
    return "\n\n".join("\n\n".join([f"## {title}", *map(described, found)]) for title, found in groups.items())


def described(thing: Any) -> str:
    """What mkdocstrings is asked for; of settings and errors the head only, as Settings has their fields."""
    head_only = inspect.isclass(thing) and issubclass(thing, Config | Exception)
    return f"::: {thing.__module__}.{thing.__qualname__}" + "\n    options:\n      members: false" * head_only


GENERATED: dict[str, Callable[[], str]] = {
    "commands": commands,
    "endpoints": endpoint_sections,
    "limits": limits,
    "presets": presets,
    "python": python,
    "settings": settings,
}


# --- what mkdocs calls -----------------------------------------------------------------------------------------------


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Bring the pictures along that are kept elsewhere."""
    from mkdocs.structure.files import File

    for folder in PICTURES:
        for path in sorted((ROOT / folder).glob("*.[ps][nv]g")):
            files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))
    return files


def on_post_page(output: str, page: "Page", **_: Any) -> str:
    """Refuse a page that would fetch anything from elsewhere when it is read."""
    from mkdocs.exceptions import PluginError

    if fetched := re.search(r"""<(?:script|link|img)\b[^>]*(?:src|href)=["']?https?:[^>]*>""", output):
        raise PluginError(f"{page.file.src_uri} is not complete without a network: {fetched[0]}")
    return output


def on_page_markdown(markdown: str, page: "Page", **_: Any) -> str:
    """Put the generated parts in, and let pictures be found where `on_files` brings them."""
    up = "../" * page.file.src_uri.count("/")
    markdown = re.sub(rf"\]\((?:\.\./)*(?:{'|'.join(PICTURES)})/", f"]({up}pictures/", markdown)
    return re.sub(r"<!-- generated: (\w+) -->", lambda mark: GENERATED[mark[1]](), markdown)
