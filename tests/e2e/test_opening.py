"""What a browser does until the page can be used."""

from typing import Any

from tests.e2e.steps import open_app

# Counts what becomes a proxy; in the page before anything else.
COUNT_JS = """
window.proxies = { listeners: 0, others: 0 };
window.Proxy = new Proxy(window.Proxy, {
  construct(made, [of, traps]) {
    window.proxies['trigger_after' in of ? 'listeners' : 'others'] += 1;
    return new made(of, traps);
  },
});
"""


def test_a_listener_is_no_proxy(page: Any, server: str) -> None:
    """Nor does one listen to nothing: those that follow another are called by it."""
    page.add_init_script(COUNT_JS)
    open_app(page, server)
    proxies = page.evaluate("window.proxies")
    assert proxies["others"] > 0 == proxies["listeners"]
    assert page.evaluate("window.gradio_config.dependencies.every(one => one.targets.every(([id]) => id !== null))")


def test_nothing_of_another_page_is_seen(page: Any) -> None:
    """The endpoints stand on a page of their own, to which gradio would show a way."""
    assert page.evaluate("window.gradio_config.components.filter(one => one.type === 'api').length") == 0
    assert not page.get_by_role("link", name="Home").count() and not page.locator(".nav-holder").first.is_visible()
