"""The table of runs: its columns, in which order the rows stand, and which of them raced together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charlm.architectures import ARCH_NAMES
from charlm.config import LEVEL_NAMES
from charlm.ui import formatting
from charlm.ui.compare.ranking import asked
from charlm.ui.formatting import count, listed
from charlm.ui.runs.details import came_untrained

SINGLE, SHIPPED = "Not in a race", "Shipped with the app"


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        name: what a click on its head says.
        title: of the head.
        value: what a run is sorted by; None: nothing is known, and it stands last.
        down: whether the first click puts the largest first.
        text: left-aligned words, not numbers.
        shown: a class of lab.css: `mid`, not on a phone; `wide`, on no narrow screen; `wider`; empty: always.
    """

    name: str
    title: str
    value: Callable[[Any], Any]
    down: bool = False
    text: bool = False
    shown: str = "wide"


def model(run: Any) -> str:
    """`LSTM`, `GRU on words`."""
    arch = ARCH_NAMES.get(run.arch, run.arch)
    return arch if run.level == "char" else f"{arch} on {LEVEL_NAMES[run.level]}"


def status_word(run: Any) -> str:
    """The status as the table shows it."""
    return "shipped" if run.shipped else "imported" if came_untrained(run) else str(run.status)


COLUMNS = (
    Column("name", "Run", lambda run: run.label.casefold(), text=True, shown=""),
    Column("model", "Model", lambda run: model(run).casefold(), text=True, shown="mid"),
    Column("corpus", "Corpus", lambda run: str(run.corpus.get("name", "")).casefold() or None, text=True),
    Column("status", "Status", status_word, text=True),
    Column("loss", "Best val. loss", lambda run: run.best_val_loss, shown=""),
    Column("bits", "Bits/char", lambda run: run.bits_per_char(run.best_val_loss)),
    Column("parameters", "Parameters", lambda run: run.num_parameters, down=True, shown="wide wider"),
    Column("steps", "Steps", lambda run: None if came_untrained(run) else run.step, down=True),
    Column("time", "Time", lambda run: None if came_untrained(run) else run.seconds, down=True),
    Column("started", "Started", lambda run: None if run.shipped else run.created or None, down=True),
)
BY_NAME = {column.name: column for column in COLUMNS}


@dataclass(frozen=True)
class Order:
    """How the table stands: the newest first, until another column is clicked.

    Attributes:
        by: name of a column.
        down: the largest first.
    """

    by: str = "started"
    down: bool = True

    @classmethod
    def read(cls, message: str | None) -> "Order":
        """The order that a page remembers; anything else is the usual one."""
        said = asked(message)
        by, down = said.get("by"), said.get("down")
        return cls(by, down) if isinstance(by, str) and by in BY_NAME and isinstance(down, bool) else cls()

    def clicked(self, name: str) -> "Order":
        """The order after a click on a column's head: a second one turns it round; an unknown name changes nothing."""
        column = BY_NAME.get(name)
        if column is None:
            return self
        return Order(name, not self.down if name == self.by else column.down)

    def aria(self, name: str) -> str:
        """What a head says of the order; empty: the rows do not stand by it."""
        return ("descending" if self.down else "ascending") if name == self.by else ""

    def sort(self, runs: Sequence[Any]) -> list[Any]:
        """The runs in this order, those of equal or unknown value as they came, the unknown ones last.

        Args:
            runs: as the store lists them, the newest first.
        """
        if self == Order():
            return list(runs)
        value = BY_NAME[self.by].value
        known = [run for run in runs if value(run) is not None]
        known.sort(key=value, reverse=self.down)
        return known + [run for run in runs if value(run) is None]


@dataclass(frozen=True)
class Group:
    """Runs that stand together under a heading.

    Attributes:
        title: the heading; empty: none.
        hint: what stands grey after it.
        runs: in their order.
    """

    title: str
    hint: str
    runs: Sequence[Any]


def grouped(runs: Sequence[Any]) -> list[Group]:
    """The runs of each race together, in the order of their first; then those of no race, then the shipped ones."""
    races: dict[str, list[Any]] = {}
    for run in runs:
        if run.group and not run.shipped:
            races.setdefault(run.group, []).append(run)
    found = [_race(race) for race in races.values()]
    for title, others in (
        (SINGLE, [run for run in runs if not (run.group or run.shipped)]),
        (SHIPPED, [run for run in runs if run.shipped]),
    ):
        found += [Group(title, count(len(others), "run"), others)] if others else []
    return found


def _race(runs: Sequence[Any]) -> Group:
    """`Race night on Sherlock Holmes`, and who took part, and when."""
    names = {run.label.removesuffix(f"-{run.arch}") for run in runs}
    own = f" {next(iter(names))}" if len(names) == 1 and all(run.label.endswith(f"-{run.arch}") for run in runs) else ""
    corpora = {str(run.corpus.get("name", "")) for run in runs} - {""}
    on = f" on {next(iter(corpora))}" if len(corpora) == 1 else ""
    models = sorted({run.arch for run in runs}, key=list(ARCH_NAMES).index)
    when = formatting.day(min(run.created for run in runs))
    return Group(f"Race{own}{on}", f"{listed([ARCH_NAMES[arch] for arch in models])}, {when}", runs)


def remembered(order: Order) -> Mapping[str, Any]:
    """An order as the page remembers it."""
    return {"by": order.by, "down": order.down}
