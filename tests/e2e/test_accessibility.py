"""Everyone can use the page: axe-core's rules, sizes of targets and widths, on every tab, in every look."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charlm.analysis.figures import contrast
from tests.e2e.steps import SECOND, choose_tab, open_app, started, until
from tests.patience import patience

TABS = ("Compare", "Train", "Corpus", "Runs", "Understand")
LOOKS = {
    "light": ("light", 1280),
    "dark": ("dark", 1280),
    "phone": ("light", 390),
}
ZOOMED = 640  # px: what a window of 1280 px shows at 200 %
# All that WCAG 2.2 asks for at its levels A and AA, and what is good practice. Long texts of one kind of element keep
# their beginning: axe looks at what lies behind each piece of text, which takes minutes for thousands of tokens.
AXE = """async () => {
    for (const text of document.querySelectorAll('.tokens, .copied')) {
        [...text.children].slice(40).forEach(one => one.remove());
    }
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    const found = await axe.run(document, {
        runOnly: { type: 'tag', values: tags }, rules: { 'target-size': { enabled: true } },
    });
    return found.violations.flatMap(rule => rule.nodes.map(node => `${rule.id}: ${node.target} ${node.html}`));
}"""
# A radio's or checkbox's target is its label. What stands in the midst of a sentence or text is as high as its line.
SMALL = """() => {
    const wanted = 'button, a[href], input, select, textarea, summary, [role=button], [tabindex="0"]';
    const isShown = one => one.checkVisibility({ visibilityProperty: true });
    const shown = [...document.querySelectorAll(wanted)].filter(isShown);
    const sizes = shown.filter(one => !one.closest('.next-text, .unseen') && !one.matches('p a, mark')).map(one => {
        const target = one.matches('[type=radio], [type=checkbox]') ? one.closest('label') ?? one : one;
        const { width, height } = target.getBoundingClientRect();
        return [Math.round(width), Math.round(height), one.outerHTML.slice(0, 200)];
    });
    return sizes.filter(([width, height]) => width && height && (width < 24 || height < 24)).map(one => one.join(' '));
}"""
# Resolves once nothing has changed for so many milliseconds.
QUIET = """(quiet) => new Promise((resolve) => {
    const done = () => { watch.disconnect(); resolve(); };
    let timer = setTimeout(done, quiet);
    const watch = new MutationObserver(() => { clearTimeout(timer); timer = setTimeout(done, quiet); });
    watch.observe(document.body, { childList: true, subtree: true });
})"""
OPEN_FOLDS = """() => {
    const folds = '.gr-accordion > button.label-wrap:not(.open), details:not([open]) > summary';
    const isShown = one => one.checkVisibility({ visibilityProperty: true });
    const shown = [...document.querySelectorAll(folds)].filter(isShown);
    shown.forEach(one => one.click());
    return shown.length;
}"""


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core's source."""
    package = pytest.importorskip("axe_playwright_python", reason="needs axe-core: pip install -r requirements-dev.txt")
    return (Path(package.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def visit(browser: Any, server: str, axe: str) -> Iterator[Any]:
    """A function that opens the page in a look, with axe-core in it."""
    visitors: list[Any] = []

    def visit(look: str, **more: Any) -> Any:
        theme, width = LOOKS[look]
        visitors.append(browser.new_context(viewport={"width": width, "height": 900}, **more))
        page = visitors[-1].new_page()
        page.set_default_timeout(patience(60) * SECOND)
        open_app(page, server, __theme=theme)
        page.evaluate(axe)
        return page

    yield visit
    for visitor in visitors:
        visitor.close()


def quiet(page: Any) -> None:
    """Wait until the page has come to rest."""
    page.wait_for_function("!document.querySelector('.measuring .bar')")
    page.evaluate(QUIET, 800)


def walk(page: Any) -> Iterator[str]:
    """Every tab, with its folds as they are found and then with all of them open."""
    for name in TABS:
        choose_tab(page, name)
        if name == "Runs":
            page.locator("#tab-runs button.name, #runs-list button.name").first.click()
            page.locator("dl.details").first.wait_for()
        quiet(page)
        yield f"{name}, folded"
        while page.evaluate(OPEN_FOLDS):
            quiet(page)
        yield f"{name}, unfolded"


@pytest.mark.parametrize("look", LOOKS)
def test_every_tab_is_within_reach(look: str, visit: Any) -> None:
    """No rule of axe-core's is broken, no target is under 24 px, and nothing is wider than the window."""
    page, faults = visit(look), []
    for place in walk(page):
        found = [*page.evaluate(SMALL), *page.evaluate(AXE)]
        for width in (LOOKS[look][1], ZOOMED):
            page.set_viewport_size({"width": width, "height": 900})
            if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                found.append(f"wider than a window of {width} px")
        page.set_viewport_size({"width": LOOKS[look][1], "height": 900})
        faults += [f"{place}: {fault}" for fault in found]
    assert faults == []


def test_a_training_is_within_reach(visit: Any, services: Any) -> None:
    """The same while models train and others wait, with an open list and a refusal on the page."""
    started(services, "gru", "lstm")
    started(services)
    page, faults = visit("phone"), []
    page.locator("#strip .job").wait_for()
    until(lambda: any(run.step > 100 for run in services.store.list() if run.status == "running"))
    for name, place in {"Train": "#train-table tbody tr", "Runs": "ol.queue li"}.items():
        choose_tab(page, name)
        page.locator(place).first.wait_for()
        faults += [*page.evaluate(SMALL), *page.evaluate(AXE)]
    choose_tab(page, "Corpus")
    with page.expect_file_chooser() as chooser:
        page.locator("#corpus-upload").click()
    chooser.value.set_files({"name": "a.txt", "mimeType": "text/plain", "buffer": bytes(range(256))})
    page.get_by_test_id("toast-body").wait_for()
    page.locator("#corpus-picker input").click()
    page.get_by_role("option").first.wait_for()
    assert faults == []
    until(lambda: page.evaluate(AXE) == [])  # once the list has faded in


# --- colours ----------------------------------------------------------------------------------------------------------

# Of every plot on the tab: the colours of its texts and of its lines and bars that have no transparency of their own.
DRAWN = """() => {
    const colours = (selector, name) => [...document.querySelectorAll(`.js-plotly-plot ${selector}`)]
        .map((one) => getComputedStyle(one))
        .filter((style) => style[`${name}Opacity`] === '1' && style[name].startsWith('rgb('))
        .map((style) => style[name]);
    const lines = colours('.scatterlayer path.js-line', 'stroke');
    const shapes = colours('.scatterlayer path.point, .barlayer path', 'fill');
    return { drawn: [...new Set([...lines, ...shapes])], written: [...new Set(colours('.main-svg text', 'fill'))] };
}"""


def as_hex(colour: str) -> str:
    """`rgb(0, 114, 178)` as `#0072B2`."""
    return "#" + "".join(f"{int(part):02X}" for part in re.findall(r"\d+", colour)[:3])


@pytest.mark.parametrize("look", ["light", "dark"])
def test_plots_stand_out_from_the_page(look: str, visit: Any) -> None:
    """Their labels by 4.5:1, their lines by 3:1, in the colours that the browser really draws."""
    page = visit(look)
    page.locator("#compare-models input").click()
    page.keyboard.type("transformer")
    page.get_by_role("option", name=re.compile("transformer")).first.click()
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelector('#compare-plot .js-plotly-plot')?.data.length === 12")
    paper, seen = as_hex(page.evaluate("getComputedStyle(document.body).backgroundColor")), set()
    for name in ("Compare", "Train", "Understand"):
        choose_tab(page, name)
        page.locator(f"#tab-{name.lower()} .js-plotly-plot").first.wait_for()
        quiet(page)
        found = page.evaluate(DRAWN)
        assert len(found["drawn"]) >= 4 and len(found["written"]) >= 4, name
        seen |= set(found["drawn"])
        for kind, least in {"drawn": 3.0, "written": 4.5}.items():
            weak = {one: round(contrast(as_hex(one), paper), 2) for one in found[kind]}
            assert [pair for pair in weak.items() if pair[1] < least] == [], (name, kind)
    assert len(seen) >= 4  # models keep their hues


def test_forced_colours_show_what_is_chosen(visit: Any) -> None:
    """Tabs, segments and rows in the system's highlight; the models' boxes in their own colours."""
    page = visit("light", forced_colors="active")
    if not page.evaluate("matchMedia('(forced-colors: active)').matches"):
        pytest.skip("Playwright cannot have this browser force its colours")
    background = "one => getComputedStyle(one).backgroundColor"
    highlight = page.evaluate(
        "(() => { const one = document.body.appendChild(document.createElement('i')); one.style.cssText ="
        " 'forced-color-adjust: none; background: Highlight'; const is = getComputedStyle(one).backgroundColor;"
        " one.remove(); return is; })()"
    )
    underlined = (
        "() => getComputedStyle(document.querySelector('#tabs [role=tab].selected'), '::after').backgroundColor"
    )
    assert page.evaluate(underlined) == highlight
    swatches = [one.evaluate(background) for one in page.locator("#ranking-table .swatch").all()]
    assert [as_hex(one) for one in swatches] == ["#0072B2", "#009E73", "#D55E00"]
    choose_tab(page, "Train")
    assert page.locator("#train-preset label:has(input:checked)").evaluate(background) == highlight
    assert page.locator("#train-preset label:not(:has(input:checked))").first.evaluate(background) != highlight
    assert as_hex(page.locator("#train-archs input:checked").first.evaluate(background)) == "#0072B2"
    choose_tab(page, "Runs")
    page.locator("#runs-list button.name").first.click()
    page.locator("#runs-list tr.chosen").wait_for()
    rows = [row.locator("td").first.evaluate(background) for row in page.locator("#runs-list tbody tr").all()]
    assert rows.count(highlight) == 1 and rows[0] == highlight
