"""Compiled steps: the model's forward pass but for weights in 16 bits, and the same for a row whatever its company."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from charlm.config import ModelConfig
from charlm.generation.compiled import CompiledModel, can_compile, compile_model
from charlm.generation.sampling import NO_TOKEN, REMEMBERED, SamplingParams
from charlm.models import LanguageModel, build_model
from charlm.models.kernels.jit import is_wanted
from tests.patience import patience

ROUNDING = 5e-4  # of logits, from weights in 16 bits
compiled_only = pytest.mark.skipif(not is_wanted(), reason="compiled only")
ARCHS = [("lstm", "tanh"), ("gru", "tanh"), ("rnn", "tanh"), ("rnn", "relu"), ("transformer", ""), ("mingru", "")]
SHAPES = [
    {"num_layers": 1, "hidden_size": 16},
    {"num_layers": 2, "hidden_size": 9},
    {"num_layers": 3, "hidden_size": 20, "embed_dim": 7, "num_heads": 2},
    {"num_layers": 2, "hidden_size": 24, "embed_dim": 24, "tie_weights": True},
]


def built(arch: str = "lstm", nonlinearity: str = "", **shape: int) -> LanguageModel:
    """A new model in evaluation mode; a Transformer attends to 12 tokens unless `context` says otherwise."""
    attending = {"context": 12} if arch == "transformer" else {}
    shape = {**attending, **shape}
    config = ModelConfig(
        arch=arch, nonlinearity=nonlinearity or "tanh", vocab_size=19, dropout=0.3, init="torch", **shape
    )
    return build_model(config, 5).eval()


def drawn(rows: int, temperature: float, top_k: int = 0, penalty: float = 1.0) -> SamplingParams:
    numbers = (temperature, top_k, 1.0, 0.0, penalty)
    never = np.full((rows, 1), NO_TOKEN)
    return SamplingParams(*(np.full(rows, number) for number in numbers), never, never[:, 0])


def unread(rows: int) -> np.ndarray:
    return np.full((rows, REMEMBERED), NO_TOKEN)


def walked(stepper: CompiledModel, ids: np.ndarray) -> np.ndarray:
    """Ids (B, T) -> logits (B, T, V), step by step."""
    state, logits = stepper.initial_state(len(ids)), []
    for column in ids.T:
        one, state = stepper.logits(column, state)
        logits.append(one.copy())
    return np.stack(logits, axis=1)


def assert_walked_as_forward(model: LanguageModel, ids: np.ndarray) -> None:
    """Step by step the logits of ids (B, T) are those of the model's forward pass."""
    with torch.no_grad():
        expected = model(torch.from_numpy(ids))[0].numpy()
    assert walked(compile_model(model), ids) == pytest.approx(expected, abs=ROUNDING)


@compiled_only
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("arch", "nonlinearity"), ARCHS)
def test_logits_are_the_forward_pass(arch: str, nonlinearity: str, shape: dict[str, int]) -> None:
    if arch == "transformer" and shape["hidden_size"] % 2:
        pytest.skip("a Transformer's heads have pairs of units")
    model = built(arch, nonlinearity, **shape)
    assert_walked_as_forward(model, np.random.default_rng(0).integers(0, 19, (7, 30)))


@compiled_only
@pytest.mark.parametrize(("arch", "nonlinearity"), ARCHS)
def test_a_row_is_the_same_alone_and_in_company(arch: str, nonlinearity: str) -> None:
    stepper = compile_model(built(arch, nonlinearity, hidden_size=40, num_layers=2))
    ids = np.random.default_rng(1).integers(0, 19, (9, 20))
    together = walked(stepper, ids)
    for row in range(9):
        assert np.array_equal(walked(stepper, ids[row : row + 1])[0], together[row])
    assert np.array_equal(walked(stepper, ids[2:4]), together[2:4])
    assert np.array_equal(walked(stepper, ids[::-1][:5]), together[::-1][:5])


@compiled_only
@pytest.mark.parametrize("places", [1, 2, 50])
def test_a_ring_of_keys_and_values_goes_round_as_often_as_the_text_is_long(places: int) -> None:
    model = built("transformer", hidden_size=16, num_layers=2, context=places)
    assert_walked_as_forward(model, np.random.default_rng(2).integers(0, 19, (2, 1500)))


@compiled_only
@pytest.mark.parametrize(("arch", "nonlinearity"), ARCHS)
def test_after_a_border_nothing_is_left_of_what_came_before(arch: str, nonlinearity: str) -> None:
    stepper, border = compile_model(built(arch, nonlinearity, hidden_size=16, num_layers=2)), 7
    listed = drawn(1, 0.0)._replace(border=np.array([border]))
    rest = np.array([border, 3, 4, NO_TOKEN, NO_TOKEN, NO_TOKEN])
    given, draws = np.concatenate([[5, 6, 8], rest])[None], np.zeros((1, 9))
    long, end = stepper.decode(listed, np.array([2]), given, draws, stepper.initial_state(1), unread(1))
    fresh = stepper.decode(listed, rest[:1], given[:, 4:], draws[:, 4:], stepper.initial_state(1), unread(1))
    assert np.array_equal(long[:, 4:], fresh[0])
    again = [stepper.logits(long[:, -1], state)[0] for state in (end, fresh[1])]
    assert np.array_equal(*again)


@compiled_only
def test_a_class_derived_from_a_model_writes_by_its_own_forward_pass() -> None:
    from charlm.models.mingru import MinGRUModel

    class Own(MinGRUModel):
        pass

    assert not can_compile(Own(ModelConfig(arch="mingru", vocab_size=19, hidden_size=16)))


@compiled_only
def test_what_is_given_is_read_and_what_is_chosen_is_read_too() -> None:
    model = built("gru", hidden_size=16, num_layers=2)
    stepper, greedy = compile_model(model), drawn(2, 0.0)
    ids, given = np.array([3, 4]), np.full((2, 8), NO_TOKEN)
    given[0, :3] = 5, 6, 7
    written, state = stepper.decode(greedy, ids, given, np.zeros((2, 8)), stepper.initial_state(2), unread(2))
    assert written[0, :3].tolist() == [5, 6, 7]
    for row, start in enumerate(ids):
        read = torch.tensor([[start, *written[row, :-1]]])
        with torch.no_grad():
            logits, end = model(read)
        first = 3 if row == 0 else 0
        assert logits[0, first:].argmax(1).tolist() == written[row, first:].tolist()
        assert state[0][0, :, row] == pytest.approx(end[0][:, 0].numpy(), abs=ROUNDING)


@compiled_only
def test_it_remembers_what_it_read_last_and_no_more() -> None:
    """A penalty that rules all recent tokens out: none comes back before it is forgotten."""
    model = built(hidden_size=16, num_layers=1)
    with torch.no_grad():
        model.get_parameter("fc.bias").add_(100.0)
    stepper, memory = compile_model(model), 5
    given = np.full((1, 40), NO_TOKEN)
    given[0, :2] = 7, 8
    recent = np.array([[NO_TOKEN, NO_TOKEN, 3, 4, 5]])
    read = np.array([6]), given, np.zeros((1, 40)), stepper.initial_state(1), recent
    written, _ = stepper.decode(drawn(1, 0.0, penalty=5.0), *read)
    whole = [3, 4, 5, 6, *written[0]]
    assert whole[3:6] == [6, 7, 8] and recent.tolist() == [[NO_TOKEN, NO_TOKEN, 3, 4, 5]]
    assert all(whole[place] not in whole[max(0, place - memory) : place] for place in range(6, len(whole)))
    assert len(set(whole[-20:])) == memory + 1


@compiled_only
def test_rows_beyond_numbers_stop_alone() -> None:
    model = built("rnn", "relu", hidden_size=16, num_layers=1)
    with torch.no_grad():
        weight = model.get_parameter("rnn.weight_ih_l0")  # (H, V)
        weight[:, 3] = torch.inf
    plan = drawn(2, 1.0, top_k=1)
    stepper = compile_model(model)
    given = np.full((2, 5), NO_TOKEN)
    given[:, 0] = 3, 4
    written, _ = stepper.decode(plan, np.array([1, 1]), given, np.zeros((2, 5)), stepper.initial_state(2), unread(2))
    assert written[0].tolist() == [3] + [NO_TOKEN] * 4
    alone, _ = stepper.decode(plan, np.array([1]), given[1:], np.zeros((1, 5)), stepper.initial_state(1), unread(1))
    assert NO_TOKEN not in written[1] and np.array_equal(written[1], alone[0])


@compiled_only
def test_later_changes_of_the_model_do_not_reach_it() -> None:
    for shape in SHAPES[1:3]:
        model = built(**shape)
        stepper, ids = compile_model(model), np.arange(19)[:, None]
        before = walked(stepper, ids)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(1.0)
        assert np.array_equal(walked(stepper, ids), before)
        assert not np.allclose(walked(compile_model(model), ids), before)


ASIDE = """if True:
    import json, torch
    from charlm.generation.compiled import can_compile
    from charlm.generation import generate
    from charlm.config import SampleConfig
    from charlm.tokenizers import CharTokenizer
    from tests.models.kernels.test_decode import built
    model, ids = built("lstm", hidden_size=16, num_layers=2), torch.arange(19)[None]
    tokenizer = CharTokenizer.fit("abcdefghijklmnopqrs")
    text = "".join(generate(model, tokenizer, "abc", SampleConfig(length=30, greedy=True)))
    with torch.no_grad():
        print(json.dumps([can_compile(model), model(ids)[0][0].tolist(), text]))
"""


@compiled_only
def test_without_compiled_loops_it_is_the_same_within_rounding() -> None:
    from charlm.config import SampleConfig
    from charlm.generation import generate
    from charlm.tokenizers import CharTokenizer

    env = {**os.environ, "CHARLM_COMPILE": "0"}
    run = subprocess.run(
        [sys.executable, "-c", ASIDE], capture_output=True, text=True, env=env, check=True, timeout=patience(120)
    )
    stepped, logits, text = json.loads(run.stdout)
    model = built("lstm", hidden_size=16, num_layers=2)
    assert can_compile(model) and not stepped
    assert walked(compile_model(model), np.arange(19)[None])[0] == pytest.approx(np.array(logits), abs=ROUNDING)
    tokenizer = CharTokenizer.fit("abcdefghijklmnopqrs")
    assert "".join(generate(model, tokenizer, "abc", SampleConfig(length=30, greedy=True))) == text
