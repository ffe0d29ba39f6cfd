"""The models' colours in each theme: legible, of the same hue, and no darker or lighter than they must be."""

import colorsys
import re

import pytest

from charlm.analysis.figures import contrast, legible, rgb
from charlm.architectures import ARCHITECTURES
from charlm.ui.colours import DRAWN, PAPER, WRITTEN, stylesheet
from charlm.ui.html import asset


def hue(colour: str) -> tuple[float, float]:
    """Hue in degrees, and saturation."""
    red, green, blue = (int(part) / 255 for part in rgb(colour).split(","))
    hue, _, saturation = colorsys.rgb_to_hls(red, green, blue)
    return 360 * hue, saturation


def test_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", PAPER)
def test_every_model_is_legible_and_keeps_its_hue(theme: str) -> None:
    paper, rule = PAPER[theme], re.search(rf"^{re.escape(theme)} {{ --drawn.*$", stylesheet(), re.M)
    assert rule is not None and f"--page: {paper}" in asset("lab.css")
    shades = dict(re.findall(r"--([a-z-]+): (#\w{6})", rule[0]))
    for arch, one in ARCHITECTURES.items():
        for kind, least in {"drawn": DRAWN, "written": WRITTEN}.items():
            shade = shades[f"{kind}-{arch}"]
            assert contrast(shade, paper) >= least
            if contrast(one.colour, paper) >= least:
                assert shade.lower() == one.colour.lower()
            else:
                assert contrast(shade, paper) < least + 0.15  # no further from the fixed colour than it must be
                assert hue(shade)[0] == pytest.approx(hue(one.colour)[0], abs=4)


def test_what_no_shade_reaches_is_black_or_white() -> None:
    assert legible("#0072B2", "#FFFFFF", 22) == "#000000" and legible("#0072B2", "#000000", 22) == "#FFFFFF"
