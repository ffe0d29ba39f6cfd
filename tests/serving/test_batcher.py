"""The thread that writes: batches, turns, readers who leave or fall behind, errors, and its end."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from charlm.config import ModelConfig, SampleConfig
from charlm.generation import Stream, generate
from charlm.models import build_model
from charlm.serving import batcher
from charlm.serving.batcher import GeneratedText, GenerationRequest, GenerationWorker, OpenedModel
from charlm.tokenizers import CharTokenizer
from tests.patience import patience
from tests.tiny_runs import wait_for

TOKENIZER = CharTokenizer.fit("abc \n")
MODEL = build_model(ModelConfig(vocab_size=TOKENIZER.vocab_size, hidden_size=8), 3)


class FakeWriter:
    """Writes the same token over and over, and notes how many texts and tokens each call was for."""

    def __init__(self, name: str = "", calls: list[tuple[str, int, int]] | None = None) -> None:
        self.name, self.calls = name, [] if calls is None else calls
        self.called, self.allowed = threading.Event(), threading.Event()  # once called, it waits for the second
        self.allowed.set()

    def decode(self, streams: Sequence[Stream], steps: int) -> list[np.ndarray]:
        self.called.set()
        assert self.allowed.wait(patience(60))
        self.calls.append((self.name, len(streams), steps))
        return [stream.take(np.zeros(steps, np.int64)) for stream in streams]


def opened(writer: FakeWriter | None = None) -> OpenedModel:
    made = OpenedModel(MODEL, TOKENIZER)
    if writer:
        made.__dict__["decoder"] = writer
    return made


def writing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "charlm-writing"]


@pytest.fixture
def writing() -> Iterator[GenerationWorker]:
    made = GenerationWorker(lambda: False)
    yield made
    made.close()
    wait_for(lambda: not writing_threads(), "for the thread to end")


def finish(writing: GenerationWorker, *texts: GenerationRequest) -> list[str]:
    """Read to the end."""
    wait_for(lambda: writing.wait(texts, lambda: False, 0.005) or all(text.result.done for text in texts), "for texts")
    return [text.result.text for text in texts]


def alone(prompt: str, config: SampleConfig) -> str:
    return "".join(generate(MODEL, TOKENIZER, prompt, config))


def test_twenty_readers_of_one_model_get_each_their_own(writing: GenerationWorker) -> None:
    model = opened()
    configs = [SampleConfig(length=30 + 7 * seed, seed=seed, top_k=seed % 4) for seed in range(20)]
    prompts = ["abc" * (seed % 5) for seed in range(20)]
    texts = [
        writing.submit(model, GeneratedText(prompt), config) for prompt, config in zip(prompts, configs, strict=True)
    ]
    assert finish(writing, *texts) == [alone(prompt, config) for prompt, config in zip(prompts, configs, strict=True)]
    assert all(text.seconds > 0 and not text.result.error for text in texts) and not model.requests


def test_texts_of_one_model_share_a_batch_and_join_midway(writing: GenerationWorker) -> None:
    writer = FakeWriter()
    writer.allowed.clear()
    model = opened(writer)
    first = writing.submit(model, GeneratedText(""), SampleConfig(length=1000))
    assert writer.called.wait(patience(60))  # it writes the first one alone
    others = [writing.submit(model, GeneratedText(""), SampleConfig(length=10)) for _ in range(3)]
    writer.allowed.set()
    assert [len(text) for text in finish(writing, first, *others)] == [1000, 10, 10, 10]
    assert {rows for _, rows, _ in writer.calls} >= {1, 4}


def test_a_search_takes_the_time_of_as_many_texts_as_it_has_beams(writing: GenerationWorker) -> None:
    steps = []
    for beams in (1, 8):
        writer = FakeWriter()
        model = opened(writer)
        model.token_seconds = batcher.TURN_SECONDS / 16
        finish(writing, writing.submit(model, GeneratedText(""), SampleConfig(length=64, beams=beams)))
        steps.append(writer.calls[0][2])
    assert steps == [16, 2]


def test_searches_and_drawn_texts_share_a_model(writing: GenerationWorker) -> None:
    configs = [SampleConfig(length=50, seed=seed, beams=1 + seed % 3, stop=("cc",)) for seed in range(6)]
    model = opened()
    texts = [writing.submit(model, GeneratedText("ab"), config) for config in configs]
    assert finish(writing, *texts) == [alone("ab", config) for config in configs]


def test_what_does_not_fit_waits_first_come_first_served(
    writing: GenerationWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "MOST_ROWS", 2)
    writer = FakeWriter()
    writer.allowed.clear()
    model = opened(writer)
    texts = [writing.submit(model, GeneratedText(""), SampleConfig(length=5 + seed)) for seed in range(5)]
    writer.allowed.set()
    finish(writing, *texts)
    assert max(rows for _, rows, _ in writer.calls) == 2
    assert [len(text.result.text) for text in texts] == [5, 6, 7, 8, 9]


def test_models_take_turns(writing: GenerationWorker) -> None:
    calls: list[tuple[str, int, int]] = []
    one, other = FakeWriter("one", calls), FakeWriter("other", calls)
    one.allowed.clear()
    texts = [writing.submit(opened(writer), GeneratedText(""), SampleConfig(length=1000)) for writer in (one, other)]
    one.allowed.set()
    finish(writing, *texts)
    assert [name for name, _, _ in calls[:6]] == ["one", "other"] * 3


def test_a_text_nobody_reads_any_more_is_left(writing: GenerationWorker) -> None:
    model, writer = opened(FakeWriter()), FakeWriter()
    gone = writing.submit(model, GeneratedText(""), SampleConfig(length=100_000))
    stays = writing.submit(opened(writer), GeneratedText(""), SampleConfig(length=200))
    wait_for(lambda: gone.result.text)
    writing.cancel([gone])
    assert gone.result.done and not model.requests and len(gone.result.text) < 100_000
    assert len(finish(writing, stays)[0]) == 200


def test_who_falls_behind_is_waited_for(writing: GenerationWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher, "AHEAD", 50)
    monkeypatch.setattr(batcher, "IDLE_SECONDS", 0.01)
    model = opened(FakeWriter())
    slow, quick = (writing.submit(model, GeneratedText(""), SampleConfig(length=2000)) for _ in range(2))
    assert len(finish(writing, quick)[0]) == 2000
    assert 50 <= len(slow.result.text) < 50 + batcher.MOST_STEPS and not slow.result.done
    wait_for(lambda: not writing_threads(), "for the thread to end")
    assert len(finish(writing, slow)[0]) == 2000


def test_what_fails_in_one_model_is_its_own(writing: GenerationWorker) -> None:
    writer = FakeWriter()
    writer.decode = lambda streams, steps: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    broken, sound = opened(writer), opened()
    texts = [writing.submit(model, GeneratedText("ab"), SampleConfig(length=100)) for model in (broken, sound, broken)]
    finish(writing, *texts)
    assert [text.result.error for text in texts] == ["division by zero", "", "division by zero"]
    assert texts[1].result.text == alone("ab", SampleConfig(length=100))


def test_the_thread_ends_when_nothing_is_to_be_written(
    writing: GenerationWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "IDLE_SECONDS", 0.01)
    assert not writing_threads()
    for _ in range(2):
        finish(writing, writing.submit(opened(), GeneratedText("a"), SampleConfig(length=20)))
        wait_for(lambda: not writing_threads(), "for the thread to end")


def test_beside_a_training_it_writes_a_little_at_a_time() -> None:
    answers = [True] * 5 + [False] * 1000
    writing, writer = GenerationWorker(lambda: answers.pop(0)), FakeWriter()
    assert len(finish(writing, writing.submit(opened(writer), GeneratedText(""), SampleConfig(length=1000)))[0]) == 1000
    writing.close()
    steps = [steps for _, _, steps in writer.calls]
    assert max(steps[:5]) <= batcher.PACED_STEPS < max(steps)


def test_a_question_that_fails_does_not_end_the_thread() -> None:
    writing = GenerationWorker(lambda: bool(1 / 0))
    text = writing.submit(opened(FakeWriter()), GeneratedText(""), SampleConfig(length=10))
    finish(writing, text)
    assert text.result.error == "division by zero"
    writing.close()


def test_closed_is_closed(writing: GenerationWorker) -> None:
    writer = FakeWriter()
    text = writing.submit(opened(writer), GeneratedText(""), SampleConfig(length=100_000))
    wait_for(lambda: text.result.text)
    writing.close()
    assert text.result.done and text.result.error == batcher.CLOSED
    late = writing.submit(opened(writer), GeneratedText(""), SampleConfig(length=10))
    assert late.result.done and late.result.error == batcher.CLOSED


ENDING = """if True:
    from charlm.config import SampleConfig
    from charlm.runs.store import RunStore
    from charlm.serving import Serving
    serving = Serving(RunStore())
    text = serving.generate(serving.store.list()[-1], "The ", SampleConfig(length=100_000))
    print(any(draft.text for draft in text))  # the first may come before the first character
"""


@pytest.mark.slow
def test_the_program_ends_while_it_writes() -> None:
    run = subprocess.run([sys.executable, "-c", ENDING], capture_output=True, text=True, timeout=patience(120))
    assert (run.returncode, run.stdout, run.stderr) == (0, "True\n", "")


def test_after_a_turn_that_took_very_long_beside_a_training_it_rests_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not several times as long: the first turn may have been a minute of compiling."""
    monkeypatch.setattr(batcher, "CORE_SHARE", 1e-6)  # days of rest for each second
    made, writer = GenerationWorker(lambda: True), FakeWriter()
    text = made.submit(opened(writer), GeneratedText(""), SampleConfig(length=batcher.PACED_STEPS + 1))
    finish(made, text)
    assert len(writer.calls) >= 2 and len(text.result.text) == batcher.PACED_STEPS + 1
    made.close()


def test_what_is_compiled_at_the_first_token_is_no_turn_of_a_text(
    writing: GenerationWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = FakeWriter()
    monkeypatch.setattr("charlm.generation.decoder_for", lambda model: writer)
    text = writing.submit(OpenedModel(MODEL, TOKENIZER), GeneratedText(""), SampleConfig(length=10))
    finish(writing, text)
    assert writer.calls[0] == ("", 1, 1) and len(text.result.turns) == len(writer.calls) - 1
    assert len(text.result.text) == 10


def test_a_reader_wakes_when_its_own_text_begins_or_ends(writing: GenerationWorker) -> None:
    """Not at every turn of every other text."""
    asked = {"mine": 0}
    writer, other = FakeWriter(), FakeWriter()
    writer.allowed.clear()
    mine = writing.submit(opened(writer), GeneratedText(""), SampleConfig(length=10))

    def is_done() -> bool:
        asked["mine"] += 1
        return mine.result.done

    reader = threading.Thread(target=writing.wait, args=([mine], is_done, 60))
    reader.start()
    wait_for(lambda: asked["mine"], "for the reader")
    writer.allowed.set()
    finish(writing, writing.submit(opened(other), GeneratedText(""), SampleConfig(length=3000)))
    reader.join(patience(60))
    assert mine.result.done and asked["mine"] <= 4


def test_the_pace_of_a_text_is_known_by_its_turns() -> None:
    request = GenerationRequest(opened(), Stream.start(TOKENIZER, "a", SampleConfig()), GeneratedText("a"))
    for turn in range(200):
        request.add("ab" if turn else "abc", 0.5)
    turns = request.result.turns
    assert len(turns) <= batcher.MOST_TURNS and {chars / seconds for chars, seconds in turns[1:]} == {4.0}
    assert sum(chars for chars, _ in turns) == 401 == len(request.result.text)
    assert sum(seconds for _, seconds in turns) == 100.0 == request.seconds
