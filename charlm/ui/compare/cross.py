"""Cross-perplexity in Compare: a fold with a button, and the matrix of what each text costs each model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from charlm.errors import CharLMError, ConfigError
from charlm.public.services import Services
from charlm.serving.stops import Stops
from charlm.ui.compare.ranking import found_runs
from charlm.ui.html import QUICK, QUIET, render, toast
from charlm.ui.services import click_js
from charlm.ui.verdict import names

TITLE = "Cross-perplexity"
ABOUT = (
    "What each model's text costs the others, and what held-out text costs each, in bits per character: 20 texts of "
    "300 characters, drawn at temperature 1 without filters. Bold: the lowest of its row. Framed: a model reads its "
    "own text. Empty: the text has characters or words that the reader does not know."
)


@dataclass(frozen=True)
class CrossFold:
    """The components of the fold; `csv` is in sight beside a matrix only, and `csv_file` never.

    Attributes:
        left_out: says which of the chosen models take no part.
    """

    fold: gr.Accordion
    left_out: gr.HTML
    measure: gr.Button
    stop: gr.Button
    csv: gr.Button
    csv_file: gr.DownloadButton
    matrix: gr.HTML


def build() -> CrossFold:
    """The fold; call inside the tab."""
    with gr.Accordion(TITLE, open=False, elem_id="compare-cross-fold", elem_classes="fold section-fold") as fold:
        gr.HTML(render("hint", sentence=ABOUT), apply_default_css=False)
        left_out = gr.HTML("", elem_id="compare-cross-left-out", apply_default_css=False)
        with gr.Row(elem_classes="keep-line"):
            plain: dict[str, Any] = {"size": "sm", "elem_classes": "quiet", "scale": 0}
            measure = gr.Button("Measure", elem_id="compare-cross-measure", **plain)
            stop = gr.Button("Stop", elem_id="compare-cross-stop", visible=False, **plain)
            csv = gr.Button("Download CSV", elem_id="compare-cross-csv", visible=False, **plain)
            csv_file = gr.DownloadButton("CSV", visible="hidden", elem_id="compare-cross-csv-file")
        matrix = gr.HTML("", elem_id="compare-cross", apply_default_css=False)
    return CrossFold(fold, left_out, measure, stop, csv, csv_file, matrix)


def wire(fold: CrossFold, models: gr.Dropdown, left: Stops, services: Services) -> None:
    """What the buttons do; a matrix that is known is there at once, and the tab takes it away with another choice.

    Args:
        fold: see `build`.
        models: the picker.
        left: ends a measurement without a word, since other models are chosen.
        services: for the models.
    """
    stops = Stops()

    def measure(ids: list[str], request: gr.Request) -> Iterator[dict[Any, Any]]:
        last, is_whole, page = "", False, request.session_hash or ""
        with stops.begun(page) as is_stopped, left.begun(page) as is_left:
            yield {**_buttons(fold, busy=True), fold.matrix: matrix(None, 0.0)}
            try:
                runs = found_runs(services.store, ids)
                for progress in services.serving.cross(runs, {}, names(runs)):
                    last, is_whole = matrix(progress.result, progress.share), progress.result is not None
                    if is_left.is_set():
                        break
                    yield {fold.matrix: last}
                    if is_stopped.is_set():
                        last = last if is_whole else ""
                        break
            except CharLMError as error:
                last = matrix(None, 1.0, str(error))
            if is_left.is_set():
                yield _buttons(fold, busy=False)
            else:
                yield {**_buttons(fold, busy=False, is_whole=is_whole), fold.matrix: last}

    def known(ids: list[str]) -> Any:
        runs = found_runs(services.store, ids)
        return services.serving.known_cross(runs, {}, names(runs))

    def show(ids: list[str]) -> tuple[Any, Any]:
        found = known(ids)
        return (gr.skip(), gr.skip()) if found is None else (matrix(found, 1.0), gr.update(visible=True))

    def save(ids: list[str]) -> str:
        try:
            if (found := known(ids)) is None:
                raise ConfigError("these models have not been measured yet; press Measure")
            from charlm.analysis.cross import cross_csv

            return services.files.text("charlm-cross-perplexity.csv", cross_csv(found))
        except CharLMError as error:
            raise gr.Error(toast(error), print_exception=False) from error

    def stop(request: gr.Request) -> None:
        stops.stop(request.session_hash or "")

    shown = [fold.measure, fold.stop, fold.csv, fold.matrix]
    fold.measure.click(measure, models, shown, concurrency_limit=4, **QUIET)
    fold.stop.click(stop, None, None, **QUICK)
    fold.fold.expand(show, models, [fold.matrix, fold.csv], **QUICK)
    saved = fold.csv.click(save, models, fold.csv_file, **QUIET)
    saved.success(None, js=click_js(fold.csv_file.elem_id or ""))


def _buttons(fold: CrossFold, busy: bool, is_whole: bool = False) -> dict[Any, Any]:
    shown = {fold.measure: not busy, fold.stop: busy, fold.csv: is_whole}
    return {button: gr.update(visible=visible) for button, visible in shown.items()}


def matrix(found: Any, share: float, error: str = "") -> str:
    """The matrix as a table, or how far it is, or why there is none.

    Args:
        found: a `charlm.analysis.cross.Cross`; None: it is not measured yet.
        share: of the work that is done.
        error: why there is none.
    """
    if found is None:
        return render("cross", sentence="", error=error, busy=not error, share=share, names=[], rows=[])
    from charlm.analysis.cross import finding

    rows = [(row["name"], cells(row, found["readers"])) for row in found["rows"]]
    return render("cross", sentence=finding(found), error="", busy=False, share=1.0, names=found["names"], rows=rows)


def cells(row: Any, readers: Sequence[str]) -> list[dict[str, Any]]:
    """A row's numbers as they are shown: `shown`, and whether it is of a model's `own` text and the `best`."""
    from charlm.analysis.cross import best_readers

    best = best_readers(row)
    return [
        {
            "shown": "" if cost is None else f"{cost:.2f}",
            "own": cost is not None and reader == row["writer"],
            "best": place in best,
        }
        for place, (reader, cost) in enumerate(zip(readers, row["bits"], strict=True))
    ]
