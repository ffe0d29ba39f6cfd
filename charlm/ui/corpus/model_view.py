"""What the model sees of a text: tokens as ids, a batch, its layers, and three words explained; as HTML."""

import math
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from charlm.architectures import ARCH_NAMES
from charlm.config import LEVEL_NAMES, ModelConfig
from charlm.presets import PRESETS, from_options
from charlm.tokenizers.characters import visible, visible_line
from charlm.ui import formatting
from charlm.ui.corpus.reading import Reading
from charlm.ui.html import Cell, section, table

if TYPE_CHECKING:
    from charlm.models import LanguageModel

# Tokens shown with their ids, and of a row of the batch.
CELLS = {"char": 84, "word": 32, "bpe": 42}
WIDE = {"char": 52, "word": 11, "bpe": 16}
BETWEEN = {"char": "", "word": "·", "bpe": "|"}  # what parts the tokens of a row
BEGINS = 2000  # characters that hold the first tokens
ROWS = 3  # of the batch
LAYER_HEAD = ("Layer", "In", "Out", "Parameters")
# What a model's parts are called, where it is not a layer of its architecture.
NAMED = {"embed": "embedding", "widen": "widening", "fc": "linear"}


def model_html(reading: Reading) -> str:
    """All of the fold; loads torch for the layers' shapes."""
    config = from_options({"level": reading.model.level, "vocab_size": reading.tokenizer.vocab_size})
    return (
        ids_html(reading)
        + f'<div class="sees"><div>{batch_html(reading)}</div><div>{layers_html(reading, config.model)}</div></div>'
        + words_html(config.model, reading)
    )


def ids_html(reading: Reading) -> str:
    """The first tokens, each over its id."""
    tokenizer, level = reading.tokenizer, reading.model.level
    ids = tokenizer.encode(reading.corpus.text[:BEGINS]).tolist()[: CELLS[level]]
    cells = "".join(f"<div><b>{escape(_sign(tokenizer.tokens[one]))}</b><span>{one}</span></div>" for one in ids)
    told = f"Each {unit(level)} is a number; the model reads numbers and must name the next one."
    return f'<p class="hint">{told}</p><div class="ids">{cells}</div>'


def unit(level: str) -> str:
    """What one token is called."""
    return LEVEL_NAMES[level][:-1]


def _sign(token: str) -> str:
    """A token as something that can be seen."""
    return visible(token) if len(token) == 1 else visible_line(token)


def _row(reading: Reading, ids: Sequence[int]) -> str:
    """The first tokens of a row, what parts them between."""
    level = reading.model.level
    return BETWEEN[level].join(visible_line(reading.tokenizer.tokens[one]) for one in ids[: WIDE[level]])


def batch_html(reading: Reading) -> str:
    """Rows of the first batch of an epoch: what goes in, and what must come out."""
    inputs, targets = next(reading.dataset.batches(0))  # (B, T) each
    rows = "".join(
        _pair(_row(reading, ins), _row(reading, outs))
        for ins, outs in zip(inputs[:ROWS].tolist(), targets[:ROWS].tolist(), strict=True)
    )
    height, width = inputs.shape
    level = reading.model.level
    part = (
        f"The first {min(WIDE[level], width)} of {width} {LEVEL_NAMES[level]} of {min(ROWS, height)} of "
        f"{formatting.count(height, 'row')}."
    )
    said = f"Targets are the inputs, one {unit(level)} later. {part}"
    return section("A batch", said) + f'<div class="batch">{rows}</div>'


def _pair(inputs: str, targets: str) -> str:
    return (
        f"<div><span>inputs</span><code>{escape(inputs)}</code></div>"
        f"<div><span>targets</span><code>{escape(targets)}</code></div>"
    )


def layers_html(reading: Reading, config: ModelConfig) -> str:
    """Layers with shapes and parameters of the model that the Train tab's first preset makes."""
    from charlm.training.estimate import shape_of  # torch: only when the fold is filled

    model = shape_of(config)
    data = reading.dataset
    rows = layer_rows(model, data.batch_size, data.seq_len)
    rows_at = formatting.count(data.batch_size, "row")
    under = (
        f"{rows_at} of {data.seq_len} {LEVEL_NAMES[reading.model.level]} at a time; the {next(iter(PRESETS))} preset."
    )
    note = (
        ""
        if config.embed_dim
        else '<p class="hint">There is no embedding: each id looks up a column of the first layer\'s input weights, '
        "which is what a one-hot vector times those weights would give.</p>"
    )
    cells: list[list[Cell | str]] = [[name, ins, outs, formatting.whole(count)] for name, ins, outs, count in rows]
    cells.append([Cell("together", strong=True), "", "", Cell(formatting.whole(model.num_parameters), strong=True)])
    return section("The layers", under) + table(LAYER_HEAD, cells, keep=(0, 2, 3), kind="layers", id="layers") + note


def layer_rows(model: "LanguageModel", batch_size: int, seq_len: int) -> list[tuple[str, str, str, int]]:
    """(name, shape in, shape out, parameters) of every layer, read off the model's own weights, whatever it is."""

    def shape(width: int) -> str:
        return f"({batch_size}, {seq_len}, {width})"

    arch, ids = ARCH_NAMES.get(model.config.arch, model.config.arch), f"({batch_size}, {seq_len}) ids"
    rows: list[tuple[str, str, str, int]] = []
    for key, weights in _parts(model).items():
        part, _, layer = key.partition(".")
        width, out = _widths(part, weights, model.config)
        name = f"{arch}, layer {int(layer) + 1}" if layer else NAMED.get(part, part)
        is_first = not rows and (part == "embed" or width == model.config.vocab_size)
        rows.append((name, ids if is_first else shape(width), shape(out), sum(map(math.prod, weights))))
    return rows


def _parts(model: "LanguageModel") -> dict[str, list[tuple[int, ...]]]:
    """The shapes of the weights of each part: `embed`, `blocks.0`, `rnn.1` and so on."""
    parts: dict[str, list[tuple[int, ...]]] = {}
    for name, weight in model.named_parameters():
        part, _, rest = name.partition(".")
        layer = re.match(r"(\d+)\.|\w+_l(\d+)$", rest)
        key = f"{part}.{layer[1] or layer[2]}" if layer else part
        parts.setdefault(key, []).append(tuple(weight.shape))
    return parts


def _widths(part: str, weights: Sequence[tuple[int, ...]], config: ModelConfig) -> tuple[int, int]:
    """How many numbers a token has before a part and after it."""
    matrices = [shape for shape in weights if len(shape) > 1]
    if part == "fc":
        return (matrices[0][1] if matrices else config.hidden_size), config.vocab_size
    if part == "embed":
        return 1, matrices[0][1]
    if not matrices:
        return weights[0][0], weights[0][0]
    return matrices[0][1], config.hidden_size if part == "rnn" else matrices[-1][0]


def words_html(model: ModelConfig, reading: Reading) -> str:
    """Hidden state, truncated backpropagation and top-k in plain words, with this model's numbers."""
    data = reading.dataset
    memory, one = formatting.count(model.num_layers, "layer"), unit(reading.model.level)
    words: Sequence[tuple[str, str]] = (
        (
            "Hidden state",
            f"What the model remembers of all it has read: {model.hidden_size} numbers in each of {memory}, renewed at "
            f"every {one}. An LSTM keeps a second set, its cell, which gates guard against being overwritten. "
            f"Nothing else is carried from one {one} to the next.",
        ),
        (
            "Truncated backpropagation",
            f"After every {data.seq_len} {one}s the model's mistakes are traced back, {one} by {one}, and "
            "the weights are mended. The tracing stops at the start of the piece, to save time and memory; the hidden "
            "state is carried on into the next piece, so that the memory reaches further back than the tracing.",
        ),
        (
            "Top-k",
            f"When it writes, the model gives each of the {model.vocab_size:,} {one}s a probability, and one is "
            "drawn. With top-k 5, only the five likeliest take part: fewer slips, less surprise. 0 lets all take part.",
        ),
    )
    items = "".join(f"<div><dt>{escape(word)}</dt><dd>{escape(meaning)}</dd></div>" for word, meaning in words)
    return f'<dl class="words">{items}</dl>'
