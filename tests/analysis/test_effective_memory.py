"""Effective memory on models whose answer is known, and against windows that are read one by one."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from charlm.analysis import memory as module
from charlm.analysis.measurement import Measured, Subject
from charlm.analysis.memory import Memory, Settings, contexts_up_to, finding, measure, quantile, rows, target_blocks
from charlm.architectures import ARCHS
from charlm.config import ModelConfig
from charlm.errors import ConfigError, MeasurementError
from charlm.models import LanguageModel, State, build_model
from charlm.models.ngram import NGramModel
from charlm.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, WordTokenizer

V = 7
LETTERS = CharTokenizer.fit("abcdefg")
FEW = Settings(targets=300, longest=144)


class Copying(LanguageModel):
    """Expects the token k back; while there is none, all alike. Its state are the last k ids plus one, 0: none."""

    def __init__(self, back: int) -> None:
        super().__init__(ModelConfig(vocab_size=V))
        self.back, self.fed = back, list[Tensor]()
        self.register_buffer("place", torch.zeros(()))

    def initial_state(self, batch_size: int) -> State:
        return (torch.zeros(1, batch_size, self.back, dtype=torch.int64),)

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        self.fed.append(ids)
        [before] = self.initial_state(len(ids)) if state is None else state
        seen = torch.cat([before[0], ids + 1], dim=1)
        copied = seen[:, 1 : 1 + ids.shape[1]]  # after token t: the one at t + 1 - k
        return 20.0 * F.one_hot(copied, V + 1)[..., 1:].float(), (seen[None, :, -self.back :],)


def subject(model: LanguageModel, ids: np.ndarray) -> Subject:
    return Subject(model.eval(), LETTERS, "".join("abcdefg"[one] for one in ids), ids.astype(np.uint8))


def noise(tokens: int = 3000, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, V, tokens)


def repeating(period: int, tokens: int = 3000) -> np.ndarray:
    return np.resize(noise(period, seed=2), tokens)


def results(about: Subject, settings: Settings = FEW) -> list[Memory]:
    return [progress.result for progress in measure(about, settings) if progress.result]


def measured(about: Subject, settings: Settings = FEW) -> Memory:
    return results(about, settings)[-1]


def by_context(result: Memory) -> dict[int, Any]:
    return {row["context"]: row for row in result["rows"]}


def built(arch: str, **settings: Any) -> LanguageModel:
    options = {"hidden_size": 16, "num_layers": 2, "context": 12, "order": 4, **settings}
    model = build_model(ModelConfig(arch=arch, vocab_size=V, counted=600, **options), 4)
    if isinstance(model, NGramModel):
        model.count(noise(600, 9).astype(np.uint8))
    else:
        with torch.no_grad():
            model.get_parameter("fc.weight").mul_(5.0)  # so that losses differ
    return model.eval()


@pytest.mark.parametrize("back", [1, 2, 3, 4, 7, 13, 19, 40])
@pytest.mark.parametrize("beyond", ["none", "elsewhere"])
def test_a_model_that_copies_the_token_k_back_has_memory_k(back: int, beyond: str) -> None:
    settings = Settings(targets=300, longest=144, beyond=beyond)
    result = measured(subject(Copying(back), repeating(back, 3002)), settings)
    assert result["memory"] == back and result["settled"] and result["last_context"] == (144 if back > 34 else 89)
    for row in result["rows"]:
        assert (row["excess"] > 1.0) == (row["context"] < back)
        assert row["loss"] < 1e-6 or row["context"] < back
    if beyond == "none" and back > 1:
        assert by_context(result)[1]["loss"] == pytest.approx(math.log(V), abs=1e-5)


def test_a_memory_beyond_the_first_picture_is_found_by_longer_contexts() -> None:
    found = results(subject(Copying(70), repeating(70)), Settings(targets=300, longest=400))
    assert [one["last_context"] for one in found] == [89, 89, 144, 233, 233]
    assert [one["memory"] for one in found] == [None, None, 70, 70, 70]
    assert found[-1]["settled"] and not found[-3]["settled"]


def test_a_model_that_uses_nothing_for_long_and_then_more_is_found() -> None:
    """The contexts of the first picture gain nothing at all, however many there are of them."""
    found = measured(subject(Copying(120), repeating(120, 6000)), Settings(targets=300, longest=400))
    assert found["memory"] == 120 and found["settled"]
    nothing = by_context(found)
    assert nothing[1]["loss"] == pytest.approx(math.log(V)) and nothing[89]["excess"] == nothing[1]["excess"]


def test_an_ngrams_excess_is_exactly_0_from_order_minus_1_on() -> None:
    for order in (2, 3, 5):
        model = built("ngram", order=order)
        about = subject(model, noise())
        targets = np.concatenate(target_blocks(200, 3000, 300))
        contexts = [1, 2, 3, 4, 5, 8, 34, 89]
        losses = np.empty((len(contexts), len(targets)))
        assert list(module._Windows(model, about.ids, "none").read(targets, contexts, losses))[-1] == 1.0
        for context, some in zip(contexts, losses, strict=True):
            assert np.array_equal(some, losses[-1]) == (context >= order - 1)
        table = by_context(measured(about))
        assert all(table[k]["excess"] == 0 == table[k]["stderr"] for k in table if k >= order - 1)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_on_a_source_that_needs_order_minus_1_tokens_an_ngram_remembers_as_many(order: int) -> None:
    """Each token is the sum of the last order - 1, so that fewer of them say nothing; one in ten is noise."""
    random = np.random.default_rng(3)
    source = list(random.integers(0, V, order))
    while len(source) < 33_000:
        follows = sum(source[1 - order :]) % V
        source.append(int(random.integers(0, V)) if random.random() < 0.1 else follows)
    ids = np.array(source)
    model = build_model(ModelConfig(arch="ngram", vocab_size=V, order=order, counted=30_000))
    assert isinstance(model, NGramModel)
    model.count(ids[:30_000].astype(np.uint8))
    result = measured(subject(model, ids[30_000:]))
    assert result["memory"] == order - 1
    assert all((row["excess"] > 0.5) == (row["context"] < order - 1) for row in result["rows"])


@pytest.mark.parametrize("arch", ARCHS)
def test_every_loss_is_that_of_a_window_read_by_itself(arch: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 5)
    monkeypatch.setattr(module, "STEPS", 4)
    model, ids = built(arch), noise(80)
    targets, contexts = np.array([30, 31, 32, 33, 36, 50, 79]), [1, 2, 3, 7, 11, 30]
    losses = np.full((len(contexts), len(targets)), np.nan)
    windows = module._Windows(model, ids, "none")
    shares = list(windows.read(targets, contexts, losses))
    assert shares == sorted(shares) and shares[-1] == 1.0
    for (row, context), (column, target) in itertools.product(enumerate(contexts), enumerate(targets)):
        with torch.no_grad():
            logits, _ = model(torch.from_numpy(ids[None, target - context : target]))
        alone = F.cross_entropy(logits[0, -1:].double(), torch.from_numpy(ids[target : target + 1]))
        assert losses[row, column] == pytest.approx(float(alone), abs=2e-5)


def test_neighbouring_targets_share_windows() -> None:
    model, ids, settings = Copying(3), noise(), Settings(targets=400)
    [block, _] = target_blocks(200, 2400, 400)
    losses, every = np.empty((89, 200)), range(1, 90)
    windows = module._Windows(model, ids, "none")
    for _ in windows.read(block, every, losses):
        pass
    read = sum(ids.numel() for ids in model.fed)
    assert windows.cost(block, every) <= read < 1.3 * windows.cost(block, every) < 0.04 * 200 * sum(every) * 2
    assert windows.cost(block, [89]) == 200 * 89 and settings.targets == 400


def test_excess_and_standard_error_are_those_of_paired_losses_by_block() -> None:
    model, ids = built("rnn"), noise(5200)
    result = measured(subject(model, ids), FEW)
    first = result["limit"] + module.BEYOND
    blocks = target_blocks(first, 5200, 300)
    assert len(blocks) == 4 and result["targets"] == 300
    assert all(block[0] >= first + 1000 * at for at, block in enumerate(blocks))
    pairs = np.empty((2, 300))
    for _ in module._Windows(model, ids, "none").read(np.concatenate(blocks), [2, result["last_context"]], pairs):
        pass
    difference, row = pairs[0] - pairs[1], by_context(result)[2]
    assert row["loss"] == pytest.approx(pairs[0].mean(), abs=1e-5)
    assert row["excess"] == pytest.approx(difference.mean(), abs=1e-5)
    means = [part.mean() for part in np.split(difference, 4)]  # of equal blocks the usual formula
    assert row["stderr"] == pytest.approx(np.std(means, ddof=1) / 2, rel=1e-3)
    last = result["rows"][-1]
    assert last["excess"] == 0 == last["stderr"] and last["context"] == result["last_context"]


def test_memory_is_bisected_between_contexts_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    for threshold in (0.3, 0.05, 0.01):
        monkeypatch.setattr(module, "LITTLE", threshold)
        result = measured(subject(built("gru"), noise(5200)), FEW)
        table, memory = by_context(result), result["memory"]
        assert memory and table[memory]["excess"] < threshold
        assert memory == 1 or table[memory - 1]["excess"] >= threshold
        assert all(row["excess"] < threshold for row in result["rows"] if row["context"] >= memory)
        assert set(contexts_up_to(result["last_context"])) <= table.keys()


def test_the_first_picture_has_256_targets_and_contexts_up_to_89_then_all_targets() -> None:
    found = results(subject(built("lstm"), noise(9000)), Settings(targets=1000))
    assert 256 <= found[0]["targets"] < 256 + 7 and {one["targets"] for one in found[1:]} == {1000}  # of 7 blocks
    assert found[0]["last_context"] == 89 and found[0]["tokens"] == 9000
    assert [row["context"] for row in found[0]["rows"]][:3] == [1, 2, 3]


def test_progress_rises_to_1_and_stops_where_it_is_no_longer_asked() -> None:
    model = Copying(5)
    shares = [progress.share for progress in measure(subject(model, repeating(5)), FEW)]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) > 20
    model.fed.clear()
    asked = measure(subject(model, repeating(5)), FEW)
    assert next(asked).result is None
    read = len(model.fed)
    asked.close()  # type: ignore[attr-defined]
    assert len(model.fed) == read == 1


def test_contexts_grow_until_the_text_or_the_setting_ends_them() -> None:
    class Endless(Copying):
        """Each token more of context lowers the loss, to ln(1 + 6 / sqrt k)."""

        def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
            before = torch.zeros(1, len(ids), 1) if state is None else state[0]
            seen = before[0] + torch.arange(1, ids.shape[1] + 1)  # (B, T)
            return torch.stack([seen.log() / 2, *[torch.zeros_like(seen)] * (V - 1)], dim=2), (seen[None, :, -1:],)

    zeros = np.zeros(3000, np.int64)
    model = Endless(1)
    result = measured(subject(model, zeros), Settings(targets=64, longest=250))
    assert result["last_context"] == 233 and not result["settled"] and result["limit"] == 250
    short = measured(subject(model, zeros[:700]), Settings(targets=64))
    assert short["limit"] == 318 and short["last_context"] == 233 and short["rows"][0]["stderr"] is None
    assert not short["settled"]  # one block has no standard error


def test_a_memory_that_is_not_reached_is_none() -> None:
    result = measured(subject(Copying(60), repeating(60)), Settings(targets=100, longest=89))
    assert result["memory"] is None and result["last_context"] == 89
    assert finding([Measured("LSTM", "lstm", result)]) == "The LSTM uses more than 55 characters of context."


@pytest.mark.parametrize("beyond", ["shuffled", "elsewhere"])
def test_what_stands_before_the_context_is_the_texts_own(beyond: str) -> None:
    model, ids = Copying(2), noise(2000)
    windows = module._Windows(model, ids, beyond)
    targets = np.array([300, 301, 1500])
    losses = np.empty((1, 3))
    for _ in windows.read(targets, [8], losses):
        pass
    before, window = model.fed
    assert torch.equal(window, torch.from_numpy(np.stack([ids[at - 8 : at] for at in targets])))
    assert before.shape == (3, module.BEYOND)
    for row, target in zip(before.numpy(), targets, strict=True):
        own = ids[target - 8 - module.BEYOND : target - 8]
        assert not np.array_equal(row, own)
        if beyond == "shuffled":
            assert np.array_equal(np.sort(row), np.sort(own))
        else:
            [place] = [at for at in range(2000 - 63) if np.array_equal(ids[at : at + 64], row)]
            assert abs(place - target) > 500


def test_the_order_of_the_far_context_counts_for_a_model_that_copies_and_only_then() -> None:
    """Shuffled, a wrong token is expected: worse than none. What is nearer than k changes nothing."""
    about = subject(Copying(8), repeating(8))
    none, shuffled = (by_context(measured(about, Settings(targets=300, beyond=how))) for how in ("none", "shuffled"))
    assert shuffled[5]["loss"] > 2 * none[5]["loss"] and shuffled[8]["loss"] == none[8]["loss"]


@pytest.mark.parametrize("arch", ARCHS)
def test_every_architecture_has_a_memory(arch: str) -> None:
    for beyond in ("none", "shuffled", "elsewhere"):
        result = measured(subject(built(arch), noise(2600)), Settings(targets=64, longest=89, beyond=beyond))
        assert result["memory"] is not None and len(rows(result)) >= 10
        assert all(math.isfinite(row["loss"]) for row in result["rows"]) and result["beyond"] == beyond


def test_words_and_subwords_are_measured_like_characters() -> None:
    story = "a cat sat on the mat and the dog ran to the old red barn by the mill . " * 40
    tokenizers: list[Tokenizer] = [WordTokenizer.fit(story, "lower"), BPETokenizer.fit(story, 280)]
    for tokenizer in tokenizers:
        config = ModelConfig(level=tokenizer.level, vocab_size=tokenizer.vocab_size, hidden_size=8, embed_dim=4)
        about = Subject(build_model(config, 2).eval(), tokenizer, story, tokenizer.encode(story))
        result = measured(about, Settings(targets=64, longest=89))
        assert result["tokens"] == len(about.ids) and result["rows"][0]["loss"] > 1


def test_a_large_vocabulary_has_few_logits_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = built("gru"), torch.from_numpy(noise(60).reshape(3, 20))
    targets = ids.roll(-1, 1)
    targets[1, 3:9] = -1
    whole, state = model.token_losses(ids, targets)
    monkeypatch.setattr("charlm.models.base.MOST_LOGITS", 5 * V)
    parts, after = model.token_losses(ids, targets)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(whole.sum(), model.loss(ids, targets)[0])
    assert len(whole) == 54 and torch.equal(state[0], after[0])


def test_what_cannot_be_measured_is_said_in_one_sentence() -> None:
    with pytest.raises(MeasurementError, match="at least 400 tokens that the model knows, and this one has 399"):
        next(measure(subject(Copying(2), noise(399)), FEW))
    model = built("lstm")
    with torch.no_grad():
        model.get_parameter("fc.bias")[0] = torch.nan
    with pytest.raises(MeasurementError, match="no finite numbers"):
        list(measure(subject(model, noise(600)), FEW))
    for wrong in ({"targets": 10}, {"longest": 2000}, {"beyond": "far"}):
        with pytest.raises(ConfigError):
            Settings(**wrong)


def found_of(memory: int | None, label: str = "LSTM", unit: str = "characters", exact: bool = True) -> Measured[Memory]:
    before = [{"context": memory - 1}] if exact and memory else []
    result: Any = {"memory": memory, "rows": [*before, {"context": 610}, {"context": 987}]}
    return Measured(label, "lstm", result, unit=unit)


def test_the_finding_names_every_model_with_its_number() -> None:
    assert finding([found_of(27), found_of(13, "RNN")]) == "The LSTM uses 27 characters of context, the RNN 13."
    assert finding([found_of(1)]) == "The LSTM uses 1 character of context."
    assert finding([found_of(1000, "my run"), found_of(None, "GRU")]) == (
        "my run uses 1,000 characters of context, the GRU more than 610."
    )
    assert finding([found_of(27), found_of(8, "words", "words"), found_of(9, "n-gram")]) == (
        "The LSTM uses 27 characters of context, words 8 words, the n-gram 9."
    )
    assert finding([found_of(55, exact=False)]) == "The LSTM uses at most 55 characters of context."
    assert finding([]) == "Nothing was measured."


def test_students_quantile_is_that_of_the_tables() -> None:
    for freedom, table in ((1, 12.706), (2, 4.303), (3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042), (63, 1.998)):
        assert quantile(freedom) == pytest.approx(table, rel=0.03)
    assert quantile(0) == math.inf
