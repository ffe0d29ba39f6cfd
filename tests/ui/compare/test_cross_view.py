"""The matrix of cross-perplexity: its numbers, what is said without colour, and strangers' names."""

import re
from types import SimpleNamespace
from typing import Any

import gradio as gr

from charlm.analysis.cross import Cross, Row, cross_csv
from charlm.jobs.service import Jobs
from charlm.public.services import Services
from charlm.runs.store import RunStore
from charlm.serving import Serving
from charlm.serving.stops import Stops
from charlm.ui.compare import cross
from charlm.ui.compare.cross import matrix
from charlm.ui.services import Files
from tests.tiny_runs import trained


def found(*names: str) -> Cross:
    rows = [
        Row(writer=f"run-{place}", name=name, texts=20, characters=6000, bits=[1.5, None if place else 1.75])
        for place, name in enumerate(names)
    ]
    rows.append(Row(writer="", name="Held-out text", texts=20, characters=6000, bits=[1.9, 1.8]))
    return Cross(readers=[f"run-{place}" for place in range(len(names))], names=list(names), rows=rows)


def test_the_cells_are_a_table_that_reads_without_colour() -> None:
    html = matrix(found("LSTM", "GRU"), 1.0)
    assert "<caption" in html and html.count('scope="col"') == 3 and html.count('scope="row"') == 3
    cells = re.findall(r"<td[^>]*>(.*?)</td>", html, re.S)
    shown = [" ".join(re.sub("<[^>]*>", " ", cell).split()) for cell in cells]
    assert shown == [
        "1.50 the lowest of its row its own text", "1.75",
        "1.50", "unknown to this model",
        "1.90", "1.80 the lowest of its row",
    ]  # fmt: skip
    assert html.count("<b>") == 2 and html.count('class="own"') == 1
    assert "1.50" in html.split("<table")[0]  # the sentence has a number of the table


def test_names_are_text() -> None:
    html = matrix(found("<img src=x onerror=alert(1)>", "b & c"), 1.0)
    assert "<img" not in html and "&lt;img src=x" in html and "b &amp; c reads" in html


def test_it_says_how_far_it_is_or_why_not() -> None:
    assert "--w:25.0%" in matrix(None, 0.25) and 'role="status"' in matrix(None, 0.25)
    refused = matrix(None, 1.0, "no <b>")
    assert 'role="alert"' in refused and "no &lt;b&gt;" in refused and "Measuring" not in refused


def test_the_file_has_what_the_table_shows() -> None:
    head, first, second, held_out = cross_csv(found("=LSTM", "GRU")).splitlines()
    assert head == '"written_by","run_id","texts","characters","\'=LSTM","GRU"'
    assert first == '"\'=LSTM","run-0",20,6000,1.5,1.75'
    assert second == '"GRU","run-1",20,6000,1.5,""' and held_out == '"Held-out text","",20,6000,1.9,1.8'


def listener(demo: gr.Blocks, name: str) -> Any:
    return next(found.fn for found in demo.fns.values() if found.name == name)


def test_other_models_end_a_measurement_and_take_no_word_of_it(store: RunStore) -> None:
    runs = trained(store, "lstm", "gru")
    services = Services(store, Jobs(store), Serving(store), Files())
    with gr.Blocks() as demo:
        fold, models = cross.build(), gr.Dropdown(multiselect=True)
        cross.wire(fold, models, left := Stops(), services)
    page, other = (SimpleNamespace(session_hash=name) for name in ("page", "other"))
    ids = [run.run_id for run in runs]
    measuring = listener(demo, "measure")(ids, page)
    next(measuring), next(measuring)
    left.stop("other")
    assert fold.matrix in next(measuring)
    left.stop("page")
    [last] = measuring
    assert fold.matrix not in last and last[fold.measure]["visible"] and not last[fold.stop]["visible"]
    *_, whole = listener(demo, "measure")(ids, other)
    assert "<table" in whole[fold.matrix] and whole[fold.csv]["visible"]
