"""What the Corpus tab shows of a text, as HTML: its finding, facts, beginning, baselines, characters, and what a model
sees of it."""

import math
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from charlm.analysis.figures import arch_colour
from charlm.architectures import ARCH_NAMES
from charlm.config import LEVEL_NAMES, CorpusConfig, ModelConfig
from charlm.data.own_texts import KeptText
from charlm.presets import PRESETS, from_options
from charlm.tokenizers.characters import called, visible, visible_line
from charlm.tokenizers.words import UNKNOWN
from charlm.ui import formatting
from charlm.ui.corpus.reading import Reading
from charlm.ui.formatting import whole
from charlm.ui.html import Cell, bars, facts, heading, notice, render, section, table
from charlm.ui.verdict import compressors, flattery, names, ppmd_note

if TYPE_CHECKING:
    from charlm.analysis.baselines import Baselines
    from charlm.models import LanguageModel

BEGINS = 1100  # characters shown
COMMON = 40
RARE = 10  # a character met fewer times than this is rare
RARE_SHOWN = 60
GRAMS = {1: "letter frequencies", 4: "three characters back"}
BASELINES_TITLE = "What n-grams and compressors cost"
# Tokens shown with their ids, and of a row of the batch.
CELLS = {"char": 84, "word": 32, "bpe": 42}
WIDE = {"char": 52, "word": 11, "bpe": 16}
BETWEEN = {"char": "", "word": "·", "bpe": "|"}  # what parts the tokens of a row
FIRST = 2000  # characters that hold the first tokens
ROWS = 3  # of the batch
LAYER_HEAD = ("Layer", "In", "Out", "Parameters")
ITEMS = {"none": "No list", "line": "One a line", "blank": "Between blank lines", "record": "One a row"}
# What a model's parts are called, where it is not a layer of its architecture.
NAMED = {"embed": "embedding", "widen": "widening", "fc": "linear"}


def head_html(reading: Reading) -> str:
    """The corpus' name as the finding; under it where it comes from and what was repaired."""
    repairs = reading.corpus.repairs
    repaired = f"Repaired: {'; '.join(repairs)}." if repairs else "Nothing had to be repaired."
    return heading(reading.corpus.name, f"{reading.corpus.about} {repaired}".strip())


def own_title(kept: Sequence[KeptText]) -> str:
    """`Your texts: 3, 1.2 MB`."""
    if not kept:
        return "Your texts: none yet"
    return f"Your texts: {len(kept):,}, {formatting.size(sum(one.size for one in kept))}"


def own_html(kept: Sequence[KeptText], most: tuple[int, int], public: bool, asking: str = "") -> str:
    """A line for each text that was uploaded or pasted, and how many may be kept for how long.

    Args:
        kept: the texts.
        most: texts that may be kept, and bytes of all together.
        public: whether this is a public Space, where the oldest files make room when the disk is full.
        asking: the key of the one about which the question is put; empty: none.
    """
    until = "you delete it" + (", or the oldest files here must make room" if public else "")
    bound = f"What you upload or paste stays until {until}; up to {most[0]:,} texts and {formatting.size(most[1])}."
    while_room = ", until it must make room here" if public else ""
    question = (
        "Delete it for good? Runs that were trained on it keep a copy of what they read, as it was cleaned"
        f"{while_room}; they can still be resumed and measured."
    )
    return render(
        "own_texts", kept=kept, bound=bound, asking=asking, question=question, size=formatting.size, day=formatting.day
    )


def facts_html(reading: Reading) -> str:
    """The six facts, a seventh for a test tail, and what had to be adapted to a short text."""
    data = reading.dataset
    pairs = _of_characters(reading) if reading.model.level == "char" else _of_tokens(reading)
    pairs += [(whole(len(data.test_ids)), "kept for a test")] if len(data.test_ids) else []
    pairs += [(whole(data.steps_per_epoch), f"steps an epoch, {data.batch_size} × {data.seq_len}")]
    notes = "".join(f'<p class="hint">{escape(note[:1].upper() + note[1:])}.</p>' for note in data.notes)
    return facts(pairs) + notes


def _of_characters(reading: Reading) -> list[tuple[str, str]]:
    return [
        (whole(len(reading.corpus.text)), "characters"),
        (whole(reading.tokenizer.vocab_size), "distinct"),
        (whole(reading.word_count), "words"),
        (whole(reading.train_chars), "to train on"),
        (whole(reading.val_chars), "held out"),
    ]


def _of_tokens(reading: Reading) -> list[tuple[str, str]]:
    """The same of words and subwords; of words also how many the vocabulary does not have."""
    data = reading.dataset
    pairs = [
        (whole(data.train + data.val + data.test), "tokens"),
        (whole(reading.tokenizer.vocab_size), "in the vocabulary"),
        (f"{data.chars_per_token:.2f}", "characters a token"),
    ]
    if reading.tokenizer.unk_id is None:
        return [*pairs, (whole(data.train), "to train on"), (whole(data.val), "held out")]
    return [
        *pairs,
        (formatting.percent(1 - reading.unknown_share(data.val_ids)), "of held-out tokens known"),
        (formatting.percent(reading.unknown_share(data.train_ids)), f"{UNKNOWN} in the training part"),
    ]


def beginning_html(reading: Reading) -> str:
    """The first lines, fading out."""
    text = reading.corpus.text[:BEGINS]
    faded = " faded" if len(reading.corpus.text) > BEGINS or text.count("\n") > 9 else ""
    shown = "".join(one if one in "\n\t" or one >= " " else visible(one) for one in text)
    return section("How it begins") + f'<div class="begins{faded}" tabindex="0">{escape(shown)}</div>'


def baselines_html(reading: Reading, baselines: "Baselines | None", runs: Sequence[Any]) -> str:
    """Sorted bars: what does without a network in grey, the best runs in colour.

    Args:
        reading: the text.
        baselines: what was measured; None: it is being measured, if anything is held out.
        runs: the best run of each architecture on this split.
    """
    if not reading.val_chars:
        why = "Hold out a share of a longer text, and its end shows what guessing costs and what a model gains."
        return section(BASELINES_TITLE) + notice("Nothing is held out.", why)
    if baselines is None:
        waiting = notice("Counting and compressing…", "The bars come in a few seconds.")
        return section(BASELINES_TITLE, "Bits per character on the held-out part.") + waiting
    rows = [(name, (bits := baselines.bits(loss)), formatting.bits(bits), "") for name, loss in _losses(baselines)]
    rows += [_run_bar(run) for run in runs]
    rows.sort(key=lambda row: -row[1])
    under = "Bits per character on the held-out part. A model is worth training when its bar is shorter."
    networks = [run for run in runs if not run.model_config.is_counted]
    known = [(name, run.bits_per_char(run.best_val_loss)) for name, run in zip(names(networks), networks, strict=True)]
    notes = [ppmd_note(baselines, [(name, cost) for name, cost in known if cost is not None])]
    notes += [flattery(runs) if runs else "No model has been trained on this text yet."]
    told = "".join(f'<p class="hint">{escape(note)}</p>' for note in notes if note)
    return section(BASELINES_TITLE, under) + bars(rows) + told


def _losses(baselines: "Baselines") -> list[tuple[str, float]]:
    """The baselines with their losses: of the n-grams the first, a middle one, and the best."""
    orders = sorted({1, min(4, baselines.best), baselines.best})
    grams = [(f"{order}-gram: {GRAMS.get(order, 'the best one')}", baselines.orders[order - 1]) for order in orders]
    uniform = ("Uniform: every character equally likely", baselines.uniform)
    return [uniform, *compressors(baselines), *grams]


def _run_bar(run: Any) -> tuple[str, float, str, str]:
    cost = run.bits_per_char(run.best_val_loss) or 0.0
    level = "" if run.level == "char" else f" on {LEVEL_NAMES[run.level]}"
    name = f"{ARCH_NAMES.get(run.arch, run.arch)}{level}, best run here"
    return name, cost, formatting.bits(cost), arch_colour(run.arch)


def characters_html(reading: Reading) -> str:
    """The most common characters as bars, and the rare ones by name."""
    counts, total = reading.counts, len(reading.corpus.text)
    head = section(f"The {COMMON} most common characters" if len(counts) > COMMON else "Its characters")
    chart = render("characters", common=counts[:COMMON], total=total, called=called, visible=visible)
    return head + chart + rare_html(counts)


def rare_html(counts: Sequence[tuple[str, int]]) -> str:
    """Characters that a model hardly meets, as chips."""
    rare = [(character, count) for character, count in counts if count < RARE]
    return render("rare", rare=rare, shown=RARE_SHOWN, called=called, visible=visible)


def options_title(config: CorpusConfig, table: bool = False) -> str:
    """`Held out 10 % · line ends LF · case kept`: what is set, and only then what differs from usual."""
    parts = [f"Held out {100 * config.val_fraction:g} %" if config.val_fraction else "Nothing held out"]
    parts += [f"test tail {100 * config.test_fraction:g} %"] if config.test_fraction else []
    parts += [f"read as {config.encoding}"] if config.encoding else []
    if table:
        parts += [f"column {config.column}"] if config.column else []
        parts += [f"after its {config.condition}"] if config.condition else []
        parts.append(f"rows joined by a {config.separator}")
    parts += [f"a list: {ITEMS[config.items].lower()}"] if config.is_list else []
    ends = "taken out" if config.drop_newlines else "LF" if config.lf else "as they are"
    parts += [f"line ends {ends}", f"case {'lowered' if config.lowercase else 'kept'}"]
    parts += ["Unicode NFC"] if config.nfc else []
    parts += ["markup stripped"] if config.strip_markup else []
    parts += [] if config.strip_gutenberg else ["Gutenberg header kept"]
    return " · ".join(parts)


def model_html(reading: Reading) -> str:
    """What the model sees: tokens as ids, a batch, its layers, and three words explained; loads torch for the layers.

    The model is the one that the Train tab's first preset makes.
    """
    level, data = reading.model.level, reading.dataset
    tokens, unit = reading.tokenizer.tokens, LEVEL_NAMES[level][:-1]  # what one token is called
    model = from_options({"level": level, "vocab_size": reading.tokenizer.vocab_size}).model
    ids = reading.tokenizer.encode(reading.corpus.text[:FIRST]).tolist()[: CELLS[level]]
    inputs, targets = next(data.batches(0))  # (B, T) each
    height, width = inputs.shape
    pairs = list(zip(inputs[:ROWS], targets[:ROWS], strict=True))  # of a list's items some end early
    part = (
        f"The first {min(WIDE[level], width)} of {width} {LEVEL_NAMES[level]} of {min(ROWS, height)} of "
        f"{formatting.count(height, 'row')}."
    )

    def row(ids: Sequence[int]) -> str:
        return BETWEEN[level].join(visible_line(tokens[one]) for one in ids[: WIDE[level]])

    return render(
        "sees",
        unit=unit,
        ids=[(visible(tokens[one]) if len(tokens[one]) == 1 else visible_line(tokens[one]), one) for one in ids],
        batch_html=section("A batch", f"Targets are the inputs, one {unit} later. {part}"),
        rows=[(row(ins[outs >= 0].tolist()), row(outs[outs >= 0].tolist())) for ins, outs in pairs],
        layers_html=_layers_html(reading, model),
        model=model,
        layers=formatting.count(model.num_layers, "layer"),
        seq_len=data.seq_len,
    )


def _layers_html(reading: Reading, config: ModelConfig) -> str:
    """Layers with shapes and parameters."""
    from charlm.training.estimate import shape_of  # torch: only when the fold is filled

    model, data = shape_of(config), reading.dataset
    under = (
        f"{formatting.count(data.batch_size, 'row')} of {data.seq_len} {LEVEL_NAMES[reading.model.level]} at a time; "
        f"the {next(iter(PRESETS))} preset."
    )
    rows = layer_rows(model, data.batch_size, data.seq_len)
    cells: list[list[Cell | str]] = [[name, ins, outs, whole(count)] for name, ins, outs, count in rows]
    cells.append([Cell("together", strong=True), "", "", Cell(whole(model.num_parameters), strong=True)])
    return section("The layers", under) + table(LAYER_HEAD, cells, keep=(0, 2, 3), kind="layers", id="layers")


def layer_rows(model: "LanguageModel", batch_size: int, seq_len: int) -> list[tuple[str, str, str, int]]:
    """(name, shape in, shape out, parameters) of every layer, read off the model's own weights.

    Args:
        model: whatever it is.
        batch_size: rows that it reads at a time.
        seq_len: tokens of a row.
    """

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
