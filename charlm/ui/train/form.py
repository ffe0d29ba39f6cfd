"""The form of the Train tab: what to train on what, for how long, and what that will take."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import gradio as gr

from charlm.analysis.seeds import FIRST_LOOK, looks_of
from charlm.architectures import ARCH_NAMES, ARCHS, RACE_ARCHS, is_counted
from charlm.config import LEVEL_NAMES, Config, CorpusConfig, ModelConfig, RaceConfig, TrainConfig
from charlm.data.batches import Sizes
from charlm.data.dataset import text_sizes, token_sizes, tokenizer_for
from charlm.data.items import item_length
from charlm.errors import CharLMError, ConfigError
from charlm.presets import (
    BUDGETS,
    FIRST_PRESET,
    LIST_PRESET,
    PRESET_HINTS,
    PRESETS,
    RunConfig,
    from_options,
    usual_preset,
)
from charlm.public.limits import Limits, check_new, check_race, check_tokens, fitted
from charlm.training.autosize import is_autosized, sizes
from charlm.ui import formatting
from charlm.ui.command_line import command_line, settings
from charlm.ui.corpus.texts import Chosen, chosen_options, chosen_tokens, corpus_choices, open_corpus
from charlm.ui.html import ACTIONS_JS, facts, notice, render

if TYPE_CHECKING:
    from charlm.data.batches import Cut
    from charlm.training.racers import Racer

# What a newcomer needs, then the rest, which is folded once more under Advanced.
BASIC: dict[str, tuple[str, ...]] = {
    "model": ("hidden_size", "num_layers", "dropout", "order"),
    "training": ("steps", "batch_size", "seq_len", "learning_rate"),
    "name": ("label", "seed", "seeds", "early_stop"),
}
ADVANCED: dict[str, tuple[str, ...]] = {
    "architecture": ("embed_dim", "tie_weights", "nonlinearity", "num_heads", "context", "init"),
    "heart": (
        "locked_dropout", "output_dropout", "input_dropout", "embed_dropout", "weight_dropout", "weight_decay",
    ),
    "schedule": (
        "epochs", "minutes", "schedule", "warmup_steps", "grad_clip", "weight_average", "patience", "eval_every",
        "random_start", "softmax_samples",
    ),
    "race": ("match", "budget"),
    "machine": ("device", "precision", "snapshots", "record_gradient"),
}  # fmt: skip
FOLDS = BASIC | ADVANCED
NAMES = tuple(name for names in FOLDS.values() for name in names)
LABELS = {
    "seq_len": "Sequence length",
    "eval_every": "Validate every",
    "num_layers": "Layers",
    "nonlinearity": "RNN nonlinearity",
    "num_heads": "Transformer heads",
    "context": "Transformer context",
    "order": "n-gram order",
    "early_stop": "Stop early",
}
# Settings with a slider, over their whole range: one that a preset or advice fills in must fit.
STEPS: dict[str, float] = {
    "num_layers": 1, "order": 1, "dropout": 0.01, "input_dropout": 0.01, "embed_dropout": 0.01, "weight_dropout": 0.01,
    "snapshots": 1,
}  # fmt: skip
RATE_HINT = "How far one step moves the weights; empty: what suits architecture, size and steps, as shown in grey"
UNASKED = ("arch", "counted")  # fields that are no options of `race`
SIZED = ("hidden_size", "dropout", "steps")  # what a preset may make of its own on another machine
EMPTY = (None, "")  # what an emptied number field holds, and a learning rate's before it is touched
SizeOf = Callable[[str, CorpusConfig, ModelConfig], "TextSize"]  # `text_size`, or a memory of it
# On a public Space the estimates name what is left of the visitor's limits.
REFRESH_JS = "window.addEventListener('charlm:left', () => { if (element.offsetParent) trigger('refresh', {}); });"


@dataclass(frozen=True)
class Form:
    """The form's components; `controls` are the settings' by name, `advanced` the fold around those of ADVANCED."""

    corpus: gr.Dropdown
    preset: gr.Radio
    archs: gr.CheckboxGroup
    estimates: gr.HTML
    start: gr.Button
    folds: Mapping[str, gr.Accordion]
    advanced: gr.Accordion
    controls: Mapping[str, Any]

    @property
    def inputs(self) -> set[Any]:
        """All components that say what to train."""
        return {self.corpus, self.preset, self.archs, *self.controls.values()}

    def values(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        """The settings among the components' values, by name."""
        return {name: given[control] for name, control in self.controls.items()}

    def show(self, values: Mapping[str, Any]) -> dict[Any, Any]:
        """What puts values into the settings."""
        return {control: values[name] for name, control in self.controls.items()}


def config_class(name: str) -> type[Config]:
    """Which config a setting belongs to."""
    return next(config for config in (ModelConfig, TrainConfig, RaceConfig) if name in config.names())


def control(name: str, value: Any) -> Any:
    """The gradio component of a setting: label, hint and choices come from its config class."""
    field = config_class(name).field(name)
    meta, label = field.metadata, LABELS.get(name, name.replace("_", " ").capitalize())
    shared: dict[str, Any] = {"label": label, "info": meta["hint"], "elem_id": f"train-{name.replace('_', '-')}"}
    if name == "learning_rate":
        return gr.Number(value, placeholder="by itself", **{**shared, "info": RATE_HINT})
    if name == "early_stop":
        shared["visible"] = False  # until there are enough seeds
    if name in STEPS:
        shared["visible"] = name != "order"  # until an n-gram is chosen
        return gr.Slider(meta["low"], meta["high"], value, step=STEPS[name], **shared)
    return typed_control(field, value, **shared)


def typed_control(field: Any, value: Any, **shared: Any) -> Any:
    """The gradio component that suits a setting's type and choices.

    Args:
        field: of a config class.
        value: that it shows.
        **shared: label, hint and element id.
    """
    if field.metadata["choices"]:
        return gr.Dropdown(list(field.metadata["choices"]), value=value, filterable=False, **shared)
    if isinstance(field.default, bool):
        return gr.Checkbox(value, **shared)
    if isinstance(field.default, str):
        return gr.Textbox(value, max_length=int(field.metadata["high"]), **shared)
    return gr.Number(value, precision=0 if isinstance(field.default, int) else None, **shared)


def control_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """What each control shows for these settings: a learning rate that is found by itself leaves its field empty.

    Empty is "" here: of a None a gr.Number that comes into view later makes a 0 (gradio-app/gradio#6728).
    """
    return {name: values[name] for name in NAMES} | {"learning_rate": values["learning_rate"] or ""}


def preset_values(
    preset: str, limits: Limits | None = None, size: "TextSize | None" = None, archs: Sequence[str] = RACE_ARCHS
) -> dict[str, Any]:
    """A preset's value for every control, by name.

    Args:
        preset: its name.
        limits: where there are any, the values are cut down to them.
        size: of the text, which `quick`, `balanced` and `quality` follow; None: unknown, or not characters.
        archs: that are to be trained.
    """
    config = from_options({}, preset)
    values = config.model.to_dict() | config.train.to_dict() | config.race.to_dict()
    if size and is_autosized(preset, config.model):
        from charlm.training.machine import this_machine

        values |= sizes(preset, size.tokens[0], this_machine(), archs, limits=limits, item=size.item)
    return control_values(values if limits is None else fitted(limits, values))


def preset_for(preset: str, chosen: Chosen | None, is_of_list: bool) -> tuple[str, bool]:
    """The preset for a text that the Corpus tab hands over: a list takes LIST_PRESET instead of FIRST_PRESET, and the
    next text that is none gives it back; any other preset stays.

    Args:
        preset: that is picked.
        chosen: what the Corpus tab chose.
        is_of_list: whether the text before it was a list.

    Returns:
        The preset, and whether the text is a list.
    """
    usual = usual_preset(chosen_options(chosen))
    is_list = usual == LIST_PRESET
    return usual if is_list != is_of_list and preset in (FIRST_PRESET, LIST_PRESET) else preset, is_list


def is_as_filled(values: Mapping[str, Any], filled: Mapping[str, Any]) -> bool:
    """Whether the controls hold what a preset filled into them."""
    return all(
        value == filled.get(name) or (value in EMPTY and filled.get(name) in EMPTY) for name, value in values.items()
    )


def size_to_learn(size_of: SizeOf, chosen: Chosen | None, corpus: str, preset: str) -> "TextSize | None":
    """The size of the text that is picked, in characters; None if it is read otherwise, or cannot be read.

    Args:
        size_of: measures texts.
        chosen: what the Corpus tab chose.
        corpus: the picker's value.
        preset: its corpus settings count where the Corpus tab set nothing else.
    """
    try:
        config = from_options({**chosen_tokens(chosen), **chosen_options(chosen)}, preset)
        if is_autosized(preset, config.model):
            return size_of(corpus, config.corpus, config.model.tokenization)
    except CharLMError:
        pass  # the estimates say why
    return None


def start_title(archs: Sequence[str]) -> str:
    """What the button that starts these architectures says."""
    return "Train" if len(archs) < 2 else "Race"


def build(chosen: Chosen | None = None) -> Form:
    """The form's components; call inside its column."""
    start = preset_values(FIRST_PRESET)
    corpus = gr.Dropdown(
        corpus_choices(chosen), label="Corpus", info="What the models learn to write", elem_id="train-corpus"
    )
    preset = gr.Radio(
        list(PRESETS), value=FIRST_PRESET, label="Preset", info=f"{FIRST_PRESET}: {PRESET_HINTS[FIRST_PRESET]}",
        elem_id="train-preset", elem_classes="segmented",
    )  # fmt: skip
    archs = gr.CheckboxGroup(
        [(ARCH_NAMES[arch], arch) for arch in ARCHS], value=list(RACE_ARCHS), label="Architectures",
        info="One trains alone; several race on the same batches", elem_id="train-archs", elem_classes="swatches",
    )  # fmt: skip
    script = ACTIONS_JS + REFRESH_JS
    estimates = gr.HTML(
        facts([("…", "being estimated")]), elem_id="train-estimates", js_on_load=script, apply_default_css=False
    )
    button = gr.Button(start_title(archs.value), variant="primary", elem_id="train-start")
    folds: dict[str, Any] = {}
    controls: dict[str, Any] = {}

    def fold(key: str, names: Sequence[str]) -> None:
        with gr.Accordion(fold_title(key, start), open=False, elem_id=f"train-fold-{key}") as folds[key]:
            controls.update({name: control(name, start[name]) for name in names})

    for key, names in BASIC.items():
        fold(key, names)
    title = f"Advanced: {sum(map(len, ADVANCED.values()))} more settings"
    with gr.Accordion(title, open=False, elem_id="train-fold-advanced") as advanced:
        for key, names in ADVANCED.items():
            fold(key, names)
    return Form(corpus, preset, archs, estimates, button, folds, advanced, controls)


def fold_title(key: str, values: Mapping[str, Any], archs: Sequence[str] = ()) -> str:
    """A fold's title states its values: `Model: 2 layers of 128, dropout 0.1`.

    Args:
        key: the fold's in FOLDS.
        values: of the settings, by name.
        archs: the architectures that are chosen; empty: the fold names what concerns networks.
    """
    if key == "model":
        layers = formatting.count(int(values["num_layers"] or 0), "layer")
        network = f"{layers} of {values['hidden_size']}, dropout {values['dropout']:g}"
        parts = [network] if not archs or not all(map(is_counted, archs)) else []
        parts += [f"{values['order']}-gram"] if any(map(is_counted, archs)) else []
        level = LEVEL_NAMES.get(values.get("level", "char"), "characters")
        parts += [f"reads {level}"] if level != "characters" else []
        return f"Model: {', '.join(parts)}"
    if key == "training":
        amounts = [f"{values[name]:,g} {name}" for name in BUDGETS if values[name]]
        budget = ", ".join(amount.removesuffix("s") if amount.startswith("1 ") else amount for amount in amounts)
        return f"Training: {budget or 'no end'}, {values['batch_size']} × {values['seq_len']}"
    if key == "race":
        return f"Race: equal {values['match']}, equal {values['budget']}"
    if key == "heart":
        return f"Against overfitting: {_more_than_dropout(values)}"
    if key == "architecture":
        parts = [f"embedding of {values['embed_dim']}" if values["embed_dim"] else "embedding by itself"]
        parts += ["tied weights"] if values["tie_weights"] else []
        return f"Architecture: {', '.join(parts)}"
    if key == "schedule":
        clip = f"gradients clipped at {values['grad_clip']:g}" if values["grad_clip"] else "gradients not clipped"
        return f"Schedule: {values['schedule']}, {clip}"
    if key == "machine":
        return f"Device and records: {values['device']}, {formatting.count(int(values['snapshots'] or 0), 'snapshot')}"
    seeds = f", {values['seeds']} seeds" if (values["seeds"] or 1) > 1 else ""
    seeds += " at most" if values["early_stop"] and can_stop_early(values["seeds"]) else ""
    return f"Name and seed: {values['label'] + ', ' if values['label'] else ''}{values['seed']}{seeds}"


def _more_than_dropout(values: Mapping[str, Any]) -> str:
    """`locked dropout, weight dropout 0.5`, or that there is nothing else."""
    said = ["locked dropout"] if values["locked_dropout"] else []
    for name in FOLDS["heart"]:
        field, value = config_class(name).field(name), values[name]
        if not isinstance(field.default, bool) and value not in (None, field.default):
            said.append(f"{name.replace('_', ' ')} {value:g}")
    return ", ".join(said) or "dropout alone"


def can_stop_early(seeds: Any) -> bool:
    """Whether a race of so many seeds, as the form has them, may stop early; only then it is asked."""
    return isinstance(seeds, int | float) and seeds > FIRST_LOOK


def run_config(preset: str, values: Mapping[str, Any], chosen: Chosen | None) -> RunConfig:
    """The form as checked configs.

    Args:
        preset: its corpus settings count where the Corpus tab set nothing else.
        values: the controls', by name; an emptied number field takes its preset's value, an emptied learning rate the
            one that suits.
        chosen: what the Corpus tab chose.

    Raises:
        ConfigError: a value is out of range.
    """
    fallback = preset_values(preset) | {"learning_rate": 0.0}
    given = {name: fallback[name] if value in EMPTY else value for name, value in values.items()}
    given["early_stop"] = given.get("early_stop", False) and can_stop_early(given["seeds"])  # else it is not in sight
    tokens = chosen_tokens(chosen)
    if level_of(preset, tokens) != "char" and not given["embed_dim"]:  # of so many tokens each needs a vector
        given = {name: value for name, value in given.items() if name not in ("embed_dim", "tie_weights")}
    return from_options({**given, **tokens, **chosen_options(chosen)}, preset)


def typed_rate(typed: str) -> float:
    """The learning rate that a visitor has typed for a training at work.

    Raises:
        ConfigError: it is no number.
    """
    try:
        return float(typed)
    except ValueError:
        raise ConfigError(f"learning_rate must be a number such as 0.001, not {typed[:20]!r}") from None


def command(config: RunConfig, corpus: str, archs: Sequence[str], track: str = "") -> str:
    """What trains the same on a command line.

    Args:
        config: the form's.
        corpus: the name of the text, or of its file.
        archs: that train or race.
        track: the tracker that the page's trainings go to; empty: none.
    """
    usual, decided = from_options({}, config.preset), SIZED if is_autosized(config.preset, config.model) else ()
    pairs = (
        (config.model, usual.model), (config.train, usual.train), (config.corpus, usual.corpus),
        (config.race, usual.race),
    )  # fmt: skip
    options = [word for mine, theirs in pairs for word in settings(mine, theirs, UNASKED, decided)]
    named = ["--archs", ",".join(archs), "--preset", config.preset]
    return command_line("race", [corpus], [*named, *options, *(["--track", track] if track else [])])


def level_of(preset: str, tokens: Mapping[str, Any]) -> str:
    """The level that the Corpus tab set, else the preset's; what a browser holds may be anything."""
    return str({"level": "char", **PRESETS.get(preset, {}), **tokens}["level"])


@dataclass(frozen=True)
class TextSize:
    """What an estimate needs to know of a text: its characters, the tokens of its parts, how many distinct ones; and
    the mean tokens of an item of a list, else 0.
    """

    characters: int
    tokens: Sizes
    distinct: int
    item: int = 0


def text_size(value: str, config: CorpusConfig, model: ModelConfig, limits: Limits | None = None) -> TextSize:
    """The size of the text behind a picker's value.

    Args:
        value: of the picker.
        config: how the text is cleaned and split.
        model: what its tokens are.
        limits: of a public Space.

    Raises:
        CorpusError: it cannot be opened.
        LimitError: its tokens may not be counted here.
    """
    corpus = open_corpus(value, config)
    if limits is not None:
        check_tokens(limits, corpus.text, model)
    tokenizer = tokenizer_for(corpus, model, config)
    tokens = token_sizes(corpus, text_sizes(corpus, config, tokenizer), tokenizer)
    return TextSize(len(corpus.text), tokens, tokenizer.vocab_size, item_length(corpus.text, config.items))


def estimate(
    size_of: SizeOf,
    chosen: Chosen | None,
    corpus: str,
    preset: str,
    archs: Sequence[str],
    values: Mapping[str, Any],
    limits: Limits | None = None,
    left: Mapping[str, Any] | None = None,
) -> tuple[str, str]:
    """What the form's training will take, and the learning rates that it will use.

    Args:
        size_of: measures texts; it is asked at every change of a field.
        chosen: what the Corpus tab chose.
        corpus: the picker's value.
        preset: as in `run_config`.
        archs: the architectures to train.
        values: as in `run_config`.
        limits: of a public Space.
        left: what the visitor may still use of them; see `Jobs.left`.

    Returns:
        HTML: parameters, time, parameters a token, memory; or what does not fit, in a sentence. And `0.0035`, or of
        several networks `0.001 to 0.0035`; empty where there is none, or nothing can be trained.
    """
    if not archs:
        return notice("No architecture chosen.", "Choose one to train it alone, or several to let them race."), ""
    try:
        config = run_config(preset, values, chosen)
        size = size_of(corpus, config.corpus, config.model.tokenization)
        looks_of(config.race, archs)
        cut, trainings = _trainings(config, archs, size, limits)
        return _estimate(config, archs, size, cut, trainings, limits, left or {}), _rates(trainings)
    except CharLMError as error:
        return notice("This cannot be trained yet.", str(error), "error"), ""


def _rates(trainings: "Sequence[Racer]") -> str:
    rates = sorted(one.train.learning_rate for one in trainings if not one.model.is_counted)
    return " to ".join(f"{rate:g}" for rate in dict.fromkeys([*rates[:1], *rates[-1:]]))


def _trainings(
    config: RunConfig, archs: Sequence[str], size: TextSize, limits: Limits | None
) -> "tuple[Cut, list[Racer]]":
    """How the text is cut, and what each architecture is trained with."""
    from charlm.data.dataset import cut_of
    from charlm.training.racers import racers

    rows = replace(config.train, seq_len=min(config.train.seq_len, size.item or config.train.seq_len))
    cut = cut_of(size.tokens, rows, config.corpus, config.model.level)
    if limits is not None and config.race.budget != "seconds":  # as it is started there
        config = replace(config, train=replace(config.train, steps=config.train.steps or limits.steps))
    return cut, [one.fitted(cut) for one in racers(config, archs, size.distinct, cut)]


def _estimate(
    config: RunConfig, archs: Sequence[str], size: TextSize, cut: "Cut", trainings: "Sequence[Racer]",
    limits: Limits | None, left: Mapping[str, Any],
) -> str:  # fmt: skip
    from charlm.data.batches import unit_of
    from charlm.training.estimate import check_memory, count_parameters, memory_bytes, training_seconds
    from charlm.training.machine import speed

    for one in trainings:
        check_memory(*one, trainers=len(trainings))
    models, tokens = [one.model for one in trainings[: len(archs)]], cut.train
    counts = [count_parameters(model) for model in models]
    if limits is not None:
        check_race(limits, config.race)
        for one, parameters in zip(trainings, counts, strict=False):  # of the first seed; the others are alike
            check_new(limits, size.characters, one.train, [(one.model, parameters)])
    longest = 60.0 * limits.run_minutes if limits else math.inf
    measured = speed()
    seconds = sum(min(longest, training_seconds(measured.machine, *one, tokens)) for one in trainings)
    memory = sum(memory_bytes(*one) for one in trainings)
    largest = max(range(len(archs)), key=lambda place: (not is_counted(archs[place]), counts[place]))
    who, most = f", {ARCH_NAMES[archs[largest]]}", counts[largest]
    what = "tokens to count" if is_counted(archs[largest]) else "parameters"
    together = ", all together" if len(archs) > 1 else ""
    about = facts(
        [
            (formatting.whole(most), f"{what}{who}"),
            (formatting.duration(seconds), f"expected{together}"),
            (f"{most / max(tokens, 1):.2f}", f"per {unit_of(config.model.level)[:-1]}{who}"),
            (formatting.size(memory), "memory at most"),
        ]
    )
    if limits is not None and left:
        about += uses_html(seconds, len(trainings), limits, left)
    if config.race.match == "parameters" or config.race.budget == "flops":
        about += render("hint", sentence=matched_sentence(trainings[: len(archs)], counts))
    if is_counted(archs[largest]):
        return about
    pace = measured.chars_per_second(*trainings[largest], size.characters / max(sum(size.tokens), 1))
    how = {"pace": formatting.whole(float(f"{pace:.2g}")), "who": who, "when": formatting.day(measured.when)}
    return about + render("pace", **how, quiet=measured.quiet, again=limits is None)


def matched_sentence(trainings: "Sequence[Racer]", counts: Sequence[int]) -> str:
    """`LSTM 128 units, 1,200 steps; RNN 256 units (+1.2 % parameters), 1,200 steps.`

    Args:
        trainings: of one seed.
        counts: the parameters of each.
    """
    said, first = [], next((at for at, one in enumerate(trainings) if not one.model.is_counted), 0)
    for (model, train), count in zip(trainings, counts, strict=True):
        if model.is_counted:
            continue
        off = 100.0 * (count / counts[first] - 1.0)
        width = f"{ARCH_NAMES[model.arch]} {model.hidden_size:,} units"
        width += f" ({off:+.1f} % parameters)" if count != counts[first] else ""
        said.append(f"{width}, {train.steps:,} steps" if train.steps else width)
    return f"{'; '.join(said)}." if said else ""


def uses_html(seconds: float, runs: int, limits: Limits, left: Mapping[str, Any]) -> str:
    """What a training uses of what a visitor of a public Space has left, or that it is more than that.

    Args:
        seconds: that it is expected to take, all runs together.
        runs: that it makes.
        limits: of the Space.
        left: see `Jobs.left`.
    """
    minutes, most = float(left["minutes"]), left["runs"]
    needed = f"{max(seconds / 60, 0.1):.1f}".removesuffix(".0")
    uses = (
        f"Uses about {needed} of the {minutes:g} minutes of training that you have left today, and "
        f"{runs} of the {formatting.count(most, 'run')} that you may still keep."
    )
    if runs > most:
        beyond = "That is more runs than you may keep: delete some, or choose fewer architectures."
    elif seconds > 60 * minutes:
        beyond = f"It ends when they are used up{', each model with an equal share' if runs > 1 else ''}."
    else:
        beyond = f"Of each run at most {limits.run_minutes:g} minutes." if seconds >= 60 * limits.run_minutes else ""
    return render("hint", sentence=f"{uses} {beyond}".strip())
