"""The fold of items: it counts what was written, strangers' items are text, and it is there for lists only."""

import re
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from charlm.analysis.new_items import NewItems
from charlm.config import SampleConfig
from charlm.data.corpus import corpus_from_text
from charlm.jobs.scheduler import Control, prepare, run_trainers
from charlm.jobs.service import Jobs
from charlm.public.services import Services
from charlm.runs.create import create_runs
from charlm.runs.store import RunStore
from charlm.serving import Serving
from charlm.serving.stops import Stops
from charlm.serving.texts import nats_per_item
from charlm.ui.compare import items
from charlm.ui.compare.items import of_lists, shares_html
from charlm.ui.formatting import MISSING
from charlm.ui.services import Files
from tests.tiny_runs import settings, trained

NAMES = "\n".join(f"{first}{last}" for first in ("an", "bo", "ci", "du") for last in ("na", "ri", "to", "le", "su"))


def cells(html: str) -> list[str]:
    return [" ".join(re.sub("<[^>]*>", " ", cell).split()) for cell in re.findall(r"<td[^>]*>(.*?)</td>", html, re.S)]


@pytest.fixture
def of_names(store: RunStore) -> Any:
    """A run that learned a few names; its text is kept as that of every training is."""
    config = settings(items="line", val_fraction=0.2)
    corpus = corpus_from_text(NAMES, "names.txt", config.corpus)
    [run] = create_runs(store, corpus, config, ["gru"])
    run_trainers(prepare([run], corpus), Control())
    return store.get(run.run_id)


def test_it_shows_what_was_counted(of_names: Any, store: RunStore) -> None:
    [plain] = trained(store, "gru")
    assert of_lists([plain, of_names]) == [of_names]
    found = Serving(store).items(of_names, 12, "", SampleConfig(length=40), "[a-z]+")
    told = cells(shares_html([(of_names, "Names", found)]))
    shares = [f"{100 * share:.1f} %" for share in (found.unique, found.new or 0.0, found.valid or 0.0)]
    assert told[1:6] == ["12", str(found.written), *shares] and told[0].startswith("Names")
    score = Serving(store).evaluate(of_names)
    assert nats_per_item(of_names) == pytest.approx(score["nats_per_item"], rel=1e-3)
    assert told[6] == f"{score['nats_per_item']:.3f}" and nats_per_item(plain) is None


def test_strangers_items_are_text_and_what_was_not_asked_is_a_dash(of_names: Any) -> None:
    found = NewItems(["<b>x</b>", "a\nb"] + [f"n{place}" for place in range(40)], 50, 3, 0.84, None, None)
    html = shares_html([(of_names, "<i>", found)])
    assert "<b>x" not in html and "<i>" not in html and "&lt;b&gt;x&lt;/b&gt;" in html and html.count("<li>") == 30
    assert cells(html)[3:6] == ["84.0 %", MISSING, MISSING] and "3 more had no end" in html


def test_other_models_end_the_writing_and_take_no_word_of_it(of_names: Any, store: RunStore) -> None:
    services = Services(store, Jobs(store), Serving(store), Files())
    with gr.Blocks() as demo:
        fold, models = items.build(services, [of_names]), gr.Dropdown(multiselect=True)
        items.wire(fold, models, gr.Textbox(), gr.Textbox(), left := Stops(), services)
    write = next(found.fn for found in demo.fns.values() if found.name == "write")
    page, asked = SimpleNamespace(session_hash="page"), ([of_names.run_id], 5, "", "", "{}")
    writing = write(*asked, page)
    next(writing)
    left.stop("page")
    [last] = writing
    assert fold.shares not in last and last[fold.write]["interactive"]
    *_, whole = write(*asked, page)
    assert "items-table" in whole[fold.shares]
