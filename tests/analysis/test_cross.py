"""Cross-perplexity: what each model's text costs the others, on real models and on made-up matrices."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from charlm.analysis.cross import (
    Cross,
    Participant,
    Row,
    best_readers,
    bits_per_character,
    finding,
    measure,
    passages,
    table,
    written,
)
from charlm.analysis.settings import CrossSettings
from charlm.config import SampleConfig
from charlm.errors import ConfigError, MeasurementError
from charlm.generation import generate_many
from charlm.generation.streams import first_id
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.serving import Serving
from charlm.tokenizers import CharTokenizer
from tests.tiny_runs import TEXT, trained

SHORT = CrossSettings(samples=20, length=60, seed=3)


def participant(run: Run, name: str = "") -> Participant:
    return Participant(run.run_id, name or run.label, run.load_model().eval(), run.tokenizer())


def cost_by_hand(one: Participant, texts: list[str]) -> float:
    """Bits per character, one text and one token after the other."""
    nats = 0.0
    for text in texts:
        ids, state = [first_id(one.tokenizer), *map(int, one.tokenizer.encode(text))], None
        for read, target in pairwise(ids):
            with torch.no_grad():
                logits, state = one.model(torch.tensor([[read]]), state)
            nats -= float(torch.log_softmax(logits[0, -1].double(), 0)[target])
    return nats / math.log(2) / sum(map(len, texts))


@pytest.mark.parametrize("how", [{"arch": "gru"}, {"arch": "ngram"}, {"arch": "lstm", "level": "bpe"}])
def test_a_cost_is_that_of_every_written_character(store: RunStore, how: dict[str, str]) -> None:
    arch, more = how["arch"], {name: value for name, value in how.items() if name != "arch"}
    [run] = trained(store, arch, steps=8, **more)
    one = participant(run)
    texts = ["The cat sat.\n", "a", "and then the hen ran away" * 12]  # of unequal lengths, one beyond a block
    assert bits_per_character(one, texts) == pytest.approx(cost_by_hand(one, texts), rel=1e-5)


def test_what_is_unknown_costs_nothing_that_could_be_said(store: RunStore) -> None:
    [letters] = trained(store, "rnn", steps=2)
    [words] = trained(store, "rnn", steps=2, level="word", label="words")
    assert bits_per_character(participant(letters), ["The cat", "The é"]) is None
    assert bits_per_character(participant(words), ["the zebra sat"]) is None
    assert bits_per_character(participant(words), ["the cat sat"]) is not None
    assert bits_per_character(participant(letters), []) is bits_per_character(participant(letters), [""]) is None


def test_the_matrix_of_models_and_held_out_text(store: RunStore) -> None:
    long, brief = trained(store, "lstm", label="long", steps=80), trained(store, "gru", label="brief", steps=2)
    [ngram] = trained(store, "ngram", label="counts")
    [words] = trained(store, "rnn", steps=2, level="word", label="words")
    models = [participant(run) for run in (*long, *brief, ngram, words)]
    steps = list(measure(models, {"Held-out text": TEXT[-300:]}, SHORT))
    shares = [step.share for step in steps]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(set(shares)) == len(shares)
    assert [step.result is None for step in steps] == [True] * (len(steps) - 1) + [False]
    found = steps[-1].result
    assert found is not None and found["names"] == ["long", "brief", "counts", "words"]
    assert [row["writer"] for row in found["rows"]] == [*found["readers"], ""]
    for place in range(3):  # no reader predicts a text better than who wrote it
        bits = [cost for cost in found["rows"][place]["bits"][:3] if cost is not None]
        assert len(bits) == 3 and bits[place] == min(bits)
        assert found["rows"][place]["characters"] == 20 * 60
    assert found["rows"][1]["bits"][3] is None  # what hardly learned anything writes no words that others know
    assert found["rows"][4]["texts"] == 5 and found["rows"][4]["bits"][0] is not None
    assert finding(found).count("long") >= 1 and len(table(found)) == 5


def test_a_text_is_drawn_from_the_models_own_distribution(store: RunStore) -> None:
    [run] = trained(store, "lstm", steps=20)
    one = participant(run)
    texts = written(one, SHORT, 2, 3)
    plain = SampleConfig(length=60, temperature=1.0, top_k=0, top_p=1.0, seed=5)
    assert texts == generate_many(run.load_model(), one.tokenizer, [""] * 3, plain) and {*map(len, texts)} == {60}


def test_a_model_that_cannot_write_says_so(store: RunStore) -> None:
    [run] = trained(store, "rnn", steps=2)
    one = participant(run)
    with torch.no_grad():
        one.model.get_parameter("fc.bias").fill_(math.nan)
    with pytest.raises(MeasurementError, match="no finite numbers"):
        bits_per_character(one, ["the"])


def test_the_service_takes_held_out_text_of_every_kind(store: RunStore) -> None:
    runs = trained(store, "lstm", "ngram", steps=2)
    other = TEXT.replace("cat", "fox")
    [fox] = trained(store, "rnn", steps=2, text=other, label="fox")
    [*_, last] = Serving(store).cross(runs, {"length": 50}, ["A", "B"])
    assert last.result is not None and [row["name"] for row in last.result["rows"]] == ["A", "B", "Held-out text"]
    [*_, last] = Serving(store).cross([runs[0], fox], {"length": 50})
    assert last.result is not None
    assert [row["name"] for row in last.result["rows"][2:]] == [
        "Held-out text of pets.txt", "Held-out text of pets.txt (2)"
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="samples 5 is outside 20 to 64"):
        next(Serving(store).cross(runs, {"samples": 5}))
    with pytest.raises(ConfigError, match="twice"):
        next(Serving(store).cross([fox, fox]))
    with pytest.raises(ConfigError, match="to compare, not 0"):
        next(Serving(store).cross([]))


# --- made-up numbers -------------------------------------------------------------------------------------------------


def matrix(*rows: list[float | None], held: list[float | None] | None = None) -> Cross:
    names = ["LSTM", "GRU", "RNN"][: len(rows)]
    named = zip(names, rows, strict=True)
    made = [Row(writer=name, name=name, texts=20, characters=9, bits=bits) for name, bits in named]
    made += [Row(writer="", name="Held-out text", texts=20, characters=9, bits=held)] if held else []
    return Cross(readers=names, names=names, rows=made)


def test_the_sentence_has_the_numbers_of_the_matrix() -> None:
    assert finding(matrix([1.2, 1.5], [1.4, 1.3], held=[1.7, 1.8])) == (
        "Every model finds its own text cheapest, in bits per character: LSTM pays 1.20 for its own and 1.40 or more "
        "for another's; GRU pays 1.30 for its own and 1.50 or more for another's. "
        "Held-out text costs LSTM 1.70 and GRU 1.80."
    )
    assert finding(matrix([1.2, 1.1], [1.4, 1.3])) == (
        "Not every model finds its own text cheapest, in bits per character: LSTM pays 1.20 for its own and 1.40 or "
        "more for another's; GRU pays 1.30 for its own and 1.10 for that of LSTM."
    )
    assert finding(matrix([1.25], held=[1.75])) == (
        "Its own text costs LSTM 1.25 bits per character. Held-out text costs LSTM 1.75."
    )
    assert finding(matrix([None])) == ""
    assert finding(matrix([1.2, None], [None, 1.3])) == "Its own text costs LSTM 1.20 and GRU 1.30 bits per character."


def test_the_lowest_of_a_row_is_told_as_it_is_shown() -> None:
    def best(*bits: float | None) -> set[int]:
        return best_readers(Row(writer="", name="", texts=1, characters=1, bits=list(bits)))

    assert best(1.2, 1.5, None) == {0} and best(1.201, 1.199, 1.5) == {0, 1}
    assert best(1.2) == set() and best(None, 1.2) == set() and best() == set()


def test_passages_begin_with_lines_and_lie_all_over_the_text() -> None:
    text = "".join(f"{number:05} some line\n" for number in range(600))
    found = passages(text, 20, 160)
    assert len(found) == 20 and {*map(len, found)} == {160}
    assert all(piece in text for piece in found) and len(set(found)) == 20
    places = [text.index(piece) for piece in found]
    assert places == sorted(places) and places[0] == 0 and places[-1] == len(text) - 160
    assert all(text[place - 1] == "\n" for place in places[1:-1])
    assert passages("short", 20, 100) == ["short"] and len(passages("x" * 250, 20, 100)) == 2
    assert np.unique([len(piece) for piece in passages("no line end " * 100, 20, 50)]).tolist() == [50]
    assert CharTokenizer("ab").unknown("abc") == ["c"]
