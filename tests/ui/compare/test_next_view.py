"""What the panel of next-token probabilities gets of a text, and what it may ask."""

from typing import Any

import pytest

from charlm.analysis.next_tokens import Expected, Outlook, Place
from charlm.config import SampleConfig
from charlm.errors import CharLMError, ConfigError
from charlm.public.services import Services
from charlm.ui.compare.form import next_places, packed, settings_in
from tests.ui.shown_runs import FakeRun, FakeStore

SPACE, LETTER = Expected(0, " ", 0.9, 0.5), Expected(3, "<b>", 0.0, 0.00001)


class FakeServing:
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def next_tokens(self, run: FakeRun, prompt: str, text: str, config: SampleConfig, count: int) -> Outlook:
        self.asked.append((run.run_id, prompt, text, config, count))
        return Outlook(4, ["<b>"], [Place([SPACE, LETTER], 1.234, LETTER, 2), Place([SPACE], 0.5)])


def test_places_are_packed() -> None:
    told = packed(FakeServing().next_tokens(FakeRun("a"), "", "", SampleConfig(), 12))
    assert told["start"] == 4 and told["pieces"] == ["<b>"]
    first, last = told["places"]
    assert first == [[0, 3], [9000, 0], [5000, 1], 1.23, [3, 0, 1, 2, 16.61]]
    assert last == [[0], [9000], [5000], 0.5]
    assert told["names"] == {"0": ["␣", "space"], "3": ["<b>", "<b>"]}


def test_what_is_asked_is_checked() -> None:
    serving = FakeServing()
    services = Services(FakeStore([FakeRun("a")]), None, serving, None)
    how = '{"top_k": 3}'
    assert next_places(services, {"run": "a", "text": ["P", "t"], "how": how})["unit"] == "character"
    assert serving.asked == [("a", "P", "t", SampleConfig(top_k=3), 12)]
    for asked in (None, {}, {"run": "b", "text": ["P", "t"]}, {"run": ["a"]}, {"run": "x" * 10_000}):
        with pytest.raises(CharLMError, match="there is no run"):
            next_places(services, asked)
    for text in (None, "t", [], ["t"], [1, 2], {"a": 1}):
        with pytest.raises(ConfigError, match="no text to look at"):
            next_places(services, {"run": "a", "text": text})
    for wrong in ('{"top_k": -1}', '{"heat": 1}'):
        with pytest.raises(ConfigError):
            next_places(services, {"run": "a", "text": ["", ""], "how": wrong})


@pytest.mark.parametrize("message", [None, 5, "", "{", "[]", "5", "[" * 99, " " * 100_000])
def test_settings_that_are_none_are_the_usual_ones(message: Any) -> None:
    assert settings_in(message) == SampleConfig()
