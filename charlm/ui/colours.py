"""The models' colours as each theme shows them: fixed hues, as dark or as light as their background asks for."""

from charlm.analysis.figures import BASELINE_COLOUR, FONT, legible, rgb
from charlm.architectures import ARCHITECTURES

PAPER = {":root": "#fcfcfb", ".dark": "#121315"}  # --page of lab.css
# WCAG 2.2 asks for these contrasts of what is drawn and of text.
DRAWN, WRITTEN = 3.0, 4.5


def stylesheet() -> str:
    """CSS that gives the models' colours their shade of the theme, in the page's HTML and in plotly's drawings.

    Figures and templates name the fixed colours, which do not know the theme: it can change while they stand.
    """
    colours = {arch: one.colour for arch, one in ARCHITECTURES.items()} | {"baseline": BASELINE_COLOUR}
    themes = [
        f"{theme} {{ {' '.join(_shades(arch, colour, paper) for arch, colour in colours.items())} }}"
        for theme, paper in PAPER.items()
    ]
    written = f'.js-plotly-plot text[style*="fill: {_inline(FONT)}"] {{ fill: var(--grey) !important; }}'
    return "\n".join([*themes, *(_rules(arch, colour) for arch, colour in colours.items()), written])


def _shades(arch: str, colour: str, paper: str) -> str:
    drawn, written = legible(colour, paper, DRAWN), legible(colour, paper, WRITTEN)
    return f"--drawn-{arch}: {drawn}; --written-{arch}: {written};"


def _rules(arch: str, colour: str) -> str:
    """Where a colour stands in a style attribute: as `--c` in HTML, as a stroke or a fill in SVG."""
    drawing, inline = ".js-plotly-plot", _inline(colour)
    return "\n".join(
        [
            f'[style*="--c:{colour}"], [style*="--c: {colour}"] {{ --c: var(--drawn-{arch}) !important; }}',
            f'{drawing} [style*="stroke: {inline}"] {{ stroke: var(--drawn-{arch}) !important; }}',
            f'{drawing} [style*="fill: {inline}"]:not(text) {{ fill: var(--drawn-{arch}) !important; }}',
            f'{drawing} text[style*="fill: {inline}"] {{ fill: var(--written-{arch}) !important; }}',
        ]
    )


def _inline(colour: str) -> str:
    """A hex colour as a browser writes it into a style attribute."""
    return f"rgb({rgb(colour).replace(',', ', ')})"
