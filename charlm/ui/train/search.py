"""Find good settings, in Train: a fold with minutes and buttons, the trials as they come, and what mattered."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from charlm.analysis.figures import AXIS, arch_colour, axis_title, frame, rgba
from charlm.architectures import ARCH_NAMES
from charlm.config import SearchConfig
from charlm.errors import CharLMError, ConfigError, LimitError
from charlm.public.services import Services
from charlm.ui.corpus.texts import open_corpus
from charlm.ui.formatting import MISSING, count, nats
from charlm.ui.html import ACTIONS_JS, QUICK, QUIET, Cell, Shared, plot_data, render, table, toast
from charlm.ui.train.form import Form, run_config

if TYPE_CHECKING:
    from charlm.experiments.searches import Outlook, Searches

TITLE = "Find good settings"
ABOUT = (
    "Each architecture that is chosen in the form gets the same minutes, spent on short trainings. The first has the "
    "form's settings; learning rate, width, dropout, batch and schedule of the others are proposed from what came of "
    "those before. It goes on when the page is closed, and rests while a training is at work."
)
REFUSED = "On a shared Space nobody may search: it takes minutes of the machine. Run the app, or charlm search, at home"
NONE_YET = "No search yet."
SECONDS = 2.0  # between two looks at a search at work
SHOWN = 6  # trials of each architecture, the best
HEAD = ("Trial", "Val. loss", "Learning rate", "Width", "Dropout", "Batch", "Schedule", "State")
PHONE_COLUMNS = (0, 1, 2, 3)
STATES = {"pruned": "ended early", "failed": "cut off"}
LABELS = {"hidden_size": "width", "batch_size": "batch", "learning_rate": "learning rate"}
FOLDS = ("model", "training", "schedule")  # of the form, which the settings stand in
LATEST: dict[str, Any] = {**QUICK, "trigger_mode": "always_last"}


@dataclass(frozen=True)
class SearchFold:
    """The components of the fold; `drawn` is hidden and says what the plot shows."""

    fold: gr.Accordion
    minutes: gr.Number
    start: gr.Button
    stop: gr.Button
    body: gr.HTML
    plot: gr.Plot
    drawn: gr.Textbox
    timer: gr.Timer

    @property
    def shown(self) -> list[Any]:
        """What a look at the search changes."""
        return [self.start, self.stop, self.body, self.plot, self.drawn, self.timer]


def build(is_open: bool = True) -> SearchFold:
    """The fold; call inside the tab.

    Args:
        is_open: whether anybody may search here; else the fold says only why not.
    """
    with gr.Accordion(TITLE, open=False, elem_id="train-search-fold", elem_classes="fold section-fold") as fold:
        gr.HTML(render("hint", sentence=ABOUT), apply_default_css=False)
        usual = SearchConfig().minutes
        with gr.Row(visible=is_open, elem_classes="keep-line", elem_id="train-search-line"):
            minutes = gr.Number(
                usual, label="Minutes for each architecture", elem_id="train-search-minutes",
                min_width=220, scale=0,
            )  # fmt: skip
            plain: dict[str, Any] = {"size": "sm", "elem_classes": "quiet", "scale": 0}
            start = gr.Button("Search", elem_id="train-search-start", **plain)
            stop = gr.Button("Stop", elem_id="train-search-stop", visible=False, **plain)
        body = gr.HTML("", elem_id="train-search", js_on_load=ACTIONS_JS, apply_default_css=False)
        bare: dict[str, Any] = {"show_label": False, "container": False, "visible": False}
        plot = gr.Plot(label="Which settings decided", elem_id="train-search-plot", **bare)
        drawn = gr.Textbox(visible="hidden", elem_id="train-search-drawn")
        timer = gr.Timer(SECONDS, active=False)
    return SearchFold(fold, minutes, start, stop, body, plot, drawn, timer)


def wire(parts: SearchFold, form: Form, shared: Shared, services: Services) -> None:
    """What the buttons do; while a search is at work, the fold follows it.

    Args:
        parts: see `build`.
        form: gives the settings to begin from, and takes those that were found.
        shared: the corpus of the Corpus tab.
        services: with the searches.
    """

    def searches() -> "Searches":
        if services.searches is None:
            raise LimitError(REFUSED)
        return services.searches

    def look(drawn: str) -> dict[Any, Any]:
        if services.searches is None:
            return {parts.body: render("hint", sentence=f"{REFUSED}.")}
        try:
            return shown(parts, services.searches.look(), drawn)
        except CharLMError as error:
            return shown(parts, None, drawn, str(error))

    def begin(given: Mapping[Any, Any]) -> None:
        try:
            service = searches()
            config = run_config(given[form.preset], form.values(given), given[shared.corpus])
            minutes = given[parts.minutes] if given[parts.minutes] is not None else 0.0
            service.begin(open_corpus(given[form.corpus], config.corpus), config, given[form.archs], minutes)
        except CharLMError as error:
            raise gr.Error(toast(error), title="No search was begun", print_exception=False) from None

    def obey(event: gr.EventData) -> Any:
        act, arch = event._data.get("act"), str(event._data.get("arch", ""))
        try:
            if act == "use":
                return filled(form, arch, found_settings(searches().look(), str(event._data.get("search", "")), arch))
            searches().go_on()
        except CharLMError as error:
            raise gr.Error(toast(error), title="That did not work", print_exception=False) from None
        return gr.skip()

    def stop() -> None:
        if services.searches is not None:
            services.searches.stop()

    gr.on([parts.fold.expand, parts.timer.tick], look, parts.drawn, parts.shown, **LATEST)
    begun = parts.start.click(begin, form.inputs | {shared.corpus, parts.minutes}, None, concurrency_limit=4, **QUIET)
    begun.success(look, parts.drawn, parts.shown, **QUICK)
    parts.stop.click(stop, None, None, **QUICK).then(look, parts.drawn, parts.shown, **QUICK)
    outputs = [form.archs, *form.controls.values(), *form.folds.values(), form.advanced]
    parts.body.act(obey, None, outputs, **QUIET).success(look, parts.drawn, parts.shown, **QUICK)


def found_settings(found: "Outlook | None", search_id: str, arch: str) -> Mapping[str, Any]:
    """The best settings of an architecture in the search that a page shows.

    Raises:
        ConfigError: another search has begun, or nothing was found for it.
    """
    if found is not None and found.result["search"] == search_id:
        for one in found.result["archs"]:
            if one["arch"] == arch and one["best"]:
                return dict(one["best"])
    raise ConfigError("these settings are no longer the newest search's; open the fold again")


def filled(form: Form, arch: str, settings: Mapping[str, Any]) -> dict[Any, Any]:
    """What puts the settings of an architecture into the form, with the folds that they stand in open."""
    gr.Info(f"The form now has the settings found for {ARCH_NAMES[arch]}. Look it over, then press Train.")
    opened = {form.folds[key]: gr.update(open=True) for key in FOLDS}
    values = {form.controls[name]: value for name, value in settings.items()}
    return {form.archs: [arch], **values, **opened, form.advanced: gr.update(open=True)}


def shown(parts: SearchFold, found: "Outlook | None", drawn: str, error: str = "") -> dict[Any, Any]:
    """What the fold shows of a search.

    Args:
        parts: its components.
        found: how far it is; None: there is none.
        drawn: what the plot shows, from last time; it is drawn again only if that changes.
        error: why nothing can be shown.
    """
    running = found is not None and found.running
    updates: dict[Any, Any] = {
        parts.start: gr.update(visible=not running), parts.stop: gr.update(visible=running),
        parts.body: search_html(found, error), parts.timer: gr.Timer(active=running),
    }  # fmt: skip
    figure = picture(found.result["archs"]) if found else None
    now = json.dumps(figure["data"]) if figure else ""
    if now != drawn:
        updates |= {parts.plot: gr.update(value=plot_data(figure) if figure else None, visible=bool(figure))}
        updates |= {parts.drawn: now}
    return updates


def search_html(found: "Outlook | None", error: str = "") -> str:
    """The trials of each architecture, the best first; what was found in sentences, and what is still to be done.

    Args:
        found: see `shown`.
        error: see `shown`.
    """
    if found is None:
        return render(
            "search", error=error, state="" if error else NONE_YET, resumes=False, archs=[], sentences=[], confirm="",
            search="",
        )  # fmt: skip
    result = found.result
    return render(
        "search", error=found.error, state=state_of(found), resumes=not (found.running or result["done"]),
        archs=[_arch(one, result["minutes"]) for one in result["archs"]], search=result["search"],
        sentences=result["sentences"] if any(one["best"] for one in result["archs"]) else [],
        confirm=result["confirm"] if result["done"] else "",
    )  # fmt: skip


def state_of(found: "Outlook") -> str:
    """What the search is at, in a sentence."""
    result = found.result
    left = sum(max(0.0, 60.0 * result["minutes"] - one["seconds"]) for one in result["archs"])
    if found.resting:
        return f"On {result['text']}: it rests while a training is at work."
    if found.running:
        return f"On {result['text']}: at work, about {left:,.0f} s left; {result['trial_seconds']:g} s a trial."
    return f"On {result['text']}: {'finished' if result['done'] else f'stopped with {left:,.0f} s left'}."


def _arch(one: Mapping[str, Any], minutes: float) -> dict[str, Any]:
    """An architecture as the template wants it."""
    ranked = sorted(one["trials"], key=lambda trial: (trial["state"] != "finished", trial["loss"] or 1e9))
    running = [trial for trial in one["trials"] if trial["state"] == "running"]
    rows = [_row(trial, one["best_trial"]) for trial in [*running, *(t for t in ranked if t not in running)][:SHOWN]]
    mattered = ", ".join(f"{LABELS.get(name, name)} {share:.0%}" for name, share in one["importances"].items())
    return {
        "arch": one["arch"], "name": ARCH_NAMES[one["arch"]], "best": one["best"], "mattered": mattered,
        "about": f"{count(len(one['trials']), 'trial')} in {one['seconds']:,.0f} of {60 * minutes:,.0f} s",
        "table_html": table(HEAD, rows, keep=PHONE_COLUMNS) if rows else "",
    }  # fmt: skip


def _row(trial: Mapping[str, Any], best: int | None) -> Sequence[Cell | str]:
    """A trial as a line of the table."""
    settings = trial["settings"]
    fractions = [f"{settings[name]:g}" for name in ("learning_rate", "dropout")]
    loss = MISSING if trial["loss"] is None else nats(trial["loss"])
    return [
        "base" if trial["is_base"] else str(trial["number"]), Cell(loss, strong=trial["number"] == best), fractions[0],
        str(settings["hidden_size"]), fractions[1], str(settings["batch_size"]), settings["schedule"],
        STATES.get(trial["state"], trial["state"]),
    ]  # fmt: skip


def picture(archs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How much each setting decides, as bars; None: too few trials have been trained to their end.

    Args:
        archs: of a search's result.
    """
    told = [one for one in archs if one["importances"]]
    if not told:
        return None
    names = list(told[0]["importances"])[::-1]  # plotly begins at the bottom
    data = [
        {
            "type": "bar", "orientation": "h", "name": ARCH_NAMES[one["arch"]],
            "x": [round(100 * one["importances"][name], 1) for name in names],
            "y": [LABELS.get(name, name) for name in names],
            "marker": {"color": rgba(arch_colour(one["arch"]), 0.85)},
            "hovertemplate": f"{ARCH_NAMES[one['arch']]}, %{{y}}<br><b>%{{x:.0f}} %</b><extra></extra>",
        }
        for one in told[::-1]
    ]  # fmt: skip
    layout = frame(
        70 + 20 * len(names) * len(told), barmode="group", bargap=0.35, showlegend=False,
        margin={"l": 100, "r": 16, "t": 16, "b": 44},
        xaxis={**AXIS, "range": [0, 100], "title": axis_title("share of what the settings decide, %")},
        yaxis={**AXIS, "showgrid": False},
    )  # fmt: skip
    return {"data": data, "layout": layout}
