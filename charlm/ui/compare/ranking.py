"""What is measured of several runs: the six numbers under each column, the ranking table, its CSV."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from charlm.analysis.difference import difference, share_difference
from charlm.analysis.standing import Contender, standings
from charlm.architectures import ARCH_NAMES, ARCHS, RACE_ARCHS
from charlm.config import LEVEL_NAMES
from charlm.errors import CharLMError
from charlm.files import parsed
from charlm.pretrained.model import KIND
from charlm.public.services import Services
from charlm.runs.run import ACTIVE
from charlm.training.metrics import Blocks
from charlm.ui import formatting
from charlm.ui.formatting import csv_text, day
from charlm.ui.html import FIRST_RUN, Cell, notice, render, swatch, table
from charlm.ui.runs.details import came_untrained
from charlm.ui.verdict import is_tie, names, same_text, same_tokens

MOST = 6
MOST_MESSAGE = 1 << 16  # characters of what a browser sends
LOOKED_AT = 64  # ids of one question
Beyond = Callable[[int, int], bool]  # of two places


def comparable(runs: Sequence[Any]) -> list[Any]:
    """Runs that have weights to write with: one validation has passed, or they were imported."""
    return [run for run in runs if run.has_learned]


def default_runs(runs: Sequence[Any]) -> list[str]:
    """Ids of the race that was trained last, else the newest LSTM, GRU and RNN on the same tokens, own or shipped.

    Where there are none, the newest run. A Space that was made for a run opens on that one.
    """
    usable = [run for run in comparable(runs) if run.status not in ACTIVE]
    if featured := [run.run_id for run in usable if run.shipped and run.info.get("featured") is True]:
        return featured[:MOST]
    own = [run for run in usable if not run.shipped and run.best_val_loss is not None]
    race = [run for run in own if run.group and run.group == own[0].group]
    if len({run.arch for run in race}) > 1:
        return _newest_of_each(race, ARCHS)[:MOST]
    for group in (own, [run for run in usable if run.shipped]):
        alike: dict[Any, list[Any]] = {}
        for run in group:
            alike.setdefault(_ground(run), []).append(run)
        for others in alike.values():
            trio = _newest_of_each(others, RACE_ARCHS)
            if len(trio) == len(RACE_ARCHS):
                return trio
    return [run.run_id for run in usable[:1]]


def _ground(run: Any) -> tuple[Any, str]:
    """What it was trained on: the text, and what its tokens are."""
    return run.corpus.get("sha256"), run.level


def _newest_of_each(runs: Sequence[Any], archs: Iterable[str]) -> list[str]:
    """The newest run of each of these architectures, in their order."""
    found = {run.arch: run.run_id for run in reversed(runs)}
    return [found[arch] for arch in archs if arch in found]


def run_choices(runs: Sequence[Any]) -> list[tuple[str, str]]:
    """(what is read, run id) for a picker; a name met twice also says when the run was started."""
    titles = [run_title(run) for run in runs]
    times = Counter(titles)
    return [
        (title if times[title] == 1 else f"{title} · {day(run.created)}", run.run_id)
        for title, run in zip(titles, runs, strict=True)
    ]


def run_title(run: Any) -> str:
    """A label that also says the architecture, and that a run is still at work."""
    arch = ARCH_NAMES.get(run.arch, run.arch)
    title = run.label if arch.lower() in run.label.lower() else f"{arch} · {run.label}"
    return f"{title} · {run.status}" if run.status in ACTIVE else title


def found_runs(store: Any, ids: Sequence[str]) -> list[Any]:
    """The runs of these ids that still exist, at most six, in the given order."""
    runs = []
    for run_id in dict.fromkeys(map(str, (ids or ())[:LOOKED_AT])):
        try:
            runs.append(store.get(run_id))
        except CharLMError:
            continue  # deleted in another page meanwhile
    return runs[:MOST]


class Models:
    """Runs, and the pretrained models that are loaded, by id; `found_runs` takes it in place of the store.

    Args:
        services: have both.
    """

    def __init__(self, services: Services) -> None:
        self._store, self._pretrained = services.store, services.serving.pretrained

    def get(self, run_id: str) -> Any:
        """The run or the pretrained model with this id.

        Raises:
            CheckpointError: there is none.
        """
        return self._pretrained.get(run_id) or self._store.get(run_id)

    def choices(self) -> list[tuple[str, str]]:
        """(what is read, id) of all that can be compared."""
        others = [(f"{one.label} · pretrained", one.run_id) for one in self._pretrained.list()]
        return [*run_choices(comparable(self._store.list())), *others]


def request(**what: Any) -> str:
    """A message from one tab to another; the nonce makes the same wish twice a change."""
    return json.dumps({**what, "at": time.time_ns()})


def asked(message: str | None) -> dict[str, Any]:
    """A message read back; anything else is an empty one."""
    try:
        value = parsed(message or "{}", MOST_MESSAGE)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


HEAD = ("Model", "Val. loss", "Perplexity", "Bits/char", "At step", "Trained", "Parameters")
PHONE_COLUMNS = (0, 1, 3, 5)
CSV_HEAD = (
    "label", "arch", "corpus", "val_loss", "perplexity", "bits_per_char", "steps", "seconds", "parameters", "tokens",
)  # fmt: skip


@dataclass(frozen=True)
class Writing:
    """What a generation showed of one run.

    Attributes:
        unknown: words that are not in the corpus, and all words.
        chars_per_second: None: not known.
        turns: (characters, seconds) of the turns in which it was written.
    """

    unknown: tuple[int, int] = (0, 0)
    chars_per_second: float | None = None
    turns: Blocks = ()

    @property
    def unknown_share(self) -> float | None:
        """Of all words; None without any."""
        return self.unknown[0] / self.unknown[1] if self.unknown[1] else None


def shape(run: Any) -> str:
    """`2 × 128`: layers and hidden units; of an n-gram its order."""
    if run.arch == KIND:
        return str(run.shape)
    if run.model_config.is_counted:
        return str(run.model_config.shape)
    return f"{run.model_config.num_layers} × {run.model_config.hidden_size}"


def kept_step(run: Any) -> str:
    """`2,900 of 3,000`: the step whose weights are kept, of those trained; one number if they are the same."""
    steps, _ = trained(run)
    if steps is None or run.best_val_loss is None:
        return formatting.whole(steps)
    at = formatting.whole(run.best_step)
    return at if run.best_step == steps else f"{at} of {formatting.whole(steps)}"


def trained(run: Any) -> tuple[int | None, float | None]:
    """Steps and seconds that it was trained for; None each where that happened elsewhere."""
    return (None, None) if came_untrained(run) else (run.step, run.seconds or 0.0)


def number_columns(runs: Sequence[Any], writing: Mapping[str, Writing]) -> dict[str, list[tuple[str, str, bool]]]:
    """The six rows of every run, by run id, and whether a value is the best beyond what is chance; see `clear_best`.

    Losses are judged as the verdict judges them; shares of unknown words by Wilson's intervals; writing speeds by how
    much they vary from turn to turn, so that one measured right after a start is not called best. The number of
    parameters is a choice, and a training time was measured once, on a machine that may have had other work: neither
    has a best.
    """
    seen = [writing.get(run.run_id, Writing()) for run in runs]
    losses, leads = [run.best_val_loss for run in runs], _leads(runs)

    def words(first: int, other: int) -> bool:
        return share_difference(seen[first].unknown, seen[other].unknown).is_clear

    def speed(first: int, other: int) -> bool:
        paces = [[(chars / seconds, 1) for chars, seconds in seen[place].turns if seconds] for place in (first, other)]
        return difference(paces[0], paces[1], in_pairs=False).is_clear

    measures: list[tuple[str, list[Any], Any, int, Beyond]] = [
        ("Validation loss", losses, formatting.nats, 1, leads),
        ("Perplexity", losses, formatting.perplexity, 1, leads),
        ("Words not in the corpus", [one.unknown_share for one in seen], formatting.percent, 1, words),
        ("Parameters", [run.num_parameters for run in runs], formatting.whole, 1, _no_contest),
        ("Training time", [trained(run)[1] for run in runs], formatting.duration, 1, _no_contest),
        ("Writing speed, chars/s", [one.chars_per_second for one in seen], formatting.whole, -1, speed),
    ]
    rows: dict[str, list[tuple[str, str, bool]]] = {run.run_id: [] for run in runs}
    for name, values, write, sign, beyond in measures:
        best = clear_best(values, sign, beyond)
        for place, run in enumerate(runs):
            rows[run.run_id].append((name, write(values[place]), place == best))
    return rows


def clear_best(values: Sequence[float | None], sign: int, beyond: Beyond) -> int | None:
    """The place of the best value, if it is better than every other one by more than noise; else None.

    Args:
        values: None: not known.
        sign: 1: the smallest is the best; -1: the largest.
        beyond: whether the value at the first place is better than that at the second by more than noise.
    """
    known = [(sign * value, place) for place, value in enumerate(values) if value is not None and math.isfinite(value)]
    first = min(known, default=(0.0, 0))[1]
    others = [place for _, place in known if place != first]
    return first if others and all(beyond(first, place) for place in others) else None


def _no_contest(first: int, other: int) -> bool:
    return False


def _leads(runs: Sequence[Any]) -> Beyond:
    """Whether a run leads the ranking, and another one is behind it by more than the held-out text does by chance."""
    places, runs = runs, [run for run in runs if run.arch != KIND]
    if not (same_tokens(runs) and same_text([run for run in runs if run.best_val_loss is not None] or runs)):
        return _no_contest
    found = standings([Contender.of(run) for run in runs])
    behind = {one.run.run_id for one, gap in zip(found.ranked, found.behind, strict=True) if not is_tie(gap)}
    leader = found.ranked[0].run.run_id if found.ranked else ""
    return lambda first, other: places[first].run_id == leader and places[other].run_id in behind


def by_loss(runs: Sequence[Any]) -> list[Any]:
    """Runs by validation loss in bits per character, which all tokens can be compared in; those without one last."""
    bits = {run.run_id: run.bits_per_char(run.best_val_loss) for run in runs}
    return sorted(runs, key=lambda run: math.inf if bits[run.run_id] is None else bits[run.run_id])


def ranking_table(runs: Sequence[Any]) -> str:
    """The table under the curves, best first."""
    if not runs:
        return notice("Nothing to rank.", f"Each model that is chosen above gets a line. {FIRST_RUN}")
    called = dict(zip([run.run_id for run in runs], names(runs), strict=True))
    rows: list[list[Cell | str]] = []
    for run in by_loss(runs):
        loss, (_, seconds) = run.best_val_loss, trained(run)
        name = Cell(html=f"{swatch(run.arch)}{model_name(called[run.run_id], shape(run))}")
        measured = [formatting.perplexity(loss), formatting.bits(run.bits_per_char(loss)), kept_step(run)]
        rest = [formatting.duration(seconds), formatting.whole(run.num_parameters)]
        rows.append([name, Cell(formatting.nats(loss), strong=True), *measured, *rest])
    return table(HEAD, rows, keep=PHONE_COLUMNS, kind="ranking", id="ranking-table")


def left_out(chosen: Sequence[Any]) -> str:
    """What is said of pretrained models where runs alone take part, as HTML; empty where none is chosen."""
    labels = [one.label for one in chosen if one.arch == KIND]
    if not labels:
        return ""
    takes, has = (
        ("takes", "it has tokens of its own") if len(labels) == 1 else ("take", "they have tokens of their own")
    )
    return render("hint", sentence=f"{formatting.listed(labels)}, pretrained, {takes} no part here: {has}.")


def model_name(name: str, grey: str) -> str:
    """A bold name and a grey addition."""
    return f'<b>{escape(name)}</b> <span class="grey">{escape(grey)}</span>'


def ranking_csv(runs: Sequence[Any]) -> str:
    """The ranking for a spreadsheet: text is quoted and never a formula, numbers are numbers."""
    rows: list[Sequence[str | float | None]] = [CSV_HEAD]
    for run in by_loss(runs):
        loss, bits, (steps, seconds) = run.best_val_loss, run.bits_per_char(run.best_val_loss), trained(run)
        perplexity = None if loss is None else float(f"{math.exp(min(loss, 700)):.6g}")
        text = (run.label, ARCH_NAMES.get(run.arch, run.arch), str(run.corpus.get("name", "")))
        losses = (_rounded(loss, 6), perplexity, _rounded(bits, 6))
        rows.append([*text, *losses, steps, _rounded(seconds, 3), run.num_parameters, LEVEL_NAMES[run.level]])
    return csv_text(rows)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
