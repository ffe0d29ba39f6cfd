"""Generation: one stream, three models side by side, 64 samples at once; and the speed of a training meanwhile.

The usual side is the predict loop of tutorials: one-hot input, softmax, top-k 5, numpy's choice, a character a call. 64
samples are compared with one usual stream. For Transformer and minGRU, which that loop does not have, the usual side is
the model's own forward pass, a token a call, with its cache of keys and values or its state. Characters a second of all
texts together, after a warm-up.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.measure import Row, Side, alternate
from bench.training import NOTEBOOK, TINY

ARCHS = ("lstm", "gru", "rnn")
RESIDUAL: dict[str, dict[str, Any]] = {  # as large as the shipped models, and small ones
    "transformer": {"num_layers": 4, "hidden_size": 272, "context": 128},
    "mingru": {"num_layers": 4, "hidden_size": 384},
}
SIZES: dict[str, Any] = {"vocab_size": 77, "hidden_size": 512, "num_layers": 2}
TINY_SIZES: dict[str, Any] = {"vocab_size": 77, "hidden_size": 16, "num_layers": 2}
PROMPT, TOP_K = "The", 5
ONCE = {"usual": 100, "one stream": 2000, "side by side": 2000, "64 samples": 200}  # characters a round, of each text
TAKEN_EVERY = 0.06  # seconds between a page's looks at its texts


def measure(quick: bool = False) -> list[Row]:
    """Rows for each architecture, for the three together, and for a training beside three streams."""
    rounds, archs = (1, ARCHS[:1]) if quick else (5, ARCHS)
    sizes, length = (TINY_SIZES, 20) if quick else (SIZES, 0)
    name, rows = "2x16" if quick else "2x512", []
    for arch in archs:
        print(f"{arch}, {name}", file=sys.stderr)
        ways = {"usual": "usual_stream", "one stream": "one_stream", "64 samples": "many_samples"}
        results = _alternated(ways, {**sizes, "archs": [arch]}, length, rounds)
        usual = results["usual"]
        rows.append(Row(f"one stream, {arch} {name}", "chars/s", results["one stream"], usual, ">= 20x"))
        what = f"64 samples (usual: one stream), {arch} {name}"
        rows.append(Row(what, "chars/s", results["64 samples"], usual, ">= 150x"))
    for arch, large in RESIDUAL.items():
        for own in [TINY_SIZES] if quick else [large, {**large, "num_layers": 2, "hidden_size": 128}]:
            rows.extend(_residual(arch, {"vocab_size": 77, **own}, length, rounds))
    print("side by side", file=sys.stderr)
    ways = {"usual": "usual_stream", "side by side": "side_by_side"}
    results = _alternated(ways, {**sizes, "archs": list(ARCHS)}, length, rounds)
    rows.append(
        Row(f"three models side by side, {name}", "chars/s", results["side by side"], results["usual"], ">= 20x")
    )
    return [*rows, *_beside_training(sizes, TINY if quick else NOTEBOOK, 1 if quick else 3)]


def _residual(arch: str, sizes: dict[str, Any], length: int, rounds: int) -> list[Row]:
    """One stream and 64 samples of a Transformer or minGRU, against its own forward pass."""
    name = f"{arch} {sizes['num_layers']}x{sizes['hidden_size']}"
    print(name, file=sys.stderr)
    ways = {"usual": "forward_stream", "one stream": "one_stream", "64 samples": "many_samples"}
    results = _alternated(ways, {**sizes, "archs": [arch]}, length, rounds)
    usual = results["usual"]
    return [
        Row(f"one stream (usual: forward pass), {name}", "chars/s", results["one stream"], usual, ">= 10x"),
        Row(f"64 samples (usual: forward pass, one), {name}", "chars/s", results["64 samples"], usual, ">= 40x"),
    ]


def _alternated(ways: dict[str, str], options: dict[str, Any], length: int, rounds: int) -> dict[str, list[float]]:
    sides = {
        what: Side(f"bench.generation:{function}", {**options, "length": length or ONCE[what]})
        for what, function in ways.items()
    }
    results = alternate(sides, rounds)
    return {what: [numbers["chars_per_second"] for numbers in results[what]] for what in ways}


def _beside_training(sizes: dict[str, Any], training: dict[str, Any], rounds: int) -> list[Row]:
    """A training alone, and beside three streams as three pages would have them."""
    print("beside a training", file=sys.stderr)
    options = {"sizes": sizes, "training": {**training, "arch": "lstm", "steps": 3}}
    results = alternate({"training": Side("bench.generation:training_and_streams", options)}, rounds)["training"]
    what = "lstm, 2x512, 128x100" if training is NOTEBOOK else "tiny"
    alone, beside, stream = ([one[name] for one in results] for name in ("alone", "beside", "stream"))
    return [
        Row(f"training beside three streams (usual: the training alone), {what}", "chars/s", beside, alone, ">= 0.4x"),
        Row("each of the three streams meanwhile", "chars/s", stream, goal=">= 100, faster than anyone reads"),
    ]


def usual_stream(archs: list[str], length: int, **sizes: int) -> Callable[[], dict[str, float]]:
    """The usual loop; of several models, one after the other."""
    from bench.usual_generation import model, sample

    nets = [model(arch, **sizes) for arch in archs]
    chars = _tokens(sizes["vocab_size"])
    return _rate(lambda: sum(len(sample(net, length, chars, PROMPT, TOP_K)) for net in nets))


def forward_stream(archs: list[str], length: int, **sizes: int) -> Callable[[], dict[str, float]]:
    """A token a call by torch's operations; of one model."""
    from charlm.generation.generate import TorchDecoder
    from charlm.generation.streams import Stream

    model, tokenizer = _model(archs[0], sizes)
    decoder = TorchDecoder(model.eval())

    def write() -> int:
        stream, text = Stream.start(tokenizer, PROMPT, _drawing(length)), ""
        while not stream.done:
            text += decoder.decode([stream], length)[0]
        return len(text)

    return _rate(write)


def one_stream(archs: list[str], length: int, **sizes: int) -> Callable[[], dict[str, float]]:
    """`generate`, the model prepared again each time."""
    from charlm.generation import generate

    (model, tokenizer), config = _model(archs[0], sizes), _drawing(length)
    return _rate(lambda: sum(map(len, generate(model, tokenizer, PROMPT, config))))


def many_samples(archs: list[str], length: int, **sizes: int) -> Callable[[], dict[str, float]]:
    """`generate_many`, 64 texts."""
    from charlm.generation import generate_many

    (model, tokenizer), config = _model(archs[0], sizes), _drawing(length)
    return _rate(lambda: sum(map(len, generate_many(model, tokenizer, [PROMPT] * 64, config))))


def side_by_side(archs: list[str], length: int, **sizes: int) -> Callable[[], dict[str, float]]:
    """The texts of several models as the page has them written: by one thread, in turns."""
    from charlm.serving.batcher import GeneratedText, GenerationWorker, OpenedModel

    opened, worker = [OpenedModel(*_model(arch, sizes)) for arch in archs], GenerationWorker(lambda: False)

    def play() -> int:
        texts = [worker.submit(each, GeneratedText(PROMPT), _drawing(length)) for each in opened]
        while not all(text.result.done for text in texts):
            worker.wait(texts, lambda: all(text.result.done for text in texts), TAKEN_EVERY)
        return sum(len(text.result.text) for text in texts)

    return _rate(play)


def training_and_streams(sizes: dict[str, int], training: dict[str, Any]) -> Callable[[], dict[str, float]]:
    """A training's rate alone and beside three endless streams, and the rate of each of these."""
    from bench.training import measured_ours

    train = measured_ours(**training)

    def play() -> dict[str, float]:
        alone = train()["chars_per_second"]
        with _streams(sizes) as written:
            began, before = time.perf_counter(), written()
            beside = train()["chars_per_second"]
            speed = (written() - before) / (time.perf_counter() - began) / len(ARCHS)
        return {"alone": alone, "beside": beside, "stream": speed}

    return play


@contextmanager
def _streams(sizes: dict[str, int]) -> Iterator[Callable[[], int]]:
    """Three texts that never end, read as pages read them; gives how many characters were read so far."""
    from charlm.serving.batcher import GeneratedText, GenerationWorker, OpenedModel

    worker, ended, read = GenerationWorker(lambda: True), threading.Event(), dict.fromkeys(ARCHS, 0)

    def visit(arch: str) -> None:
        text = worker.submit(OpenedModel(*_model(arch, sizes)), GeneratedText(PROMPT), _drawing(100_000))
        while not ended.is_set():
            worker.wait([text], ended.is_set, TAKEN_EVERY)
            read[arch] = len(text.result.text)

    visitors = [threading.Thread(target=visit, args=[arch], daemon=True) for arch in ARCHS]
    for visitor in visitors:
        visitor.start()
    while not all(read.values()):
        time.sleep(TAKEN_EVERY)
    yield lambda: sum(read.values())
    ended.set()
    for visitor in visitors:
        visitor.join()
    worker.close()


def _model(arch: str, sizes: dict[str, int]) -> Any:
    from charlm.config import ModelConfig
    from charlm.models import build_model
    from charlm.tokenizers import CharTokenizer

    return build_model(ModelConfig(arch=arch, **sizes), 1), CharTokenizer(_tokens(sizes["vocab_size"]))  # type: ignore[arg-type]


def _drawing(length: int) -> Any:
    from charlm.config import SampleConfig

    return SampleConfig(length=length, temperature=1.0, top_k=TOP_K)


def _tokens(count: int) -> str:
    """So many characters, the prompt's among them."""
    return "".join(map(chr, range(0x30, 0x30 + count)))


def _rate(write: Callable[[], int]) -> Callable[[], dict[str, float]]:
    def play() -> dict[str, float]:
        began = time.perf_counter()
        count = write()
        return {"chars_per_second": count / (time.perf_counter() - began)}

    return play
