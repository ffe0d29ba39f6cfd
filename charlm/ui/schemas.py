"""JSON schemas of the endpoints, for agents: what may stand in their arguments, made from the config classes and types.

Of a setting's type, range, default and hint nothing is repeated here: only which endpoint takes which settings.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import Field
from functools import cache
from typing import Any, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

from gradio.utils import get_function_description
from gradio_client.utils import python_type_to_json_schema

from charlm.analysis.settings import SETTINGS as MEASUREMENTS
from charlm.analysis.votes import QUESTIONS
from charlm.config import (
    ARCHS,
    LONGEST_STOP,
    Config,
    ModelConfig,
    RaceConfig,
    SampleConfig,
    SearchConfig,
    TrainConfig,
)
from charlm.formats.exports import FORMATS
from charlm.jobs import QueueEntry, StatusAnswer
from charlm.presets import FORKABLE, LIST_PRESET, PRESET_HINTS, RESUMABLE, from_options
from charlm.serving.texts import SPLITS
from charlm.serving.votes import Answer
from charlm.training.autosize import SIZED

Schema = dict[str, Any]
COUNT = 12  # next tokens, unless asked for more or fewer
MOST_LISTED = 1000  # next tokens
NOT_OF_ITEMS = ("stop", "samples", "greedy", "beams")  # settings that make no distinct items
RESULT = "result"  # the key of an answer that is no object
ACTIONS = ("begin", "look", "stop", "resume")  # of a search
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
FILE: Schema = {
    "anyOf": [
        {"type": "string", "description": "a path that the server answered when a file was sent to /gradio_api/upload"},
        {
            "type": "object",
            "properties": {
                "text": {"type": "string", "description": "the content of the file"},
                "name": {"type": "string", "description": "its name; the ending says how it is read"},
            },
            "required": ["text"],
        },
    ]
}
# Parameters that are not just of their type, by name; and those of single endpoints.
PARAMETERS: dict[str, Schema] = {
    "arch": {"type": "string", "enum": list(ARCHS)},
    "archs": {"type": "array", "items": {"type": "string", "enum": list(ARCHS)}},
    "file": {"anyOf": [*FILE["anyOf"], {"type": "array", "items": FILE}]},
    "characters": FILE,
    "format": {"type": "string", "enum": [one.name for one in FORMATS]},
    "action": {"type": "string", "enum": list(ACTIONS)},
    "kind": {"type": "string", "enum": list(QUESTIONS)},
}
OWN_PARAMETERS: dict[tuple[str, str], Schema] = {("import_run", "file"): FILE}


class CatalogEntry(TypedDict):
    """A text of the catalog, in the answer of /corpora."""

    key: str
    title: str
    about: str
    at_hand: bool


class RunSummary(TypedDict):
    """A run, in the answer of /runs."""

    run_id: str
    label: str
    arch: str
    level: str
    corpus: str
    status: str
    step: int
    best_val_loss: float | None
    bits_per_char: float | None
    seconds: float
    num_parameters: int
    shipped: bool
    imported: dict[str, Any]


class StartedRun(TypedDict):
    """What /train answers."""

    run_id: str
    status: str
    position: int | None


class NextToken(TypedDict):
    """A row in the answer of /next_tokens."""

    token: str
    probability: float
    raw: float


# What is in the answers, where their objects have always the same keys.
ANSWERS: dict[str, Any] = {
    "corpora": list[CatalogEntry],
    "runs": list[RunSummary],
    "import_run": RunSummary,
    "train": StartedRun,
    "race": list[StartedRun],
    **dict.fromkeys(("status", "pause", "stop", "rate", "resume", "fork", "retry", "move"), StatusAnswer),
    "queue": list[QueueEntry],
    "next_tokens": list[NextToken],
    "vote": Answer,
}


def setting_schema(field: "Field[Any]", default: Any = None) -> Schema:
    """Type, range, default and hint of a setting.

    Args:
        field: of a config class.
        default: where it is not the class's.
    """
    meta, own = field.metadata, field.default
    about = f"{meta['hint']} ({meta['unit']})" if meta["unit"] else meta["hint"]
    if isinstance(own, tuple):
        items = {"type": "string", "maxLength": LONGEST_STOP}
        return {"type": "array", "items": items, "maxItems": meta["high"], "default": list(own), "description": about}
    schema: Schema = {"type": TYPES[type(own)], "default": own if default is None else default, "description": about}
    if meta["choices"]:
        return {**schema, "enum": list(meta["choices"])}
    low, high = ("minLength", "maxLength") if isinstance(own, str) else ("minimum", "maximum")
    return schema | {key: value for key, value in ((low, meta["low"]), (high, meta["high"])) if value is not None}


def settings_of(cls: type[Config], names: Iterable[str] = (), without: Iterable[str] = ()) -> dict[str, Schema]:
    """The schemas of a class's settings, by name.

    Args:
        cls: a config class.
        names: of those that are taken; none: all.
        without: names of those that are not.
    """
    left_out = set(without)
    return {name: setting_schema(cls.field(name)) for name in (names or cls.names()) if name not in left_out}


def _training_options() -> dict[str, Schema]:
    """Those of /train: the settings with the defaults of the preset that is taken where none is named."""
    usual = from_options({})
    presets = "; ".join(f"{name}: {hint}" for name, hint in PRESET_HINTS.items())
    found: dict[str, Schema] = {
        "preset": {
            "type": "string",
            "enum": list(PRESET_HINTS),
            "default": usual.preset,
            "description": f"The settings to begin from, with defaults of its own; of a list {LIST_PRESET}. {presets}",
        }
    }
    for config in (usual.model, usual.train, usual.corpus):
        for name in config.names():
            if name != "arch":  # an argument
                found[name] = setting_schema(config.field(name), getattr(config, name))
    for name in SIZED:
        del found[name]["default"]
        found[name]["description"] += "; left out: what suits text and machine, or the preset's"
    return found


@cache
def options_schemas() -> dict[str, dict[str, Schema]]:
    """What may stand in `options`, by endpoint and name of the option; endpoints without options are left out."""
    sampling, training = settings_of(SampleConfig), _training_options()
    race = training | settings_of(RaceConfig)
    label = setting_schema(TrainConfig.field("label"))
    found = {
        "train": training,
        "race": race,
        "search": race | settings_of(SearchConfig),
        "resume": settings_of(TrainConfig, RESUMABLE),
        "fork": settings_of(TrainConfig, FORKABLE)
        | {"grow": {"type": "boolean", "default": False, "description": "Learn the characters of the new text, too"}},
        "generate": sampling,
        "compare": sampling,
        "ballot": sampling,
        "items": settings_of(SampleConfig, without=NOT_OF_ITEMS),
        "next_tokens": sampling
        | {"count": {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": COUNT}},
        "evaluate": {
            "split": {"type": "string", "enum": list(SPLITS), "description": "Which part of the run's own corpus"}
        },
        "import_run": {
            "label": label,
            "nonlinearity": setting_schema(ModelConfig.field("nonlinearity")),
            "corpus": {"type": "string", "description": "A key of the catalog: the text to measure the run on"},
        },
    }
    return found | {name: settings_of(cls) for name, cls in MEASUREMENTS.items()}


def parameters_schema(endpoint: Callable[..., Any], more: Mapping[str, Schema]) -> Schema:
    """What an endpoint takes, as an object with its parameters by name.

    Args:
        endpoint: a function with type hints and a docstring that has Args.
        more: parameters that are added.
    """
    _, about, _ = get_function_description(endpoint)
    signature = inspect.signature(endpoint).parameters
    found = {name: _parameter(endpoint.__name__, one) | {"description": about[name]} for name, one in signature.items()}
    required = [name for name, one in signature.items() if one.default is inspect.Parameter.empty]
    return {"type": "object", "properties": found | dict(more), "required": required, "additionalProperties": False}


def _parameter(endpoint: str, parameter: inspect.Parameter) -> Schema:
    """A parameter without its description; its default is told unless it says only that nothing is given."""
    name, default = parameter.name, parameter.default
    if name == "options":
        return {"type": "object", "properties": options_schemas()[endpoint], "additionalProperties": False}
    known = OWN_PARAMETERS.get((endpoint, name)) or PARAMETERS.get(name)
    schema = known or python_type_to_json_schema(parameter.annotation)
    return schema if default is inspect.Parameter.empty or default is None else {**schema, "default": default}


def answer_schema(endpoint: Callable[..., Any]) -> Schema:
    """What an endpoint answers, as an object: of a stream its last value; what is no object is its `result`.

    Args:
        endpoint: a function with type hints.
    """
    annotation = ANSWERS.get(endpoint.__name__, inspect.signature(endpoint).return_annotation)
    schema = type_schema(get_args(annotation)[0] if get_origin(annotation) is Iterator else annotation)
    if schema.get("type") == "object":
        return schema
    return {"type": "object", "properties": {RESULT: schema}, "required": [RESULT]}


def type_schema(annotation: Any) -> Schema:
    """The schema of a type hint; a number may be null, as one that is not finite is sent."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if is_typeddict(annotation):
        fields = {name: type_schema(hint) for name, hint in get_type_hints(annotation).items()}
        return {"type": "object", "properties": fields, "required": sorted(annotation.__required_keys__)}
    if origin is list:
        return {"type": "array", "items": type_schema(inner[0])}
    if origin is dict or annotation is dict:
        return {"type": "object"}
    if annotation is float:
        return {"type": ["null", "number"]}
    if type(None) in inner and len(inner) == 2:
        schema = type_schema(next(one for one in inner if one is not type(None)))
        return schema if isinstance(schema["type"], list) else {**schema, "type": ["null", schema["type"]]}
    return dict(python_type_to_json_schema(annotation))
