"""The panel of the memory gym: bands, chance, a table with the same numbers."""

import json

from charlm.analysis.figures import arch_colour
from charlm.analysis.gym import Gym, Settings, measure
from charlm.analysis.gym_tasks import example
from charlm.analysis.measurement import Measured
from charlm.ui.understand.gym import PANEL


def found(task: str = "first") -> Measured[Gym]:
    settings = Settings(task=task, archs=("lstm", "rnn"), seeds=2, steps=6, longest=4, parameters=1000)
    result = list(measure(settings))[-1].result
    assert result is not None
    return Measured(result["title"], "", result)


def test_lines_bands_and_chance_are_those_of_the_result() -> None:
    one = found()
    assert PANEL.picture is not None
    picture = PANEL.picture([one])
    assert picture is not None
    json.dumps(picture, allow_nan=False)
    bands, lines = picture["data"][::2], picture["data"][1::2]
    for learner, band, line in zip(one.result["learners"], bands, lines, strict=True):
        assert line["x"] == [1, 2, 4] and line["y"] == [100 * row["mean"] for row in learner["rows"]]
        lows, highs = ([100 * row[name] for row in learner["rows"]] for name in ("low", "high"))
        assert band["y"] == [*highs, *reversed(lows)] and band["x"] == [1, 2, 4, 4, 2, 1]
        assert line["line"]["color"] == arch_colour(learner["arch"])
    [chance] = picture["layout"]["shapes"]
    assert chance["y0"] == chance["y1"] == 12.5
    assert picture["layout"]["xaxis"]["type"] == "log"
    names = [note["text"] for note in picture["layout"]["annotations"]]
    assert {"<b>LSTM</b>", "<b>RNN</b>", "chance", "answers right, %"} <= set(names)


def test_the_table_has_the_numbers_and_an_example() -> None:
    one = found("brackets")
    assert PANEL.html is not None
    html = PANEL.html([one])
    for learner in one.result["learners"]:
        for row in learner["rows"]:
            assert f"{100 * row['mean']:.1f} %" in html
            assert f'title="{100 * row["low"]:.1f} to {100 * row["high"]:.1f} %"' in html
        assert f"<td>{learner['parameters']:,}</td>" in html
    question, answer = (part.replace("<", "&lt;").replace(">", "&gt;") for part in example("brackets"))
    assert f"<span>{question}</span><b>{answer}</b>" in html


def test_of_several_tasks_the_last_is_drawn() -> None:
    both = [found("first"), found("parity")]
    assert PANEL.picture is not None and PANEL.html is not None
    assert PANEL.picture(both) == PANEL.picture(both[1:]) and PANEL.html(both) == PANEL.html(both[1:])
    assert "Parity" in PANEL.alt(both) and "chance is 50.0 %" in PANEL.alt(both)


def test_before_the_first_result_nothing_is_drawn() -> None:
    assert PANEL.picture is not None and PANEL.html is not None
    assert PANEL.picture([]) is None and PANEL.html([]) == "" and PANEL.alt([])
    assert all(name in Settings.names() for name in PANEL.outline.controls)
