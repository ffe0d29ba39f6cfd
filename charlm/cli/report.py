"""What the commands print: results on stdout; remarks and a training's progress on stderr."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from charlm.files import finite

if TYPE_CHECKING:
    from charlm.analysis.comparison import Comparison
    from charlm.jobs import RunStatus
    from charlm.jobs.runner import RunTrainer
    from charlm.runs.run import Run

PIPE_WIDTH = 500  # columns of a table that goes into a file or a pipe, so that nothing is cut


def note(message: str) -> None:
    """A remark beside the result."""
    print(message, file=sys.stderr)


@contextmanager
def counted(what: str) -> Iterator[Callable[[float], None]]:
    """A line on a terminal's stderr that counts up while something is measured."""
    if not sys.stderr.isatty():
        yield lambda share: None
        return
    try:
        yield lambda share: print(f"\r{what}: {share:4.0%} ", end="", file=sys.stderr, flush=True)
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def print_json(value: Any) -> None:
    """One line of JSON; what is no finite number becomes null, for JSON has no word for it."""
    print(json.dumps(finite(value), ensure_ascii=False, default=str), flush=True)


def print_answer(value: Any, text: str, as_json: bool) -> None:
    """Print the result of a command.

    Args:
        value: for programs.
        text: for people.
        as_json: whether the value is printed, as JSON, or the text.
    """
    print_json(value) if as_json else print(text)


def print_rows(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Rows as a JSON list, or as a table."""
    print_json(rows) if as_json else print_table(rows)


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of the same names as a table without boxes."""
    from rich.console import Console  # rich takes a tenth of a second: only for commands that draw
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, value in rows[0].items():
        number = isinstance(value, int | float)
        table.add_column(name.replace("_", " "), justify="right" if number else "left", no_wrap=number)
    for row in rows:
        table.add_row(*(cell(value) for value in row.values()))
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)


def print_comparison(found: "Comparison") -> None:
    """What the seeds of several architectures show, as a table and in sentences."""
    print_table(found.rows())
    for sentence in found.sentences():
        print(sentence)
    if found.left_out:
        print(f"left out, as not every model has their seed: {', '.join(found.left_out)}")


def cell(value: Any) -> str:
    """A cell: a dash for nothing, three decimals for a fraction."""
    if value is None:
        return "-"
    return f"{value:,.3f}" if isinstance(value, float) else f"{value}"


def result_of(run: "Run") -> dict[str, Any]:
    """The result of a training, as `--json` prints it."""
    return {
        "run_id": run.run_id,
        "label": run.label,
        "arch": run.arch,
        "status": run.status,
        "best_val_loss": run.best_val_loss,
        "best_step": run.best_step,
        "test_loss": run.progress["test_loss"],
        "steps": run.step,
        "chars_per_second": run.chars_per_second,
        "seconds": run.seconds,
    }


def print_result(run: "Run") -> None:
    """A training that has ended in two lines: its result and, unless it failed, the command to try next."""
    best = "no validation yet"
    if run.best_val_loss is not None:
        best = f"validation loss {run.best_val_loss:.3f}{bits_of(run, run.best_val_loss)} at step {run.best_step:,}"
    print(f"{run.label}: {best}; {run.step:,} steps in {run.seconds:.1f} s")
    if run.status != "failed":
        print(f"python -m charlm generate {run.run_id}")


def bits_of(run: "Run", loss: float) -> str:
    """A loss of a run in bits per character, in brackets; empty where it is not known how many characters it is of."""
    bits = run.bits_per_char(loss)
    return "" if bits is None else f" ({bits:.2f} bits per character)"


class Progress:
    """A training on stderr: a line per validation, and on a terminal a bar per model.

    Silent until the first step, so that a refusal stays one line.

    Args:
        trainers: prepared; validations up to the step that they continue from were printed before.
        remarks: repairs of the text and adaptations of the settings, printed once the training has started.
    """

    def __init__(self, trainers: Sequence["RunTrainer"], remarks: Sequence[str] = ()) -> None:
        self._trainers = trainers
        self._remarks = list(remarks)
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}
        self._troubles: dict[str, str] = {}  # what was said last of each run that rests
        self._printed = {one.run.run_id: one.state.step for one in trainers}  # the last step a line was printed for

    def close(self) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.stop()

    def show(self) -> None:
        """Print what is new and move the bars."""
        for remark in self._remarks:
            note(remark)
        self._remarks = []
        for trainer in self._trainers:
            self._print_validations(trainer)
            self._print_trouble(trainer)
        if sys.stderr.isatty():
            self._move_bars()

    def _print_validations(self, trainer: "RunTrainer") -> None:
        printed = self._printed[trainer.run.run_id]
        if trainer.state.validated_step <= printed:
            return
        self._printed[trainer.run.run_id] = trainer.state.validated_step
        for row in trainer.run.metrics(since=printed):
            if row.get("val_loss") is not None:
                self._print(validation_line(trainer.run, trainer.run_status(), row))

    def _print_trouble(self, trainer: "RunTrainer") -> None:
        """Print once why a training rests, and that it continues."""
        if trainer.trouble != self._troubles.get(trainer.run.run_id, ""):
            self._troubles[trainer.run.run_id] = trainer.trouble
            self._print(f"{trainer.run.label}: {trainer.trouble or 'the disk can be written again, going on'}")

    def _print(self, line: str) -> None:
        if self._bars is None:
            note(line)
        else:
            self._bars.console.print(line, markup=False, highlight=False)

    def _move_bars(self) -> None:
        if self._bars is None:
            self._bars = open_bars()
            for one in self._trainers:
                self._tasks[one.run.run_id] = self._bars.add_task(one.run.label, total=one.total, about="")
        for one in self._trainers:
            now = one.run_status()
            about = f"step {now['step']:,}{of_total(now)} · {now['chars_per_second']:,.0f} chars/s{time_left(now)}"
            self._bars.update(self._tasks[one.run.run_id], completed=now["step"], about=about)


def open_bars() -> Any:
    """Bars that vanish when the training is over."""
    from rich.console import Console  # as above: only where a terminal shows it
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    label, about = (TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[about]"))
    bars = Bars(label, BarColumn(), about, console=Console(stderr=True), transient=True)
    bars.start()
    return bars


class GatheredProgress:
    """Trainings elsewhere on stderr: a line for each validation that has been gathered.

    Args:
        runs: their folders here.
    """

    def __init__(self, runs: Sequence["Run"]) -> None:
        self._printed = {run.folder: run.step for run in runs}
        self._runs = runs

    def show(self, line: str = "") -> None:
        """Print a line, if there is one, and what is new."""
        from charlm.jobs import run_status

        if line:
            note(line)
        for run in self._runs:
            for row in run.metrics(since=self._printed[run.folder]):
                if row.get("val_loss") is not None:
                    note(validation_line(run, run_status(run), row))
                    self._printed[run.folder] = row["step"]


def validation_line(run: "Run", now: "RunStatus", row: Mapping[str, Any]) -> str:
    """A validation in a line, with the perplexity of words or subwords, and of the test part where it was scored."""
    losses = {"": None if run.level == "char" else row["val_loss"], "test ": row.get("test_loss")}
    perplexities = [
        f", {which}perplexity {math.exp(min(loss, 700.0)):,.1f}" for which, loss in losses.items() if loss is not None
    ]
    return (
        f"{run.label}: step {row['step']:,}{of_total(now)}, train loss {row['train_loss']:.3f}, "
        f"validation loss {row['val_loss']:.3f}{bits_of(run, row['val_loss'])}{''.join(perplexities)}, "
        f"{row['chars_per_second']:,.0f} chars/s{time_left(now)}"
    )


def of_total(now: "RunStatus") -> str:
    """The steps in all, if they are known."""
    return f" of {now['total_steps']:,}" if now["total_steps"] else ""


def time_left(now: "RunStatus") -> str:
    """The model's own time still to go."""
    return "" if now["eta_seconds"] is None else f", {now['eta_seconds']:,.0f} s left"
