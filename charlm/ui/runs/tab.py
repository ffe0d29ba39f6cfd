"""Runs: every run with its actions, the queue above them, the chosen one under them, and the trash."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gradio as gr

from charlm.errors import CharLMError
from charlm.public.services import Services
from charlm.ui.compare.ranking import request
from charlm.ui.formatting import size
from charlm.ui.html import Shared, toast
from charlm.ui.runs import panel as run_panel
from charlm.ui.runs.details import resume_options
from charlm.ui.runs.listing import (
    Listing,
    Trash,
    bring_run,
    build_listing,
    build_trash,
    imported_html,
    told_apart,
    told_html,
)
from charlm.ui.runs.panel import QUIET, WAKE_JS, Panel, told

Changes = dict[Any, Any]
Act = Callable[[str], Changes | None]


def build(services: Services, shared: Shared) -> None:
    """The tab's components and their wiring; call inside its gr.Tab."""
    listing = build_listing(services)
    panel = run_panel.build()
    trash = build_trash(services)
    _wire_acts(listing, panel, trash, shared)
    _wire_looking(listing, trash, shared)
    _wire_import(listing, panel)
    run_panel.wire(panel, listing, trash, shared)


def _wire_acts(listing: Listing, panel: Panel, trash: Trash, shared: Shared) -> None:
    """The text actions of table, details, queue and trash."""
    services = listing.services
    acts: Mapping[str, Act] = {
        **_crossing(services, panel, shared),
        **_training(services, panel, listing),
        **_keeping(services, listing, trash),
    }

    def act(wanted: str, event: gr.EventData) -> Changes:
        name, run_id = str(event._data.get("act", "")), str(event._data.get("run", ""))
        changes = told(lambda: acts[name](run_id)) if name in acts else None
        return {**listing.now(wanted), **(changes or {})}

    crossing = [panel.chosen, shared.compare, shared.watch, shared.tabs]
    outputs = [*listing.outputs, *trash.outputs, listing.told, *crossing]
    for place in (listing.table, listing.queue, listing.told, panel.details, trash.body):
        place.act(act, listing.filter, outputs, **QUIET).then(None, js=WAKE_JS)


def _crossing(services: Services, panel: Panel, shared: Shared) -> dict[str, Act]:
    """What opens a run, here or in another tab."""
    return {
        "open": lambda run_id: {panel.chosen: request(run=run_id)},
        "compare": lambda run_id: {shared.compare: request(runs=[run_id]), shared.tabs: gr.Tabs(selected="compare")},
        "watch": lambda run_id: watched(shared, run_id),
        "retry": lambda run_id: watched(shared, services.jobs.retry(run_id)["run_id"]),
    }


def watched(shared: Shared, run_id: str) -> Changes:
    """Go to the Train tab and look at a run."""
    return {shared.watch: request(run=run_id), shared.tabs: gr.Tabs(selected="train")}


def _training(services: Services, panel: Panel, listing: Listing) -> dict[str, Act]:
    """What goes on, stops, or changes its place in the queue; and what a run needs no more."""
    store, jobs = services.store, services.jobs

    def resume(run_id: str) -> Changes:
        run = store.get(run_id)
        jobs.resume(run_id, resume_options(run))
        # Of a failed run it is offered in the details, which must not say any longer that it failed.
        return {panel.chosen: request(run=run_id)} if run.status == "failed" else {}

    def trim(run_id: str) -> Changes:
        freed = store.trim(store.get(run_id))
        return {panel.chosen: request(run=run_id), listing.told: told_html(f"Freed {size(freed)}.")}

    return {
        "resume": resume,
        "stop": lambda run_id: _nothing(jobs.stop(run_id)),
        "cancel": jobs.stop_job,
        "earlier": lambda run_id: _nothing(jobs.move(run_id, -1)),
        "later": lambda run_id: _nothing(jobs.move(run_id, 1)),
        "trim": trim,
    }


def _nothing(_: Any) -> None:
    """What was done shows in the listing."""


def _keeping(services: Services, listing: Listing, trash: Trash) -> dict[str, Act]:
    """What takes runs out of the trash, back or for good."""
    store = services.store

    def restore(run_id: str) -> Changes:
        run = store.restore(run_id)
        return {listing.told: told_html(f"Restored {run.label}."), **trash.now()}

    def empty(_: str) -> Changes:
        freed = store.empty_trash()
        return {listing.told: told_html(f"The trash is empty, {size(freed)} are free again."), **trash.now()}

    return {
        "restore": restore,
        "ask-empty": lambda _: trash.now(asking=True),
        "keep": lambda _: trash.now(),
        "empty": empty,
    }


def _wire_import(listing: Listing, panel: Panel) -> None:
    """A file from elsewhere becomes a run, and is opened."""

    def bring(files: list[str] | None) -> Iterator[Changes]:
        yield {listing.told: told_html("Reading…")}
        try:
            services = listing.services
            run = bring_run(services, *told_apart([services.files.uploaded(path) for path in files or []]))
        except CharLMError as error:
            gr.Warning(toast(error), title="Nothing was imported")
            yield {listing.told: ""}
            return
        opened = {panel.chosen: request(run=run.run_id), listing.filter: "", listing.told: imported_html(run)}
        yield {**opened, **listing.now()}

    outputs = [listing.told, panel.chosen, listing.filter, *listing.outputs]
    listing.upload.upload(bring, listing.upload, outputs, concurrency_limit=2, **QUIET)


def _wire_looking(listing: Listing, trash: Trash, shared: Shared) -> None:
    """Filter, refresh, what is new when the tab is opened, and how many train at once."""
    jobs = listing.services.jobs

    def opened(wanted: str) -> Changes:
        return {**listing.now(wanted), **trash.now(), listing.told: "", listing.at_once: jobs.at_once}

    def set_at_once(number: float | None, wanted: str) -> Changes:
        if number is not None:  # emptied to type another one
            told(lambda: jobs.set_at_once(number))
        changes = listing.now(wanted)
        del changes[listing.queue_row]  # whoever types 12 has typed 1 before: the field stays
        return changes

    quick: dict[str, Any] = {**QUIET, "queue": False}
    inputs = listing.filter
    everything = [*listing.outputs, *trash.outputs, listing.told, listing.at_once]
    shared.own.select(opened, inputs, everything, **quick)
    listing.table.refresh(listing.now, inputs, listing.outputs, **quick)
    listing.filter.input(listing.now, inputs, listing.outputs, trigger_mode="always_last", **quick)
    numbered = listing.at_once.input(
        set_at_once, [listing.at_once, inputs], listing.outputs, trigger_mode="always_last", **QUIET
    )
    numbered.then(None, js=WAKE_JS)
