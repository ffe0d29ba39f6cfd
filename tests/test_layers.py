"""Who may import whom: one ordered list of stations, and each imports only from those before it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patience

ROOT = Path(__file__).resolve().parent.parent
# The stations of the data's way. A folder, or a file at the top of charlm/, imports only from stations before its own;
# ui and cli never import each other.
ORDER = (
    "errors",
    "files",
    "architectures",
    "config",
    "presets",
    "tokenizers",
    "data",
    "models",
    "generation",
    "training",
    "runs",
    "analysis",
    "formats",
    "pretrained",
    "jobs",
    "serving",
    "experiments",
    "public",
    "ui",
    "cli",
)
# Who may start threads or lock something against them.
WITH_THREADS = (
    "charlm/files.py",
    "charlm/models/kernels/plan.py",
    "charlm/training/data_parallel.py",
    "charlm/training/metrics.py",
    "charlm/runs/history.py",
    "charlm/analysis/ppmd.py",  # locks, so that its memory is taken once
    "charlm/jobs/queue.py",
    "charlm/serving/",
    "charlm/experiments/searches.py",
    "charlm/public/",
)
THREADS = {"threading", "_thread", "concurrent", "multiprocessing", "queue"}
SOURCES = sorted([ROOT / "app.py", *(ROOT / "charlm").rglob("*.py")])


def station_of(path: Path) -> str:
    """The file at the top of charlm/, or the folder below it, that a file belongs to."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "charlm" else parts[0]


def imports_of(path: Path) -> Iterator[str]:
    """Every module a file imports, also inside functions, as a full dotted name (`charlm.x.name` for `from`)."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *([node.module] if node.module else [])))
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def own_imports(path: Path) -> set[str]:
    """The stations of charlm (and app) that a file imports."""
    parts = [name.split(".") for name in imports_of(path)]
    return {name[1] for name in parts if name[0] == "charlm" and len(name) > 1} | {
        "app" for name in parts if name[0] == "app"
    }


def foreign_imports(path: Path) -> set[str]:
    """The top-level packages that a file imports."""
    return {name.split(".")[0] for name in imports_of(path)}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_a_station_imports_from_those_before_it(path: Path) -> None:
    station = station_of(path)
    if station in ("__init__", "__main__", "app"):  # the package's face and the ways in stand outside
        pytest.skip("not a station")
    assert station in ORDER, f"{relative(path)} has no place in the order of stations"
    later = {other for other in own_imports(path) if other in ORDER and ORDER.index(other) > ORDER.index(station)}
    assert not later, f"{relative(path)} imports {sorted(later)}, which come after {station}"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_ui_and_app_import_gradio_and_ui_never_torch(path: Path) -> None:
    station, foreign = station_of(path), foreign_imports(path)
    if station in ("ui", "app"):
        assert "torch" not in foreign
    else:
        assert "gradio" not in foreign
    if station == "cli":  # __main__ brings the two together
        assert "ui" not in own_imports(path)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_threads_are_started_in_few_places(path: Path) -> None:
    if not relative(path).startswith(WITH_THREADS):
        assert not foreign_imports(path) & THREADS


def test_plots_knows_pandas_and_plotly_only() -> None:
    allowed = {"charlm", "pandas", "plotly", *sys.stdlib_module_names}
    assert foreign_imports(ROOT / "charlm" / "analysis" / "plots.py") <= allowed


def loaded_by(statement: str) -> set[str]:
    """The top-level modules in a fresh process after `statement`."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, timeout=patience(120)
    )
    return set(run.stdout.split())


def test_import_charlm_loads_neither_gradio_nor_torch() -> None:
    assert not loaded_by("import charlm") & {"gradio", "torch", "pandas", "plotly"}


def test_the_command_line_shows_its_help_without_torch() -> None:
    shown = """if True:
        import contextlib, io
        from charlm.__main__ import main
        with contextlib.redirect_stdout(io.StringIO()):
            main(["--help"])"""
    assert not loaded_by(shown) & {"gradio", "torch", "pandas", "plotly"}


def test_the_interface_is_built_without_torch() -> None:
    assert "torch" not in loaded_by("import charlm.ui.app")


def test_the_library_shows_what_the_design_promises() -> None:
    import charlm

    promised = {
        "train",
        "generate",
        "evaluate",
        "load_run",
        "ModelConfig",
        "TrainConfig",
        "SampleConfig",
        "CorpusConfig",
    }
    assert promised <= set(charlm.__all__)
    assert all(hasattr(charlm, name) for name in charlm.__all__)
