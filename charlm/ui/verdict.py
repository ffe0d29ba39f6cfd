"""One sentence that says who won and by how much, one that says how far it may be trusted, and the n-gram baselines."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from charlm.analysis.difference import Difference
from charlm.analysis.figures import arch_colour
from charlm.analysis.plots import Level
from charlm.analysis.standing import Contender, Standing, Standings, standings
from charlm.architectures import ARCH_NAMES
from charlm.config import LEVEL_NAMES
from charlm.runs.run import ACTIVE
from charlm.ui.formatting import MISSING, bits, count, listed, percent, whole
from charlm.ui.html import bars, notice

if TYPE_CHECKING:
    from charlm.analysis.baselines import Baselines

TIE = 0.005  # bits per character: less is nothing
FINE = 0.1  # differences below are written with three decimals
Called = Mapping[str, str]  # what to call a run, by its id
BASELINES = "N-gram baselines"
HINT = (
    "Bits per character on the held-out text. An n-gram knows only the n − 1 {unit} before, and counts what followed "
    "them in the training text (Kneser-Ney). A model matches the highest n-gram whose loss it reaches."
)


def names(runs: Sequence[Any]) -> list[str]:
    """What to call each run here: its architecture, what it reads if that differs; its label if two share both.

    A pretrained model is called by its label.
    """
    mixed = len({run.level for run in runs if run.arch in ARCH_NAMES}) > 1
    kinds = [
        f"{ARCH_NAMES[run.arch]}{f' on {LEVEL_NAMES[run.level]}' if mixed else ''}"
        if run.arch in ARCH_NAMES
        else run.label
        for run in runs
    ]
    return [kind if kinds.count(kind) == 1 else run.label for kind, run in zip(kinds, runs, strict=True)]


def same_tokens(runs: Sequence[Any]) -> bool:
    """Whether the losses are of the same tokens, so that they can be compared in nats; characters are always such."""
    return len({_tokens(run) for run in runs}) < 2


def _tokens(run: Any) -> tuple[Any, ...]:
    if run.level == "char":
        return ("char",)
    model = run.model_config
    return run.level, model.words, model.vocab_size, run.corpus.get("sha256")


def loss_unit(runs: Sequence[Any]) -> tuple[str, list[float]]:
    """The unit in which losses of these runs are drawn together, and what one nat per token of each run is in it."""
    if same_tokens(runs):
        return f"nats per {'character' if all(run.level == 'char' for run in runs) else 'token'}", [1.0] * len(runs)
    return "bits per character", [run.bits_per_char(1.0) or math.nan for run in runs]


def verdict(runs: Sequence[Any], matched: str = "", seeds: str = "") -> tuple[str, str]:
    """The Compare tab's heading and the line under it, from what was measured in training.

    Args:
        runs: those compared.
        matched: what `matched_orders` says of them, if the baselines are known.
        seeds: what other seeds of them show; empty: they have none.
    """
    if not runs:
        return "Which model writes best?", "Choose one to six models below, then press Generate."
    found = standings([Contender.of(run) for run in runs])
    called = dict(zip([run.run_id for run in runs], names(runs), strict=True))
    if not found.ranked:
        return "No loss has been measured yet.", _how_to_measure(runs)
    if len(found.ranked) == 1:
        return _alone(found.ranked[0], called, matched)
    validated = [one.run for one in found.ranked]
    if not same_text(validated):
        return _not_fair(found, called)
    reasons = [_ground(validated), how_sure(found, called, seeds), matched, _fairness(validated), flattery(validated)]
    return winner(found, called), " ".join(reasons).replace("  ", " ").strip()


def _how_to_measure(runs: Sequence[Any]) -> str:
    if all(run.imported for run in runs):
        return "An imported model can be scored on a text in Runs, or forked there to train it further."
    return "The first validation comes within moments of training."


def same_text(runs: Sequence[Any]) -> bool:
    """Whether all runs were measured on the same held-out characters."""
    return len({(run.corpus.get("sha256"), run.corpus.get("val_chars")) for run in runs}) == 1


def _alone(one: Standing, called: Called, matched: str) -> tuple[str, str]:
    guess = _uniform_bits(one.run)
    against = f" Guessing every character equally likely would cost {bits(guess)}." if guess else ""
    sentences = [f"{_ground([one.run])}{against}", matched, flattery([one.run]), "Add a second model to compare."]
    return f"{called[one.run.run_id]} needs {bits(one.bits)} bits per character.", " ".join(filter(None, sentences))


def _not_fair(found: Standings, called: Called) -> tuple[str, str]:
    costs = [
        f"{called[one.run.run_id]} {bits(one.bits)} on {one.run.corpus.get('name') or MISSING}" for one in found.ranked
    ]
    return (
        "They read different texts, so their losses cannot be compared.",
        f"Bits per character, each on its own held-out text: {listed(costs)}. Choose models of one corpus for a fair "
        "ranking.",
    )


def winner(found: Standings, called: Called, of_total: str = "") -> str:
    """`LSTM wins, 0.041 bits per character ahead of GRU and 0.33 ahead of RNN.`

    A tie is what the held-out text cannot tell apart, or, where that is not known, a gap of less than TIE.

    Args:
        found: two runs or more.
        called: what to call each, by its id.
        of_total: what follows the step at which all are compared.
    """
    names = [called[one.run.run_id] for one in found.ranked]
    if found.common is None and not found.trained_alike:
        names = [f"{name} (step {whole(one.step)})" for name, one in zip(names, found.ranked, strict=True)]
    gaps = list(zip(found.behind, names, strict=True))
    first = [name for gap, name in gaps if is_tie(gap)]
    rest = [(gap.mean, name) for gap, name in gaps if not is_tie(gap)]
    at = "" if found.common is None else f" at step {whole(found.common)}{of_total}"
    if len(first) > 1:
        return f"{listed(first)} tie at {bits(found.ranked[0].bits)} bits per character{at}{_behind(rest)}."
    verb = "wins" if found.is_over and found.common is None else "leads"
    near = f"{first[0]} {verb}, {amount(rest[0][0])} bits per character ahead of {rest[0][1]}"
    if len(rest) == 1:
        return f"{near}{at}."
    last = f"{amount(rest[-1][0])} ahead of {rest[-1][1]}"
    return f"{near} and {last}{at}." if len(rest) == 2 else f"{near} and {last}, the last of {len(gaps)}{at}."


def is_tie(gap: Difference) -> bool:
    """Whether a run is not known to be behind the first."""
    return not gap.is_clear if gap.is_known else abs(gap.mean) < TIE


def amount(gap: float) -> str:
    """A difference in bits per character: three decimals where two would say little."""
    return f"{gap:.3f}" if abs(gap) < FINE else f"{gap:.2f}"


def _behind(rest: Sequence[tuple[float, str]]) -> str:
    """`; RNN is 0.29 behind`; empty without any."""
    if not rest:
        return ""
    gap, name = rest[0]
    others = f", the last by {amount(rest[-1][0])}" if len(rest) > 1 else ""
    return f"; {name} is {amount(gap)} behind{others}"


def _ground(runs: Sequence[Any]) -> str:
    """On what it was measured."""
    corpus = runs[0].corpus
    return f"Measured on {whole(corpus.get('val_chars'))} held-out characters of {corpus.get('name') or MISSING}."


def how_sure(found: Standings, called: Called, seeds: str = "") -> str:
    """How far the gaps are beyond what the held-out text does by chance, and what else may turn them: other seeds."""
    others = [(gap, called[one.run.run_id]) for gap, one in zip(found.behind[1:], found.ranked[1:], strict=True)]
    known = [(gap, name) for gap, name in others if gap.is_known]
    sentences = []
    if known:
        gaps = ", ".join(f"{name} by {_with_margin(gap)}" for gap, name in known)
        blocks, pairs = min(gap.blocks for gap, _ in known), ", in pairs" if all(gap.paired for gap, _ in known) else ""
        first = called[found.ranked[0].run.run_id]
        sentences.append(f"Behind {first}: {gaps} (95 % intervals over {blocks} blocks of that text{pairs}).")
    if unknown := [name for gap, name in others if not gap.is_known]:
        sentences.append(f"How much of the lead over {listed(unknown)} is chance is not known.")
    if seeds:
        sentences.append(f"With the other seeds of their race: {seeds}")
    elif any(not one.run.model_config.is_counted for one in found.ranked):
        sentences.append("One seed each: another may turn a small lead.")
    return " ".join(sentences)


def _with_margin(gap: Difference) -> str:
    """`0.041 ± 0.009`, both with as many decimals."""
    decimals = 3 if min(abs(gap.mean), gap.margin) < FINE else 2
    return f"{gap.mean:.{decimals}f} ± {gap.margin:.{decimals}f}"


def _fairness(runs: Sequence[Any]) -> str:
    """Whether they saw the same batches, or what differs."""
    if any(run.status in ACTIVE for run in runs):
        return "Training goes on, so this may change."
    if any(run.imported and not run.step for run in runs):
        return "Not all of them were trained here."
    trained = [run for run in runs if not run.model_config.is_counted]
    counted = "The n-gram counted the text once." if len(trained) < len(runs) else ""
    return f"{counted} {_same_training(trained) if len(trained) > 1 else ''}".strip()


def _same_training(runs: Sequence[Any]) -> str:
    """Whether runs trained in steps saw the same batches."""
    steps = sorted({run.step for run in runs})
    if len(steps) > 1:
        return f"They trained for {whole(steps[0])} to {whole(steps[-1])} steps, so look at the curves too."
    views = {(run.train_config.batch_size, run.train_config.seq_len, run.train_config.seed) for run in runs}
    if len(views) > 1 or not same_tokens(runs):
        return f"All took {count(steps[0], 'step')}, on different batches."
    return f"All saw the same {whole(steps[0])} batches."


def flattery(runs: Sequence[Any]) -> str:
    """Why the bits of word models are lower than they should be: what they need not write; empty if there is none."""
    words = [run for run in runs if run.level == "word"]
    shares = [share for run in words if (share := unknown_share(run))]
    lowered = any(run.model_config.words == "lower" and not run.corpus_config.lowercase for run in words)
    if not shares and not lowered:
        return ""
    most = f"{'up to ' if len(set(shares)) > 1 else ''}{percent(max(shares))}" if shares else ""
    rare = f"a rare word, {most} of the held-out ones, costs them only one <unk>" if shares else ""
    case = "capitals need not be written" if lowered else ""
    return f"Bits of models on words are flattered: {' and '.join(filter(None, (rare, case)))}."


def unknown_share(run: Any) -> float | None:
    """Which share of the held-out tokens was `<unk>`; None where that was not counted."""
    unknown, tokens = run.corpus.get("val_unknown"), run.corpus.get("val_tokens")
    return unknown / tokens if unknown is not None and tokens else None


def _uniform_bits(run: Any) -> float | None:
    if run.level != "char":
        return None
    distinct = run.corpus.get("distinct") or 0
    return math.log2(distinct) if distinct > 1 else None


def levels(baselines: "Baselines | None") -> list[Level]:
    """The lines a loss plot gets: the best n-gram, and PPMd read as the models are; xz where that is not known."""
    if baselines is None:
        return []
    compressor = Level("PPMd", baselines.ppmd.frozen) if baselines.ppmd else Level("xz", baselines.xz)
    return [Level("best n-gram", min(baselines.orders)), compressor]


def networks(runs: Sequence[Any], called: Sequence[str]) -> list[tuple[str, float]]:
    """The runs that are no n-grams themselves, by name, with their losses in nats per token."""
    known = [(name, run) for run, name in zip(runs, called, strict=True) if run.best_val_loss is not None]
    return [(name, run.best_val_loss) for name, run in known if not run.model_config.is_counted]


def matched_orders(baselines: "Baselines | None", models: Sequence[tuple[str, float]]) -> str:
    """`LSTM and GRU match a 6-gram, RNN a 5-gram.`; empty as long as nothing is known.

    Args:
        baselines: of the models' text.
        models: names with losses, nats per token.
    """
    if baselines is None or not models:
        return ""
    groups: dict[int, list[str]] = {}
    for name, loss in sorted(models, key=lambda one: one[1]):
        groups.setdefault(baselines.matched_order(loss), []).append(name)
    highest, sentences = len(baselines.orders), []
    if better := groups.pop(highest, []):
        best = f"; the best is the {baselines.best}-gram" if baselines.best < highest else ""
        verb = "is" if len(better) == 1 else "are"
        sentences.append(f"{listed(better)} {verb} better than every n-gram up to {highest}{best}.")
    worse = groups.pop(0, [])
    matches = [(listed(group), f"{'an' if order in (8, 11) else 'a'} {order}-gram") for order, group in groups.items()]
    if matches:
        verb = "matches" if len(next(iter(groups.values()))) == 1 else "match"
        (first, order), *others = matches
        sentences.append(", ".join([f"{first} {verb} {order}", *(f"{name} {other}" for name, other in others)]) + ".")
    if worse:
        sentences.append(f"{listed(worse)} {'does' if len(worse) == 1 else 'do'} not match a 1-gram yet.")
    return " ".join(sentences)


def compressors(baselines: "Baselines") -> list[tuple[str, float]]:
    """The compressors that are shown, with what a token costs them in nats."""
    found = [("xz", baselines.xz)]
    if baselines.ppmd:
        found += [("PPMd, adapting", baselines.ppmd.adapting), ("PPMd, frozen", baselines.ppmd.frozen)]
    return found


def ppmd_note(baselines: "Baselines", models: Sequence[tuple[str, float]]) -> str:
    """What PPMd costs while it adapts and frozen, and which models it beats; or why that is not known.

    Args:
        baselines: of the models' text.
        models: names with losses, bits per character.
    """
    ppmd = baselines.ppmd
    if ppmd is None:
        return f"{baselines.ppmd_missing}." if baselines.ppmd_missing else ""
    adapting, frozen = baselines.bits(ppmd.adapting), baselines.bits(ppmd.frozen)
    part = f" ({ppmd.rows} of its {ppmd.all_rows} rows)" if ppmd.rows < ppmd.all_rows else ""
    sentences = [
        f"PPMd, a compressor of about 2001, needs {bits(adapting)} bits per character while it goes on learning from "
        f"the held-out text (adapting), and {bits(frozen)} where each row of it{part} starts from the training text "
        "alone, as models are validated (frozen)."
    ]
    if models:
        ways = [[name for name, cost in models if cost > level + TIE] for level in (adapting, frozen)]
        named = [listed(beaten) if beaten else "none of the models" for beaten in ways]
        if named[0] == named[1]:
            sentences.append(f"Either way it beats {named[0]}.")
        else:
            sentences.append(f"Adapting, it beats {named[0]}; frozen, it beats {named[1]}.")
    if ppmd.is_short_of_memory:
        sentences.append(f"It had only {ppmd.megabytes} MB of memory here.")
    return " ".join(sentences)


def baselines_title(matched: str) -> str:
    """The fold's title, with what `matched_orders` says if that is known."""
    return f"{BASELINES}: {matched.rstrip('.')}" if matched else BASELINES


def baselines_html(baselines: "Baselines | None", coming: bool, runs: Sequence[Any], called: Sequence[str]) -> str:
    """All baselines as bars, with the models' in colour.

    Args:
        baselines: of all runs; None: not known, or not one for all.
        coming: they are being measured.
        runs: whose losses stand among them.
        called: their names.
    """
    if coming and baselines is None:
        return notice("Counting n-grams…", "The baselines come in a few seconds.")
    if baselines is None:
        why = "Models that read one text in the same way share baselines, if it is still here and some of it held out."
        return notice("No baselines.", why)
    rows = [(name, loss, "") for name, loss in (("Uniform", baselines.uniform), *compressors(baselines))]
    rows += [(f"{order}-gram", loss, "") for order, loss in enumerate(baselines.orders, 1)]
    named = [(name, run) for run, name in zip(runs, called, strict=True) if run.best_val_loss is not None]
    rows += [(name, run.best_val_loss, arch_colour(run.arch)) for name, run in named]
    drawn = [(name, (cost := baselines.bits(loss)), bits(cost), colour) for name, loss, colour in rows]
    drawn.sort(key=lambda row: -round(row[1], 2))  # of equals the lower order first
    part = "" if baselines.whole else " Of this long text only the last part was counted."
    unit = "characters" if baselines.tokens_per_char == 1.0 else "tokens"
    models = [(name, baselines.bits(loss)) for name, loss in networks(runs, called)]
    told = [HINT.format(unit=unit) + part, ppmd_note(baselines, models)]
    return "".join(f'<p class="hint">{escape(one)}</p>' for one in told if one) + bars(drawn)
