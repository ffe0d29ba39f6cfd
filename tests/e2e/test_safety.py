"""Nothing is lost, as a visitor sees it: queue, fork, mend, trash, and a server that was restarted."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.steps import choose_tab, fill_number, finished_run, open_app, set_number, started, toast, until
from tests.patience import patience


def waiting(services: Any) -> list[str]:
    """The titles of what waits, in order."""
    return [job["title"] for job in services.jobs.queue_list() if job["position"]]


def row_of(page: Any, run_id: str) -> Any:
    """A run's line in the table."""
    return page.locator(f"#runs-table tr:has([data-run='{run_id}'])")


def test_what_waits_is_moved_cancelled_and_let_in(page: Any, services: Any) -> None:
    started(services, label="first")
    [second], [third] = (started(services, label=label) for label in ("second", "third"))
    choose_tab(page, "Runs")
    page.locator("#runs-queue", has_text="2 trainings wait").wait_for()
    assert "queued, 2nd" in row_of(page, third).inner_text()
    page.locator("#runs-queue li", has_text="third").get_by_role("button", name="Earlier").click()
    row_of(page, second).get_by_text("queued, 2nd").wait_for()
    assert waiting(services) == ["third", "second"]
    page.locator("#runs-queue li", has_text="third").get_by_role("button", name="Cancel").click()
    page.locator("#runs-queue", has_text="1 training waits").wait_for()
    assert waiting(services) == ["second"] and services.store.get(third).status == "stopped"

    set_number(page, "runs-at-once", 99)
    toast(page, "from 1 to 16 trainings can run at once, not 99").wait_for()
    set_number(page, "runs-at-once", 2)
    page.locator("#strip", has_text="1 more at work").wait_for()
    page.locator("#runs-queue", has_text="Nothing waits.").wait_for()
    set_number(page, "runs-at-once", 1)
    until(lambda: services.jobs.at_once == 1)


def test_a_fork_knows_where_it_comes_from(page: Any, services: Any) -> None:
    parent = finished_run(services, "<i>parent</i>")
    choose_tab(page, "Runs")
    row_of(page, parent).locator("button.name").click()
    page.locator("#runs-fork").click()
    expect(page.locator("#runs-fork-name").get_by_role("textbox")).not_to_have_value("")  # the last field to be filled
    assert page.locator("#runs-fork-rate input").input_value() == "0.048"  # as of its parent: what suits 5 steps
    fill_number(page.locator("#runs-fork-rate input"), "0.002")
    fill_number(page.locator("#runs-fork-steps input"), "7")
    page.locator("#runs-fork-name").get_by_role("textbox").fill("child")
    page.locator("#runs-fork-start").click()
    page.locator("#train-head", has_text="A fork of <i>parent</i> at step 5.").wait_for()
    child = services.store.list()[0]
    until(lambda: services.store.get(child.run_id).status == "finished")
    child = services.store.get(child.run_id)
    assert (child.label, child.step, child.train_config.learning_rate) == ("child", 12, 0.002)

    choose_tab(page, "Runs")
    row_of(page, child.run_id).get_by_text("fork of <i>parent</i> at step 5").wait_for()
    row_of(page, child.run_id).locator("button.name").click()
    page.locator("#runs-details", has_text=child.run_id).get_by_role("button", name="<i>parent</i>").click()
    page.locator("#runs-details", has_text=parent).get_by_role("button", name="Keep only the best weights").click()
    page.locator("#runs-details", has_text="Only its best weights are kept").wait_for()
    assert services.store.get(parent).trimmed and row_of(page, parent).get_by_text("Resume").count() == 0


def test_a_failed_run_says_why_and_is_tried_again(page: Any, services: Any) -> None:
    hot = {"nonlinearity": "relu", "learning_rate": 9.0, "grad_clip": 0, "hidden_size": 64, "num_layers": 2}
    [failed] = started(services, "rnn", **hot, eval_every=1_000_000)
    until(lambda: services.store.get(failed).status == "failed")
    choose_tab(page, "Train")
    page.locator("#train-head", has_text="with learning_rate 9").wait_for()
    page.locator("#train-head").get_by_role("button", name="Try again with learning rate 3").click()
    page.locator("#train-head", has_text="A new try of").wait_for()
    again = services.store.list()[0]
    assert again.run_id != failed and again.train_config.learning_rate == 3.0
    assert again.ancestry[0]["run_id"] == failed


def test_the_trash_is_emptied_only_after_a_question(page: Any, services: Any) -> None:
    services.store.empty_trash()  # of what other tests have deleted
    kept, gone = (services.store.get(finished_run(services, label)) for label in ("kept", "gone"))
    for run in (kept, gone):
        services.store.delete(run)
    choose_tab(page, "Runs")
    page.locator("#runs-trash", has_text="Trash: 2 runs").get_by_role("button").first.click()
    page.locator("#runs-trash li", has_text="kept").get_by_role("button", name="Restore").click()
    row_of(page, kept.run_id).wait_for()
    page.locator("#runs-trash").get_by_role("button", name="Empty the trash").click()
    page.locator("#runs-trash", has_text="gone for good?").wait_for()
    assert services.store.trashed()
    page.locator("#runs-trash").get_by_role("button", name="Empty it").click()
    page.locator("#runs-told", has_text="The trash is empty").wait_for()
    assert not services.store.trashed() and services.store.get(kept.run_id)


@pytest.fixture
def restarted(places: Path, chromium_path: str) -> Iterator[Any]:
    """A server that begins where another one was ended in the middle of a race: its jobs and its address."""
    from charlm.jobs.service import Jobs
    from charlm.public.services import Services
    from charlm.runs.store import RunStore
    from charlm.serving import Serving
    from charlm.ui.app import build_demo, launch_options
    from charlm.ui.services import Files

    store = RunStore(places / "restarted")
    first = Jobs(store)
    ids = started(Services(store, first, None, None), "lstm", "gru", "rnn")
    until(lambda: all(store.get(run_id).step > 0 for run_id in ids))
    first.close(patience(30))
    jobs = Jobs(store)
    demo = build_demo(Services(store, jobs, Serving(store, jobs.is_training), Files()), places / "data")
    _, address, _ = demo.launch(**launch_options(), server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
    yield jobs, address
    demo.close()
    jobs.close(patience(30))


def test_a_race_goes_on_as_a_race_after_a_restart(page: Any, restarted: Any) -> None:
    jobs, address = restarted
    open_app(page, address)
    page.locator("#strip", has_text="Race on story.txt was interrupted at step").wait_for()
    ids = {run.run_id for run in jobs.interrupted()}
    page.locator("#strip").get_by_role("button", name="Resume").click()
    page.locator("#strip .job[data-status=running]", has_text="Race").wait_for()
    [job] = jobs.queue_list()
    assert set(job["run_ids"]) == ids and len(ids) == 3
    page.locator("#strip").get_by_role("button", name="Stop").click()
    page.locator("#strip .job").wait_for(state="detached")
