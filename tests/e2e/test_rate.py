"""The learning rate of a race at work, changed on the page."""

from typing import Any

from playwright.sync_api import expect

from tests.e2e.steps import choose_tab, started, toast, until

MARKED = "document.querySelector('#train-plot .js-plotly-plot')?.data.filter((one) => one.meta.kind === 'rate').length"


def test_the_learning_rate_of_a_race_at_work_is_changed(page: Any, services: Any) -> None:
    ids = started(services, "lstm", "gru", learning_rate=0.01)
    choose_tab(page, "Train")
    head, button = page.locator("#train-head"), page.get_by_role("button", name="Change rate")
    rate = head.get_by_label("Learning rate")
    expect(rate).to_have_value("0.01")
    rate.fill("fast")
    button.click()
    toast(page, "learning_rate must be a number such as 0.001, not 'fast'").wait_for()
    rate.fill("0.002")
    rate.press("Enter")
    until(lambda: all(services.store.get(run_id).learning_rate == 0.002 for run_id in ids))
    steps = {services.store.get(run_id).rate_changes[0]["step"] for run_id in ids}
    assert len(steps) == 1
    expect(page.locator("#train-head .lead")).to_contain_text(
        f"Learning rate changed: LSTM and GRU 0.002 from step {steps.pop() + 1:,}."
    )
    expect(rate).to_be_focused()  # the head was drawn anew
    page.wait_for_function(f"() => {MARKED} === 2")
    head.get_by_label("of which model").select_option(label="GRU")
    rate.fill("0.0005")
    button.click()
    until(lambda: services.store.get(ids[1]).learning_rate == 0.0005)
    assert services.store.get(ids[0]).learning_rate == 0.002
    expect(head.get_by_role("option", name="GRU")).to_have_attribute("data-rate", "0.0005")
    expect(rate).to_have_value("0.0005")
    expect(button).to_be_focused()
    head.get_by_label("of which model").select_option(label="all")
    expect(rate).to_have_value("")  # they differ
    services.jobs.stop_job(ids[0])
    expect(button).to_have_count(0)
