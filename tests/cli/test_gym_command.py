"""The command gym on tiny trainings."""

import json

import pytest

from charlm.analysis.gym import Settings, finding, measure
from charlm.analysis.measurement import Measured
from charlm.cli import main

TINY = ("--seeds", "2", "--steps", "3", "--longest", "4", "--parameters", "1000")


def test_it_prints_what_the_measurement_finds(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(task="parity", archs=("rnn", "mingru"), seeds=2, steps=3, longest=4, parameters=1000)
    result = list(measure(settings))[-1].result
    assert result is not None
    assert main(["gym", "parity", "--archs", "rnn, mingru", *TINY, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out, parse_constant=pytest.fail) == result
    assert err.splitlines() == [f"{done} of 4 trainings" for done in range(1, 5)]
    assert main(["gym", "parity", "--archs", "rnn,mingru", *TINY]) == 0
    table = capsys.readouterr().out
    assert finding([Measured("", "", result)]) in table
    for learner in result["learners"]:
        assert learner["arch"] in table and all(f"{row['mean']:.3f} (" in table for row in learner["rows"])


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("sums",), "task 'sums' is not one of: copy, first, brackets, parity, counting"),
        (("first", "--archs", "ngram"), "archs names 'ngram'; those that learn by gradient are: lstm"),
        (("first", "--archs", " , "), "archs names no architecture"),
        (("first", "--longest", "9999"), "longest 9,999 is outside 1 to 512"),
        (("first", "--seeds", "many"), "seeds must be a number, not 'many'"),
    ],
)
def test_mistakes_are_one_line(words: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gym", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and reason in err and len(err.splitlines()) == 1
