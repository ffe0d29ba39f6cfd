"""Where Compare's texts are asked for: prompt, models, settings, Generate, Go on, Stop, and the next-token panel."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gradio as gr

from charlm.config import SampleConfig, escape, escape_lines, unescape_lines
from charlm.errors import CharLMError, ConfigError
from charlm.files import parsed
from charlm.presets import SAMPLE_PRESETS
from charlm.pretrained.model import KIND
from charlm.public.services import Services
from charlm.serving import GeneratedText
from charlm.serving.stops import Stops, until
from charlm.tokenizers.characters import called, visible_line
from charlm.ui import primer
from charlm.ui.api import whole_of
from charlm.ui.compare.ranking import MOST, Models, found_runs, run_choices
from charlm.ui.compare.saving import KINDS, Comparison, Writer, compare_command, comparison_now
from charlm.ui.compare.view import (
    check_room,
    gone_on,
    resting_columns,
    resting_prompt,
    still,
    stream_columns,
    texts_in,
    written_columns,
)
from charlm.ui.formatting import count
from charlm.ui.html import QUICK, QUIET, asset, toast
from charlm.ui.services import click_js
from charlm.ui.verdict import names

# How far the controls reach; the command line and the endpoints take the config's whole range. Low, high, step.
SLIDERS: dict[str, tuple[float, float, float]] = {
    "length": (20, 4000, 20),
    "temperature": (0.1, 2.0, 0.05),
    "top_k": (0, 100, 1),
    "top_p": (0.05, 1.0, 0.01),
    "min_p": (0.0, 1.0, 0.01),
    "repetition_penalty": (1.0, 2.0, 0.05),
    "beams": (1, 8, 1),
    "samples": (1, 8, 1),
}
SWITCHES = ("greedy", "duel", "allow_unk")
NAMES = (*(name for name in SampleConfig.names() if name not in SWITCHES), *SWITCHES)  # so that rows are of one height
LABELS = {"top_k": "Top-k", "top_p": "Top-p", "min_p": "Min-p", "stop": "Stop before", "allow_unk": "Unknown words"}
SHOWN_STOP = 16  # characters of a stop string in the title
# A prompt that the page filled in follows the texts in the columns; one that was typed stays, also one that was typed
# while the server thought.
PROMPT_JS = """(answered, filled, prompt) => {
  const suits = JSON.parse(answered);
  return suits === null || prompt !== filled ? [filled, prompt] : [suits, suits];
}"""
WRITING = 64  # pages in which texts are written at the same time; a page takes a thread only when it is handed new text
NEXT_TOKENS = 12  # shown at each place
MOST_SETTINGS = 1 << 14  # characters of the settings a page sends
FINE = 10_000  # probabilities go to the page in so many parts
Given = Mapping[Any, Any]  # components' values
Changes = dict[Any, Any]  # the same, as a handler returns them
Drafts = Callable[[list[Any], SampleConfig], Iterator[Mapping[str, GeneratedText]]]


@dataclass(frozen=True)
class Controls:
    """Compare's controls, and the columns in which the texts appear.

    Attributes:
        filled: hidden; the prompt that the page filled in, not its visitor.
        answered: hidden; as JSON, the prompt that the texts in the columns were written for before anyone asked.
        settings: a control for every field of SampleConfig, by name.
        fold: around the settings; its title states them.
        present: hidden; what stands in the columns, when Go on or a file asks for it.
        written: hidden; how it was written, the settings as JSON; empty: in training.
        how: hidden; the settings as JSON, for the next-token panel.
        next: the panel.
        save: a button for each kind of file of `saving.KINDS`, and the hidden one that downloads it.
        command: hidden; what writes the same on a command line, to be copied.
        link: copies an address that opens the same comparison.
    """

    prompt: gr.Textbox
    filled: gr.Textbox
    answered: gr.Textbox
    models: gr.Dropdown
    generate: gr.Button
    stop: gr.Button
    more: gr.Button
    fold: gr.Accordion
    preset: gr.Radio
    settings: Mapping[str, Any]
    columns: gr.HTML
    present: gr.Textbox
    written: gr.Textbox
    how: gr.Textbox
    next: gr.HTML
    save: Mapping[str, tuple[gr.Button, gr.DownloadButton]]
    command: tuple[gr.Button, gr.Textbox]
    link: gr.Button

    @property
    def described(self) -> list[Any]:
        """What an address says of Compare, in the order in which address.js wants it."""
        return [self.models, self.prompt, *self.settings.values()]

    def config(self, given: Given) -> SampleConfig:
        """The settings among the components' values."""
        return sample_config({name: given[control] for name, control in self.settings.items()})

    def show(self, config: SampleConfig) -> Changes:
        """What puts a config into the settings."""
        return {self.settings[name]: value for name, value in control_values(config).items()}


def settings_title(config: SampleConfig, unit: str = "character") -> str:
    """`500 characters · temperature 0.8 · top-k 5 · seed 7`: length, how it is chosen, and what is not as usual."""
    stops = [f'stops before "{_cut(stop)}"' for stop in config.stop[:1]]
    more = len(config.stop) - 1
    parts = [count(config.length, unit), *_choice(config)]
    parts += [f"repetition penalty {config.repetition_penalty:g}"] if config.repetition_penalty > 1 else []
    parts += [f"{stops[0]} and {more} more" if more > 0 else stops[0]] if stops else []
    parts += [f"{config.samples} samples"] if config.samples > 1 else []
    parts += ["unknown words allowed"] if config.allow_unk else []
    parts += ["duel"] if config.duel else []
    return " · ".join(parts if config.greedy or config.beams > 1 else [*parts, f"seed {config.seed}"])


def _choice(config: SampleConfig) -> list[str]:
    """How the tokens are chosen."""
    if config.beams > 1:
        return [f"beam search, {config.beams} beams"]
    if config.greedy:
        return ["greedy: always the most likely"]
    cuts = {"top-k": config.top_k, "top-p": config.top_p if config.top_p < 1 else 0, "min-p": config.min_p}
    return [f"temperature {config.temperature:g}", *(f"{name} {value:g}" for name, value in cuts.items() if value)]


def _cut(stop: str) -> str:
    shown = escape(stop)
    return shown if len(shown) <= SHOWN_STOP else f"{shown[: SHOWN_STOP - 1]}…"


def sample_config(values: Mapping[str, Any]) -> SampleConfig:
    """The controls' values, by name, as a checked config.

    Raises:
        ConfigError: a value is out of range, or a field was emptied.
    """
    return SampleConfig(**{**values, "stop": unescape_lines(str(values["stop"] or ""))})


def control_values(config: SampleConfig) -> dict[str, Any]:
    """What each control shows for these settings, in the order in which they stand."""
    values = {**config.to_dict(), "stop": escape_lines(config.stop)}
    return {name: values[name] for name in NAMES}


def sample_preset(name: str) -> tuple[str, SampleConfig]:
    """A preset's prompt and its settings."""
    chosen = dict(SAMPLE_PRESETS[name])
    return chosen.pop("prompt", ""), SampleConfig(**chosen)


def build(services: Services, chosen: Sequence[Any]) -> Controls:
    """The controls, the columns under them and the next-token panel; call inside the tab.

    Args:
        services: for the panel.
        chosen: those to compare at first; the others come when a page opens.
    """
    text, config = resting_prompt(chosen) or "", SampleConfig()
    filled = gr.Textbox(text, visible="hidden", elem_id="compare-filled")
    answered = gr.Textbox("null", visible="hidden", elem_id="compare-answered")
    present = gr.Textbox(visible="hidden", elem_id="compare-present")
    written = gr.Textbox(visible="hidden", elem_id="compare-written")
    how = gr.Textbox(json.dumps(SampleConfig().to_dict()), visible="hidden", elem_id="compare-how")
    with gr.Row(elem_id="compare-bar", elem_classes="bar-line"):
        prompt = gr.Textbox(
            text, label="Prompt", lines=1, max_lines=4, max_length=2000, elem_id="compare-prompt", scale=5,
            placeholder="Empty works too", html_attributes=gr.InputHTMLAttributes(spellcheck=False),
        )  # fmt: skip
        models = gr.Dropdown(
            run_choices(chosen), value=[run.run_id for run in chosen], multiselect=True, max_choices=MOST,
            label="Models", elem_id="compare-models", scale=6,
        )  # fmt: skip
        generate = gr.Button("Generate", variant="primary", elem_id="compare-generate", scale=0, min_width=120)
        stop = gr.Button("Stop", elem_id="compare-stop", visible=False, scale=0, min_width=120)
        more = gr.Button("Go on", elem_id="compare-more", interactive=False, scale=0, min_width=90)
    title = settings_title(config)
    with gr.Accordion(title, open=False, elem_id="compare-sampling", elem_classes="fold") as fold:
        preset = gr.Radio(
            list(SAMPLE_PRESETS), value=None, label="Preset", info="Fills prompt and settings",
            elem_id="compare-preset", elem_classes="segmented",
        )  # fmt: skip
        with gr.Row(elem_classes="settings"):
            settings = {name: _control(name, value) for name, value in control_values(config).items()}
    with gr.Accordion(primer.TITLE, open=False, elem_id="compare-primer", elem_classes="fold"):
        gr.HTML(primer.primer(), apply_default_css=False)
    columns = gr.HTML(
        resting_columns(chosen, {}), elem_id="compare-columns", js_on_load=asset("compare.js"), apply_default_css=False
    )
    link, save, command = _keep_buttons()
    panel = _next_panel(services)
    return Controls(
        prompt=prompt, filled=filled, answered=answered, models=models, generate=generate, stop=stop, more=more,
        fold=fold, preset=preset, settings=settings, columns=columns, present=present, written=written, how=how,
        next=panel, save=save, command=command, link=link,
    )  # fmt: skip


def _keep_buttons() -> tuple[gr.Button, dict[str, tuple[gr.Button, gr.DownloadButton]], tuple[gr.Button, gr.Textbox]]:
    """What takes the comparison away: its address, files, and the command line."""
    with gr.Row(elem_id="compare-keep", elem_classes="keep-line"):
        plain: dict[str, Any] = {"size": "sm", "elem_classes": "quiet", "scale": 0}
        link = gr.Button("Copy link", elem_id="compare-copy-link", **plain)
        save = {
            kind: (
                gr.Button(f"Save as {kind}", elem_id=f"compare-save-{ending}", **plain),
                gr.DownloadButton(kind, visible="hidden", elem_id=f"compare-save-{ending}-file"),
            )
            for kind, (ending, _) in KINDS.items()
        }
        copy = gr.Button("Copy command", elem_id="compare-copy-command", **plain)
        line = gr.Textbox(visible="hidden", elem_id="compare-command")
    return link, save, (copy, line)


def _control(name: str, value: Any) -> Any:
    """The control of one setting, with the setting's hint."""
    shared: dict[str, Any] = {
        "label": LABELS.get(name, name.replace("_", " ").capitalize()),
        "info": SampleConfig.field(name).metadata["hint"],
        "elem_id": f"compare-{name.replace('_', '-')}",
    }
    if name in SLIDERS:
        low, high, step = SLIDERS[name]
        return gr.Slider(low, high, value, step=step, **shared)
    if name in SWITCHES:
        return gr.Checkbox(value, **shared)
    if name == "stop":
        more = {"info": f"{shared['info']}. One a line; \\n is a line end", "elem_id": "compare-stop-before"}
        return gr.Textbox(value, lines=2, max_lines=4, **{**shared, **more})
    return gr.Number(value, precision=0, **shared)


def wire(form: Controls, services: Services) -> None:
    """What the buttons do, and the panel."""
    serving, stops = services.serving, Stops()

    def write(given: Given, request: gr.Request, drafts: Drafts) -> Iterator[Changes]:
        with stops.begun(request.session_hash or "") as stopped:
            yield from _write(form, services, given, lambda runs, config: until(stopped, drafts(runs, config)))

    def generate(given: Given, request: gr.Request) -> Iterator[Changes]:
        prompt = given[form.prompt] or ""
        yield from write(given, request, lambda runs, config: serving.compare(runs, prompt, config))

    def go_on(given: Given, request: gr.Request) -> Iterator[Changes]:
        def drafts(runs: list[Any], config: SampleConfig) -> Iterator[Mapping[str, GeneratedText]]:
            present = texts_in(given[form.present], runs)
            check_room(present, config)
            return gone_on(present, present, serving.compare(runs, given[form.prompt] or "", config, present))

        yield from write(given, request, drafts)

    def take(event: gr.EventData, given: Given, request: gr.Request) -> Iterator[Changes]:
        yield from write(given, request, lambda runs, config: _changed(serving, event._data, runs, config))

    def stop(request: gr.Request) -> None:
        stops.stop(request.session_hash or "")

    inputs, outputs = (
        {form.models, *form.settings.values()},
        [form.columns, form.generate, form.stop, form.more, form.written],
    )
    long: dict[str, Any] = {**QUIET, "concurrency_limit": WRITING}
    asked = form.more.click(None, None, form.present, js="() => JSON.stringify(window.charlmTexts())")
    gr.on([form.generate.click, form.prompt.submit], generate, inputs | {form.prompt}, outputs, **long)
    asked.then(go_on, inputs | {form.present, form.prompt}, outputs, **long)
    form.next.take(take, inputs, outputs, **long)
    form.stop.click(stop, None, None, **QUICK)
    _wire_settings(form, services)
    _wire_address(form)
    _wire_keeping(form, services)


def _wire_keeping(form: Controls, services: Services) -> None:
    """Files of what stands in the columns, and the command line that writes it."""
    inputs = [form.models, form.present, form.written]
    shown = "() => JSON.stringify(window.charlmTexts())"

    def kept(ids: list[str], present: str, written: str) -> Comparison:
        models = found_runs(Models(services), ids)
        if not models:
            raise ConfigError("there is nothing to save; choose a model")
        config = settings_in(written) if written else None
        runs = found_runs(services.store, ids)
        cross = services.serving.known_cross(runs, {}, names(runs))
        return comparison_now(models, texts_in(present, models), config, cross)

    def save_as(ending: str, write: Writer, ids: list[str], present: str, written: str) -> str:
        try:
            comparison = kept(ids, present, written)
            return services.files.text(f"{comparison.name}.{ending}", write(comparison))
        except CharLMError as error:
            raise gr.Error(toast(error), print_exception=False) from error

    for kind, (button, file) in form.save.items():
        ending, write = KINDS[kind]
        asked = button.click(None, None, form.present, js=shown).then(
            partial(save_as, ending, write), inputs, file, **QUIET
        )
        asked.success(None, js=click_js(file.elem_id or ""))

    def stands_for(given: Given) -> Changes:
        try:
            config, runs = form.config(given), found_runs(Models(services), given[form.models])
        except CharLMError as error:
            raise gr.Error(toast(error), print_exception=False) from error
        return {line: compare_command(runs, given[form.prompt] or "", config)}

    copy, line = form.command
    asked = copy.click(stands_for, {form.models, form.prompt, *form.settings.values()}, [line], **QUIET)
    asked.success(
        None, line, js="(line) => { window.charlmCopy(line, document.getElementById('compare-copy-command')); }"
    )


def _wire_settings(form: Controls, services: Services) -> None:
    """The fold's title, and the presets."""
    controls = list(form.settings.values())

    def fill(name: str) -> Changes:
        prompt, config = sample_preset(name)
        return {form.prompt: prompt, form.filled: prompt, **form.show(config)}

    entitle(partial(gr.on, [control.change for control in (form.models, *controls)]), form, services)
    form.preset.input(fill, form.preset, [form.prompt, form.filled, *controls], **QUICK)


def entitle(event: Callable[..., Any], form: Controls, services: Services) -> None:
    """Let an event renew the fold's title, and what the next-token panel knows of the settings.

    The controls' own `change` does that where one is moved. What sets several at once calls it when all of them stand.
    """
    controls = list(form.settings.values())

    def retitle(given: Given) -> Changes:
        try:
            config = form.config(given)
        except CharLMError as error:
            return {form.fold: gr.update(label=str(error))}
        levels = {run.model_config.level for run in found_runs(services.store, given[form.models])}
        title = settings_title(config, "token" if levels - {"char"} else "character")
        return {form.fold: gr.update(label=title), form.how: json.dumps(config.to_dict())}

    event(retitle, {form.models, *controls}, [form.fold, form.how], trigger_mode="always_last", **QUICK)


def redraw(event: Any, form: Controls, services: Services) -> None:
    """Once an event has changed what is known of the models, the columns say so; their texts stay."""

    def drawn(ids: list[str], present: str) -> str:
        runs = found_runs(Models(services), ids)
        lexicons = {run.run_id: services.serving.lexicon(run) for run in runs}
        return written_columns(runs, still(texts_in(present, runs)), lexicons, writing=False)

    asked = event.then(None, None, form.present, js="() => JSON.stringify(window.charlmTexts())")
    asked.then(drawn, [form.models, form.present], form.columns, **QUICK)


def _wire_address(form: Controls) -> None:
    """The address follows what is chosen, and Copy link copies one."""
    changes = [one.change for one in form.settings.values()]  # they do not change by themselves
    causes = [*changes, form.preset.input, form.prompt.submit, form.generate.click]
    gr.on(causes, None, form.described, None, js=address_js("compare"), **QUICK)
    # Not `input`, which does not come when something is pasted.
    typed = [*form.described, form.filled]
    form.prompt.change(None, typed, None, js=address_js("prompt"), **QUICK)
    form.link.click(None, form.described, None, js=address_js("copy"), **QUICK)


def follow(event: Any, form: Controls) -> None:
    """Once an event has put something else into the form, the address says so."""
    event.then(None, form.described, None, js=address_js("compare"), **QUICK)


def address_js(call: str) -> str:
    """Hands all that an address says of Compare to a function of address.js."""
    usual = json.dumps(control_values(SampleConfig()))
    return f"(...values) => {{ window.charlmAddress.{call}({usual}, values); }}"


def _write(form: Controls, services: Services, given: Given, drafts: Drafts) -> Iterator[Changes]:
    """The columns while something is written in them, and the buttons that go with it."""
    try:
        runs, config = found_runs(Models(services), given[form.models]), form.config(given)
        if not runs:
            raise gr.Error("Choose at least one model.", print_exception=False)
        yield {**_buttons(form, busy=True), form.written: json.dumps(config.to_dict())}
        for html in stream_columns(services.serving, runs, drafts(runs, config), duel=config.duel):
            yield {form.columns: html}
    except CharLMError as error:
        gr.Warning(toast(error), title="Nothing was written")
    yield _buttons(form, busy=False)


def _buttons(form: Controls, busy: bool) -> Changes:
    """Generate and Go on, or Stop; Go on keeps its place."""
    switched = {form.generate: gr.update(visible=not busy), form.stop: gr.update(visible=busy)}
    return {**switched, form.more: gr.update(interactive=not busy)}


def _changed(
    serving: Any, order: Mapping[str, Any], runs: Sequence[Any], config: SampleConfig
) -> Iterator[Mapping[str, GeneratedText]]:
    """One text with another token at a place, continued to the length it had; the others as they are.

    Args:
        serving: the models.
        order: as the panel sends it.
        runs: those compared.
        config: how it continues.

    Raises:
        ConfigError: there is no such text, place or token.
    """
    present, at = texts_in(order.get("texts"), runs), whole_of(order.get("sample"), "sample")
    run = next((run for run in runs if run.run_id == order.get("run")), None)
    texts = list(present.get(run.run_id, ())) if run else []
    if run is None or not 0 <= at < len(texts):
        raise ConfigError("that text is no longer there; press Generate")
    place, token = whole_of(order.get("place"), "place"), whole_of(order.get("token"), "token")
    texts[at], left = serving.with_token(run, texts[at], place, token)
    present = {**present, run.run_id: texts}
    if left == 0:
        return iter([still(present)])
    started, how = {run.run_id: [texts[at]]}, replace(config, length=left, samples=1)
    return gone_on(present, started, serving.compare([run], "", how, started))


def next_places(services: Services, asked: Any) -> dict[str, Any]:
    """The next-token probabilities at all places of the text that a page asks for, so that stepping needs no server.

    Args:
        services: the models.
        asked: {run, text: [prompt, text], how: settings as JSON}.

    Raises:
        CharLMError: nothing such can be looked at.
    """
    asked = asked if isinstance(asked, dict) else {}
    run_id = str(asked.get("run", ""))[:200]
    if run_id.startswith(f"{KIND}-"):
        raise ConfigError("next-token probabilities are shown of runs, not of a pretrained model")
    run = services.store.get(run_id)
    texts = texts_in({run.run_id: [asked.get("text")]}, [run]).get(run.run_id)
    if not texts:
        raise ConfigError("there is no text to look at; press Generate")
    config = settings_in(asked.get("how"))
    outlook = services.serving.next_tokens(run, texts[0].prompt, texts[0].text, config, NEXT_TOKENS)
    return {"unit": "character" if run.model_config.level == "char" else "token", **packed(outlook)}


def settings_in(message: Any) -> SampleConfig:
    """The settings in a page's message; the usual ones if it holds none.

    Raises:
        ConfigError: one is out of range.
    """
    try:
        given = parsed(message or "{}", MOST_SETTINGS) if isinstance(message, str) else {}
    except ValueError:
        given = {}
    return SampleConfig.from_dict(given if isinstance(given, dict) else {})


def packed(outlook: Any) -> dict[str, Any]:
    """An Outlook as JSON.

    Returns:
        `start` and `pieces` as they are. `places`: of each [ids, chances, raw chances, entropy], and where a token
        stands [id, chance, raw, rank, bits] after it; chances in parts of FINE. `names`: of every id that occurs, how
        it is shown and what to call it.
    """
    names: dict[str, list[str]] = {}
    places = []
    for place in outlook.places:
        expected, stands = place.likeliest, [place.stands] if place.stands else []
        for one in [*expected, *stands]:
            names[str(one.token)] = [
                visible_line(one.shown, "␣"),
                called(one.shown) if len(one.shown) == 1 else one.shown,
            ]
        raw = [_fine(one.raw) for one in expected]
        row: list[Any] = [[one.token for one in expected], [_fine(one.chance) for one in expected], raw]
        row.append(round(place.entropy, 2))
        row += [[one.token, _fine(one.chance), _fine(one.raw), place.rank, round(place.bits, 2)] for one in stands]
        places.append(row)
    return {"start": outlook.start, "pieces": outlook.pieces, "places": places, "names": names}


def _fine(chance: float) -> int:
    """Parts of FINE; none only for no chance at all."""
    return max(1, round(FINE * chance)) if chance else 0


def _next_panel(services: Services) -> gr.HTML:
    """The panel, folded; its `take` event says which token is to stand where: {run, sample, place, token, texts}."""

    def look(asked: Any = None) -> dict[str, Any]:
        try:
            return next_places(services, asked)
        except CharLMError as error:
            return {"error": str(error)}

    title, script = "Next-token probabilities", asset("next.js")
    with gr.Accordion(title, open=False, elem_id="compare-next-fold", elem_classes="fold section-fold"):
        return gr.HTML("", elem_id="compare-next", js_on_load=script, server_functions=[look], apply_default_css=False)
