"""What the commands print: results on stdout, progress and remarks on stderr."""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from charlm.config import LEVEL_NAMES

WIDE = 500  # columns of a table that goes into a file or a pipe, so that nothing is cut


def note(message: str) -> None:
    """A remark beside the result."""
    print(message, file=sys.stderr)


def print_json(value: Any) -> None:
    """One line of JSON; what is no finite number becomes null, for JSON has no word for it."""
    print(json.dumps(finite(value), ensure_ascii=False, default=str), flush=True)


def finite(value: Any) -> Any:
    """`value` with null for NaN and infinities, however deep they sit."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of the same names as a table without boxes."""
    from rich.console import Console  # rich takes a tenth of a second: only for commands that draw
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, value in rows[0].items():
        number = isinstance(value, int | float)
        table.add_column(name.replace("_", " "), justify="right" if number else "left", no_wrap=number)
    for row in rows:
        table.add_row(*(shown(value) for value in row.values()))
    Console(width=None if sys.stdout.isatty() else WIDE, markup=False, highlight=False, emoji=False).print(table)


def shown(value: Any) -> str:
    """A cell: a dash for nothing, three decimals for a fraction."""
    if value is None:
        return "-"
    return f"{value:,.3f}" if isinstance(value, float) else f"{value}"


def result_of(run: Any) -> dict[str, Any]:
    """What a training came to, as `--json` prints it."""
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


def facts_of(run: Any) -> dict[str, Any]:
    """All that is known about a run."""
    return {
        **result_of(run),
        "total_steps": run.total_steps,
        "epoch": run.epoch,
        "message": run.message,
        "num_parameters": run.num_parameters,
        "created": run.created,
        "shipped": run.shipped,
        "group": run.group,
        "preset": run.preset,
        "folder": str(run.folder),
        "size_bytes": run.size_bytes,
        "trimmed": run.trimmed,
        "mend": run.fix,
        "ancestry": run.ancestry,
        "imported": run.imported,
        "corpus": as_dict(run.corpus),
        "model": as_dict(run.model_config),
        "train": as_dict(run.train_config),
        "corpus_settings": as_dict(run.corpus_config),
    }


def as_dict(value: Any) -> dict[str, Any]:
    """A config as a plain dict."""
    return dict(value) if isinstance(value, Mapping) else value.to_dict()


def row_of(run: Any) -> dict[str, Any]:
    """A line of `runs list`."""
    return {
        "run": run.run_id,
        "label": run.label,
        "arch": run.arch,
        "tokens": LEVEL_NAMES[run.level],
        "corpus": run.corpus.get("name", ""),
        "best_val_loss": run.best_val_loss,
        "bits_per_char": run.bits_per_char(run.best_val_loss),
        "steps": run.step,
        "seconds": round(run.seconds),
        "MB": round(run.size_bytes / 1e6, 1),
        "status": "shipped" if run.shipped else run.status,
    }


def ranking(runs: Iterable[Any]) -> list[dict[str, Any]]:
    """The trainers, best validation loss first."""
    ordered = sorted(runs, key=lambda run: math.inf if run.best_val_loss is None else run.best_val_loss)
    return [
        {
            "place": place,
            "run": run.run_id,
            "label": run.label,
            "best_val_loss": run.best_val_loss,
            "bits_per_char": run.bits_per_char(run.best_val_loss),
            "best_step": run.best_step,
            "seconds": round(run.seconds, 1),
            "chars_per_second": round(run.chars_per_second),
        }
        for place, run in enumerate(ordered, 1)
    ]


def bits_of(run: Any, loss: float) -> str:
    """A loss of a run in bits per character, in brackets; empty where it is not known how many characters it is of."""
    bits = run.bits_per_char(loss)
    return "" if bits is None else f" ({bits:.2f} bits per character)"


def perplexities(run: Any, row: Mapping[str, Any]) -> str:
    """Of a validation of words or subwords, and of the test part where it was scored, as they follow in a line."""
    shown = {"": None if run.level == "char" else row["val_loss"], "test ": row.get("test_loss")}
    return "".join(
        f", {which}perplexity {math.exp(min(loss, 700.0)):,.1f}" for which, loss in shown.items() if loss is not None
    )


def print_result(run: Any) -> None:
    """A finished training in two lines: what came out, what to do next."""
    best = "no validation yet" if run.best_val_loss is None else f"validation loss {run.best_val_loss:.3f}"
    if run.best_val_loss is not None:
        best += f"{bits_of(run, run.best_val_loss)} at step {run.best_step:,}"
    print(f"{run.label}: {best}; {run.step:,} steps in {run.seconds:.1f} s")
    print(f"python -m charlm generate {run.run_id}")
