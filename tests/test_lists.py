"""Models of lists: every item is learned, scored and written from the zero state, whatever the architecture."""

import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charlm.analysis.new_items import checker, write_items
from charlm.cli import main
from charlm.config import CorpusConfig, ModelConfig, SampleConfig, TrainConfig
from charlm.data.corpus import corpus_from_text
from charlm.data.dataset import dataset_of, tokenizer_for
from charlm.data.item_batches import ItemDataset
from charlm.errors import ConfigError, MeasurementError
from charlm.generation import generate
from charlm.generation.generate import CompiledDecoder, TorchDecoder, decoder_for
from charlm.generation.sampling import choose
from charlm.generation.streams import Stream
from charlm.models import LanguageModel, build_model
from charlm.runs.store import RunStore
from charlm.tokenizers import Tokenizer
from charlm.training.evaluate import evaluate
from charlm.training.train import TrainState, train

RNG = random.Random(3)
NAMES = ["".join(RNG.choice("bdfgklmnrst") + RNG.choice("aeiou") for _ in range(RNG.randint(1, 4))) for _ in range(400)]
LIST = CorpusConfig(items="line", val_fraction=0.2)
CONFIG = TrainConfig(batch_size=8, seq_len=6, steps=80, warmup_steps=2, eval_every=40)
ARCHS = ["lstm", "gru", "rnn", "mingru", "transformer", "ngram"]
NEURAL = ARCHS[:-1]


def parts(arch: str) -> tuple[LanguageModel, ItemDataset, Tokenizer]:
    corpus = corpus_from_text("\n".join(NAMES), "names", LIST)
    base = ModelConfig(hidden_size=16, num_layers=1, dropout=0.0)
    tokenizer = tokenizer_for(corpus, base, LIST)
    dataset = dataset_of(tokenizer, corpus, CONFIG, LIST)
    assert isinstance(dataset, ItemDataset)
    tokenizer.border = dataset.border
    config = base.resolve_for(arch, tokenizer.vocab_size, dataset.train, CONFIG.seq_len)
    return build_model(config, 7), dataset, tokenizer


def trained(arch: str) -> tuple[LanguageModel, ItemDataset, Tokenizer]:
    model, dataset, tokenizer = parts(arch)
    losses = [row.val_loss for row in train(model, dataset, CONFIG) if row.val_loss is not None]
    assert losses[-1] < math.log(tokenizer.vocab_size) - 0.2
    return model.eval(), dataset, tokenizer


@pytest.mark.numeric
@pytest.mark.parametrize("arch", ARCHS)
def test_each_item_is_scored_from_the_zero_state(arch: str) -> None:
    model, dataset, tokenizer = trained(arch)
    items = tokenizer.decode(dataset.val_ids).split("\n")[:-1]
    total, tokens = 0.0, 0
    for item in items:
        ids = tokenizer.encode(f"\n{item}\n").astype(np.int64)
        with torch.no_grad():
            logits, _ = model(torch.from_numpy(ids[None, :-1]))
        logs = logits[0].double().log_softmax(-1)
        total -= float(logs[torch.arange(len(ids) - 1), torch.from_numpy(ids[1:])].sum())
        tokens += len(ids) - 1
    scores = evaluate(model, dataset.val_ids, border=dataset.border)
    assert scores.tokens == tokens == len(dataset.val_ids)
    assert scores.nats_per_token == pytest.approx(total / tokens, rel=1e-4)
    assert sum(count for _, count in scores.blocks) == tokens
    assert evaluate(model, dataset.val_ids, border=dataset.border, threads=2).nats_per_token == pytest.approx(
        scores.nats_per_token, rel=1e-5
    )


@pytest.mark.numeric
@pytest.mark.parametrize("arch", NEURAL)
def test_padding_has_no_gradient(arch: str) -> None:
    """A batch's gradient is that of its items one by one, weighted by their tokens."""
    from charlm.training.data_parallel import DataParallelStep

    model, dataset, _ = parts(arch)
    inputs, targets = next(batch for batch in dataset.batches(0) if (batch[1] < 0).any())
    together = _gradients(DataParallelStep(model, 1), inputs, targets)
    alone = {name: torch.zeros_like(one) for name, one in together.items()}
    for row in range(len(inputs)):
        if known := int((targets[row] >= 0).sum()):
            found = _gradients(
                DataParallelStep(model, 1), inputs[row : row + 1, :known], targets[row : row + 1, :known]
            )
            for name, one in found.items():
                alone[name] += one * known / int((targets >= 0).sum())
    for name, one in together.items():
        torch.testing.assert_close(one, alone[name], rtol=2e-3, atol=2e-5)


def _gradients(step: Any, inputs: np.ndarray, targets: np.ndarray) -> dict[str, torch.Tensor]:
    step.model.train()
    step.gradients(torch.from_numpy(inputs).long(), torch.from_numpy(targets).long(), None)
    return {name: one.grad.clone() for name, one in step.model.named_parameters() if one.grad is not None}


@pytest.mark.numeric
@pytest.mark.parametrize("arch", NEURAL)
def test_a_training_goes_on_as_if_it_had_not_been_left(arch: str) -> None:
    whole, dataset, _ = parts(arch)
    list(train(whole, dataset, CONFIG))
    halved, _, _ = parts(arch)
    state = TrainState.start(halved, CONFIG.resolve(halved.config))
    first = train(halved, dataset, CONFIG, state)
    list(itertools.islice(first, 13))
    first.close()
    list(train(halved, dataset, CONFIG, state))
    assert state.step == 80
    for one, other in zip(whole.parameters(), halved.parameters(), strict=True):
        assert torch.equal(one, other)


def reference(model: LanguageModel, tokenizer: Tokenizer, prompt: str, config: SampleConfig) -> str:
    """A list written a token at a time: the state is dropped before every border."""
    border, rng = tokenizer.border, np.random.Generator(np.random.PCG64(config.seed))
    ids, state, text = [border, *tokenizer.encode(prompt).tolist()], None, ""
    recent: list[int] = []
    while len(text) < config.length:
        if ids[0] == border:
            state = None
        with torch.no_grad():
            logits, state = model(torch.tensor([ids]), state)
        recent += ids
        chosen = choose(logits[0, -1].double().numpy(), config, rng, recent[-64:])
        text += tokenizer.tokens[chosen]
        ids = [chosen]
    return text


@pytest.mark.numeric
@pytest.mark.parametrize("arch", ARCHS)
def test_each_item_is_written_from_the_zero_state(arch: str) -> None:
    model, _, tokenizer = trained(arch)
    config = SampleConfig(length=150, seed=4)
    text = "".join(generate(model, tokenizer, "ba", config))
    assert text == reference(model, tokenizer, "ba", config) and text.count("\n") > 10
    assert text == "".join(generate(model, tokenizer, "left\nout\nba", config))  # only the last item counts


@pytest.mark.parametrize("arch", ["lstm", "gru"])
def test_a_text_is_the_same_however_many_tokens_are_computed_at_once(arch: str) -> None:
    model, _, tokenizer = trained(arch)
    config = SampleConfig(length=90, seed=2)
    texts = []
    for decoder, steps in ((decoder_for(model), 1), (decoder_for(model), 7), (TorchDecoder(model), 5)):
        assert isinstance(decoder, CompiledDecoder | TorchDecoder)
        stream, text = Stream.start(tokenizer, "", config), ""
        while not stream.done:
            text += decoder.decode([stream], steps)[0]
        texts.append(text)
    assert texts[0] == texts[1] == texts[2]
    half = texts[0][:40]
    goes_on = Stream.start(tokenizer, "", SampleConfig(length=50, seed=2), written=half)
    assert "".join(decoder_for(model).decode([goes_on], 200)) == texts[0][40:]


def test_new_items_are_counted() -> None:
    model, _, tokenizer = trained("lstm")
    config = SampleConfig(temperature=1.0)
    found = write_items(model, tokenizer, 30, "", config, frozenset(NAMES), checker("[a-m]+"))
    assert len(found.items) == len(set(found.items)) == 30 and not any("\n" in item for item in found.items)
    assert found.new == sum(item not in NAMES for item in found.items) / 30
    assert found.valid == sum(max(item) <= "m" for item in found.items) / 30
    assert found.unique == 30 / found.written <= 1.0
    begun = write_items(model, tokenizer, 5, "ba", config)
    assert all(item.startswith("ba") for item in begun.items) and begun.new is None and begun.valid is None
    assert "5 different items of" in begun.sentence()
    with pytest.raises(MeasurementError, match=r"none of .* items ended within 1 characters"):
        write_items(model, tokenizer, 5, "", SampleConfig(length=1))
    with pytest.raises(ConfigError, match="count must be from 1"):
        write_items(model, tokenizer, 0)
    with pytest.raises(ConfigError, match=r"check '\(' is no regular expression"):
        checker("(")


def test_a_list_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "names.txt"
    file.write_text("\n".join(NAMES), encoding="utf-8")
    words = ["--steps", "30", "--hidden-size", "16", "--num-layers", "1", "--label", "list"]
    assert main(["train", str(file), "--items", "line", *words]) == 0
    assert "read as 400 items" in capsys.readouterr().err
    run = RunStore().find("list")
    assert run.corpus_config.items == "line" and run.tokenizer().border is not None
    assert main(["items", "list", "--count", "6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["items"]) == 6 and 0 <= found["new"] <= 1
    assert main(["evaluate", "list", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["nats_per_item"] == pytest.approx(scores["nats_per_token"] * scores["tokens"] / scores["items"])
    assert main(["resume", "list", "--steps", "10"]) == 0
    assert main(["inspect", "memory", "list"]) == 2
    assert (
        "list learned a list, each item from nothing, and memory needs a text that goes on" in capsys.readouterr().err
    )
    assert main(["inspect", "copies", "list", "--json"]) == 0
    assert main(["items", "sherlock-small-lstm"]) == 2
    assert "no list; train one with --items" in capsys.readouterr().err
