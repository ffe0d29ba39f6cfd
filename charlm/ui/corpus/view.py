"""What the Corpus tab shows of a text: its finding, facts, beginning, guessing costs and characters, as HTML."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from charlm.analysis.plots import arch_colour
from charlm.architectures import ARCH_NAMES
from charlm.config import LEVEL_NAMES, CorpusConfig
from charlm.tokenizers.characters import called, visible
from charlm.tokenizers.words import UNKNOWN
from charlm.ui import formatting
from charlm.ui.corpus.reading import Reading
from charlm.ui.html import bars, facts, heading, notice, section
from charlm.ui.verdict import flattery

if TYPE_CHECKING:
    from charlm.analysis.baselines import Baselines

BEGINS = 1100  # characters shown
COMMON = 40
RARE = 10  # a character met fewer times than this is rare
RARE_SHOWN = 60
GRAMS = {1: "letter frequencies", 4: "three characters back"}


def head_html(reading: Reading) -> str:
    """The corpus' name as the finding; under it where it comes from and what was repaired."""
    return heading(reading.corpus.name, f"{reading.corpus.about} {repaired(reading.corpus.repairs)}".strip())


def repaired(repairs: Sequence[str]) -> str:
    """`Repaired: byte order mark removed; 12 line endings converted to LF.`"""
    return f"Repaired: {'; '.join(repairs)}." if repairs else "Nothing had to be repaired."


def facts_html(reading: Reading) -> str:
    """The six facts, a seventh for a test tail, and what had to be adapted to a short text."""
    data = reading.dataset
    pairs = _of_characters(reading) if reading.model.level == "char" else _of_tokens(reading)
    pairs += [(formatting.whole(len(data.test_ids)), "kept for a test")] if len(data.test_ids) else []
    pairs += [(formatting.whole(data.steps_per_epoch), f"steps an epoch, {data.batch_size} × {data.seq_len}")]
    notes = "".join(f'<p class="hint">{escape(note[:1].upper() + note[1:])}.</p>' for note in data.notes)
    return facts(pairs) + notes


def _of_characters(reading: Reading) -> list[tuple[str, str]]:
    return [
        (formatting.whole(len(reading.corpus.text)), "characters"),
        (formatting.whole(reading.tokenizer.vocab_size), "distinct"),
        (formatting.whole(reading.word_count), "words"),
        (formatting.whole(reading.train_chars), "to train on"),
        (formatting.whole(reading.val_chars), "held out"),
    ]


def _of_tokens(reading: Reading) -> list[tuple[str, str]]:
    """The same of words and subwords; of words also how many the vocabulary does not have."""
    data = reading.dataset
    pairs = [
        (formatting.whole(reading.tokens), "tokens"),
        (formatting.whole(reading.tokenizer.vocab_size), "in the vocabulary"),
        (f"{data.chars_per_token:.2f}", "characters a token"),
    ]
    if reading.tokenizer.unk_id is None:
        return [*pairs, (formatting.whole(data.train), "to train on"), (formatting.whole(data.val), "held out")]
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


def guessing_html(reading: Reading, costs: "Baselines | None", runs: Sequence[Any]) -> str:
    """Sorted bars: guessing in grey, the best runs in colour.

    Args:
        reading: the text.
        costs: what was measured; None: it is being measured, if anything is held out.
        runs: the best run of each architecture on this split.
    """
    title = "What guessing would cost"
    if not reading.val_chars:
        why = "Hold out a share of a longer text, and its end shows what guessing costs and what a model gains."
        return section(title) + notice("Nothing is held out.", why)
    if costs is None:
        waiting = notice("Counting and compressing…", "The bars come in a few seconds.")
        return section(title, "Bits per character on the held-out part.") + waiting
    rows = [(name, (bits := costs.bits(loss)), formatting.bits(bits), "") for name, loss in guesses(costs)]
    rows += [_run_bar(run) for run in runs]
    under = "Bits per character on the held-out part. A model is worth training when its bar is shorter."
    rows.sort(key=lambda row: -row[1])
    told = flattery(runs) if runs else "No model has been trained on this text yet."
    return section(title, under) + bars(rows) + (f'<p class="hint">{escape(told)}</p>' if told else "")


def guesses(costs: "Baselines") -> list[tuple[str, float]]:
    """Ways of guessing with their losses: of the n-grams the first, a middle one, and the best."""
    orders = sorted({1, min(4, costs.best), costs.best})
    grams = [(f"{order}-gram: {GRAMS.get(order, 'the best one')}", costs.orders[order - 1]) for order in orders]
    return [("Uniform: every character equally likely", costs.uniform), ("gzip", costs.gzip), ("xz", costs.xz), *grams]


def _run_bar(run: Any) -> tuple[str, float, str, str]:
    cost = run.bits_per_char(run.best_val_loss) or 0.0
    level = "" if run.level == "char" else f" on {LEVEL_NAMES[run.level]}"
    name = f"{ARCH_NAMES.get(run.arch, run.arch)}{level}, best run here"
    return name, cost, formatting.bits(cost), arch_colour(run.arch)


def characters_html(reading: Reading) -> str:
    """The most common characters as bars, and the rare ones by name."""
    common = reading.counts[:COMMON]
    title = f"The {COMMON} most common characters" if len(reading.counts) > COMMON else "Its characters"
    top, total = common[0][1], len(reading.corpus.text)
    columns = "".join(_column(character, count, top, total) for character, count in common)
    chart = f'<div class="chars" role="list" style="--n:{len(common)}">{columns}</div>'
    return section(title) + chart + rare_html(reading.counts)


def _column(character: str, count: int, top: int, total: int) -> str:
    said = escape(f"{called(character)}: {count:,} times, {100 * count / total:.2f} %")
    return (
        f'<div role="listitem" title="{said}" aria-label="{said}"><i style="--h:{100 * count / top:.2f}"></i>'
        f"<span>{escape(visible(character))}</span></div>"
    )


def rare_html(counts: Sequence[tuple[str, int]]) -> str:
    """Characters that a model hardly meets, as chips."""
    rare = [(character, count) for character, count in counts if count < RARE]
    if not rare:
        return '<p class="rare">No character is rare: each occurs ten times or more.</p>'
    chips = " ".join(
        f'<kbd title="{escape(f"{called(character)}: {count} times")}">{escape(visible(character))}</kbd>'
        for character, count in rare[:RARE_SHOWN]
    )
    more = f" and {len(rare) - RARE_SHOWN:,} more" if len(rare) > RARE_SHOWN else ""
    verb = "occurs fewer than ten times" if len(rare) == 1 else "occur fewer than ten times each"
    return f'<p class="rare">Rare: {chips}{more} {verb}.</p>'


def options_title(config: CorpusConfig, table: bool = False) -> str:
    """`Held out 10 % · line ends LF · case kept`: what is set, and only then what differs from usual."""
    parts = [f"Held out {100 * config.val_fraction:g} %" if config.val_fraction else "Nothing held out"]
    parts += [f"test tail {100 * config.test_fraction:g} %"] if config.test_fraction else []
    if table:
        parts += [f"column {config.column}"] if config.column else []
        parts.append(f"rows joined by a {config.separator}")
    ends = "taken out" if config.drop_newlines else "LF" if config.lf else "as they are"
    parts += [f"line ends {ends}", f"case {'lowered' if config.lowercase else 'kept'}"]
    parts += ["Unicode NFC"] if config.nfc else []
    parts += [] if config.strip_gutenberg else ["Gutenberg header kept"]
    return " · ".join(parts)
