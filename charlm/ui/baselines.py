"""The n-gram ladder as people read it: lines for a plot, bars, and sentences that say where a model stands on it."""

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from charlm.analysis.plots import Level, arch_colour
from charlm.ui import formatting
from charlm.ui.html import bars, notice

if TYPE_CHECKING:
    from charlm.analysis.baselines import Baselines

TITLE = "N-gram ladder"
HINT = (
    "Bits per character on the held-out text. An n-gram knows only the n − 1 {unit} before, and counts what followed "
    "them in the training text (Kneser-Ney). A model is worth the highest n-gram it keeps up with."
)
Named = Sequence[tuple[str, float]]  # models' names with their losses, nats per token


def levels(baselines: "Baselines | None") -> list[Level]:
    """The lines a loss plot gets: the best n-gram and xz."""
    if baselines is None:
        return []
    return [Level("best n-gram", min(baselines.orders)), Level("xz", baselines.xz)]


def networks(runs: Sequence[Any], called: Sequence[str]) -> list[tuple[str, float]]:
    """The runs that are no n-grams themselves, by name, with their losses."""
    named = zip(runs, called, strict=True)
    return [
        (name, run.best_val_loss)
        for run, name in named
        if run.best_val_loss is not None and not run.model_config.is_counted
    ]


def sentence(baselines: "Baselines | None", models: Named) -> str:
    """`LSTM and GRU are worth a 6-gram, RNN a 5-gram.`; empty as long as nothing is known."""
    if baselines is None or not models:
        return ""
    groups: dict[int, list[str]] = {}
    for name, loss in sorted(models, key=lambda one: one[1]):
        groups.setdefault(baselines.matched_order(loss), []).append(name)
    highest = len(baselines.orders)
    told = []
    if names := groups.pop(highest, []):
        verb = "is" if len(names) == 1 else "are"
        best = f"; the best is the {baselines.best}-gram" if baselines.best < highest else ""
        told.append(f"{formatting.listed(names)} {verb} better than every n-gram up to {highest}{best}.")
    lowest = groups.pop(0, [])
    if groups:
        (order, names), *others = groups.items()
        first = f"{formatting.listed(names)} {'is' if len(names) == 1 else 'are'} worth {_gram(order)}"
        told.append(
            ", ".join([first, *(f"{formatting.listed(names)} {_gram(order)}" for order, names in others)]) + "."
        )
    if lowest:
        told.append(f"{formatting.listed(lowest)} {'is' if len(lowest) == 1 else 'are'} not worth a 1-gram yet.")
    return " ".join(told)


def title(worth: str) -> str:
    """The fold's title, with a sentence that says what the models are worth if that is known."""
    return f"{TITLE}: {worth.rstrip('.')}" if worth else TITLE


def _gram(order: int) -> str:
    return f"{'an' if order in (8, 11) else 'a'} {order}-gram"


def ladder_html(baselines: "Baselines | None", coming: bool, runs: Sequence[Any], called: Sequence[str]) -> str:
    """The whole ladder as bars, the models' in colour.

    Args:
        baselines: of all runs; None: not known, or not one for all.
        coming: it is being measured.
        runs: whose losses stand on it.
        called: their names.
    """
    if coming and baselines is None:
        return notice("Counting n-grams…", "The ladder comes in a few seconds.")
    if baselines is None:
        why = (
            "Models of one text, split and alphabet share a ladder, if that text is still here and some of it held out."
        )
        return notice("No ladder.", why)
    rows = [("Uniform", baselines.uniform, ""), ("gzip", baselines.gzip, "")]
    rows += [("xz", baselines.xz, ""), *((f"{order}-gram", loss, "") for order, loss in enumerate(baselines.orders, 1))]
    rows += [
        (name, run.best_val_loss, arch_colour(run.arch))
        for run, name in zip(runs, called, strict=True)
        if run.best_val_loss is not None
    ]
    drawn = [(name, (bits := baselines.bits(loss)), formatting.bits(bits), colour) for name, loss, colour in rows]
    drawn.sort(key=lambda row: -round(row[1], 2))  # of equals the lower order first
    part = "" if baselines.whole else " Of this long text only the last part was counted."
    unit = "characters" if baselines.tokens_per_char == 1.0 else "tokens"
    return f'<p class="hint">{escape(HINT.format(unit=unit) + part)}</p>{bars(drawn)}'
