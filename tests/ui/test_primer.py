"""What the architectures are, as the page tells it."""

import re
from pathlib import Path

from charlm.architectures import ARCH_NAMES
from charlm.ui.primer import FINDING, MODELS, WORDS, primer

RECIPES = Path(__file__).parents[2] / "bench" / "RECIPES.md"


def test_every_architecture_has_two_sentences_and_a_drawing() -> None:
    markup = primer()
    sections = re.findall(r"<section.*?</section>", markup)
    assert len(sections) == len(ARCH_NAMES) == len(MODELS)
    for arch, section in zip(ARCH_NAMES, sections, strict=True):
        assert f"<h2>{ARCH_NAMES[arch]}</h2>" in section and len(MODELS[arch].rstrip(".").split(". ")) == 2
        assert section.count("<rect") >= 3
    assert markup.count("<dt>") == len(WORDS)


def test_its_figures_are_those_of_the_recipes() -> None:
    tried = RECIPES.read_text(encoding="utf-8")
    for loss in re.findall(r"1\.\d{3}", FINDING):
        assert f"| {loss} |" in tried
