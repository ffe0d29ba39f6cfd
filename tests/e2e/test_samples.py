"""The slider over the samples of a training's validations, as a visitor moves it."""

import re
from typing import Any

from playwright.sync_api import expect

from tests.e2e.steps import choose_tab, started, until


def test_the_slider_goes_back_to_earlier_samples_and_follows_new_ones(page: Any, services: Any) -> None:
    ids = started(services, "lstm", "gru")
    choose_tab(page, "Train")
    until(lambda: all(len(services.store.get(run_id).sample_steps()) > 2 for run_id in ids))
    slider = page.get_by_role("slider", name="Written at: the validation whose samples are shown")
    said, steps = page.locator("#train-live .sample-slider output"), page.locator("#train-live .cols .sub")
    slider.wait_for()
    expect(said).to_have_text(re.compile(r"step [\d,]+, the newest"))
    slider.press("Home")
    expect(said).to_have_text("step 50")
    expect(steps).to_have_text(["step 50", "step 50"])
    expect(slider).to_have_attribute("aria-valuetext", "step 50")
    written = [services.store.get(run_id).sample(50) for run_id in ids]
    shown = page.locator("#train-live .cols .text").all_text_contents()
    assert shown == [one["prompt"] + one["text"] for one in written]
    most = int(slider.get_attribute("max"))
    expect(slider).not_to_have_attribute("max", str(most))  # the training goes on; what was chosen stays
    expect(steps).to_have_text(["step 50", "step 50"])
    slider.press("ArrowRight")
    expect(steps).to_have_text(["step 100", "step 100"])
    services.jobs.stop_job(ids[0])
    until(lambda: services.jobs.current() is None)
    expect(page.locator("#strip .job")).to_have_count(0)
    expect(steps).to_have_text(["step 100", "step 100"])  # also when all is drawn anew
    page.get_by_role("button", name="Newest").click()
    expect(slider).to_be_focused()
    last = [f"step {services.store.get(run_id).sample_steps()[-1]:,}" for run_id in ids]
    expect(steps).to_have_text(last)
    expect(page.get_by_role("button", name="Newest")).to_have_count(0)
