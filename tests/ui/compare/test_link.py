"""What an address asks of Compare is taken part by part: what can be had is shown, and the rest is named."""

from pathlib import Path

import pytest

from charlm.config import LONGEST_STOP, SampleConfig
from charlm.runs.store import RunStore
from charlm.ui.compare.form import SLIDERS, control_values, sample_config
from charlm.ui.compare.link import Linked, linked, sentence
from tests.e2e.payloads import PAYLOADS


@pytest.fixture
def shipped(tmp_path: Path) -> RunStore:
    """The included models alone."""
    return RunStore(tmp_path / "runs")


def asked(shipped: RunStore, **query: str) -> Linked:
    return linked(query, shipped, SLIDERS)


def test_nothing_is_asked(shipped: RunStore) -> None:
    nothing = Linked([], None, {}, [])
    assert asked(shipped) == nothing and asked(shipped, view="api", __theme="dark", utm_source="x") == nothing
    assert sentence(Linked()) == ""


def test_every_part_can_be_had(shipped: RunStore) -> None:
    wanted = {"length": 80, "temperature": 1.1, "top_k": 5, "top_p": 0.9, "min_p": 0.02, "repetition_penalty": 1.2,
              "stop": ("\n\n", "The end"), "samples": 3, "allow_unk": True, "seed": 2**31 - 1}  # fmt: skip
    query = {name: str(value) for name, value in wanted.items()} | {"stop": "\\n\\n\nThe end", "allow_unk": "true"}
    found = asked(shipped, runs="sherlock-gru,sherlock-lstm,sherlock-gru", prompt="", tab="train", **query)
    assert found == Linked(["sherlock-gru", "sherlock-lstm"], "", wanted, [])
    assert asked(shipped, greedy="true", beams="1").settings == {"greedy": True, "beams": 1}
    assert asked(shipped, duel="true").settings == {"duel": True}


def test_what_the_page_writes_is_what_it_reads(shipped: RunStore) -> None:
    shown = control_values(sample_config({**control_values(SampleConfig()), "stop": "a\\nb\n\\\\", "seed": 3}))
    assert asked(shipped, stop=shown["stop"], seed=str(shown["seed"])).settings == {"stop": ("a\nb", "\\"), "seed": 3}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"temperature": "hot"}, "temperature must be a number, not 'hot'"),
        ({"temperature": "9"}, "temperature 9 is outside 0.1 to 2, which the page offers"),
        ({"temperature": "NaN"}, "temperature must be a number, not 'NaN'"),
        ({"length": "1e999"}, "length must be a number, not '1e999'"),
        ({"length": "100000"}, "length 100,000 is outside 20 to 4,000, which the page offers"),
        ({"length": "30.5"}, "length must be a whole number, not 30.5"),
        ({"seed": "-1"}, "seed -1 is outside 0 to 2,147,483,647"),
        ({"seed": ""}, "seed must be a number, not ''"),
        ({"seed": "9" * 5000}, "seed must be a number"),
        ({"greedy": "1"}, "greedy must be true or false, not 1"),
        ({"greedy": "[[[[]]]]"}, "greedy must be true or false"),
        ({"stop": "\n".join("abcdefghi")}, "stop has 9 texts; at most 8 are allowed"),
        ({"greedy": "true", "samples": "2"}, "greedy gives the same text every time"),
        ({"prompt": "x" * 2001}, "the prompt 'xxx"),
        ({"prompt": "\ud800"}, r"the prompt '\ud800' is not a text"),
        ({"tab": "Train"}, "there is no tab 'Train', only compare, train, corpus, runs and understand"),
        ({"runs": "nobody"}, "not here, or not trained: 'nobody'"),
        ({"runs": "../../etc"}, "not here, or not trained: '../../etc'"),
        ({"understand": "\u202enobody"}, r"not here, or not trained: '\u202enobody'"),
        ({"runs": ",".join("abcdefgh")}, "not here, or not trained: 'a', 'b', 'c' and several more"),
    ],
)
def test_what_cannot_be_had_is_named(shipped: RunStore, query: dict[str, str], said: str) -> None:
    found = asked(shipped, **{"runs": "sherlock-rnn", "min_p": "0.1", **query})
    assert len(found.problems) == 1 and said in found.problems[0] and len(found.problems[0]) < 250
    assert found.settings["min_p"] == 0.1
    assert list(found.runs) == ([] if "runs" in query else ["sherlock-rnn"])
    told = sentence(found)
    assert told.endswith("The rest is as the link says.") and told[0].isupper()


def test_models_that_are_here_are_found_among_others(shipped: RunStore) -> None:
    ids = [run.run_id for run in shipped.list() if run.has_learned]
    assert len(ids) > 6
    found = asked(shipped, runs=",".join(["no", *"abcd", *ids]))
    assert list(found.runs) == ids[:6] and len(found.problems) == 2
    assert "no more than 6 models can be compared" in found.problems


@pytest.mark.parametrize("payload", PAYLOADS)
def test_anything_may_stand_in_a_link(shipped: RunStore, payload: str) -> None:
    found = asked(shipped, **dict.fromkeys(("runs", "understand", "tab", "prompt", "seed", "stop"), payload))
    assert found.prompt == payload and not found.runs
    assert found.settings == ({"stop": (payload,)} if len(payload) <= LONGEST_STOP else {})
    assert len(found.problems) == 4 + (len(payload) > LONGEST_STOP)
