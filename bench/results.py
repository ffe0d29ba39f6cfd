"""What a bench found, as a table for people and as a section of bench/RESULTS.md."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from bench.measure import ROOT, Row

PATH = ROOT / "bench" / "RESULTS.md"
HEAD = """# What was measured

Medians; the usual code and ours in turn, each in a process of its own. `python -m charlm bench NAME --write` measures
again and replaces the section of that name. Shared machines are noisy: ratios say more than figures.
"""


def cells(row: Row) -> dict[str, str]:
    """A row for people."""
    ratio = row.ratio
    return {
        "what": row.what,
        "usual": number(statistics.median(row.usual)) if row.usual else "",
        "ours": number(statistics.median(row.ours)),
        "unit": row.unit,
        "ratio": f"{ratio:.2f}x" if ratio is not None else "",
        "goal": row.goal,
        "rounds": str(len(row.ours)),
    }


def number(value: float) -> str:
    """Four significant digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def section(name: str, rows: Sequence[Row], machine: Mapping[str, Any], day: str) -> str:
    """A bench's results in Markdown."""
    table = [cells(row) for row in rows]
    names = list(table[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(row.values()) + " |" for row in table]
    about = ", ".join(f"{key} {value}" for key, value in machine.items())
    return f"## {name}\n{day}; {about}.\n\n" + "\n".join(lines) + "\n"


def write(name: str, text: str) -> None:
    """Put a section into RESULTS.md in the place of the old one; sections stand in order of their names."""
    old = PATH.read_text(encoding="utf-8") if PATH.exists() else HEAD
    head, *sections = old.split("\n## ")
    kept = {part.split("\n", 1)[0]: f"## {part.rstrip()}\n" for part in sections}
    kept[name] = text
    PATH.write_text("\n".join([head.rstrip() + "\n", *(kept[key] for key in sorted(kept))]), encoding="utf-8")
