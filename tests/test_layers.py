"""Who may import whom (DESIGN.md): a line imports from lines below it, never above."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patience

ROOT = Path(__file__).resolve().parent.parent
LAYERS = (
    {"errors", "files", "memory", "bounded_json", "json_walk"},
    {"config", "presets", "escapes"},
    {"alphabet", "corpus", "catalog", "tokenizer", "cleaning", "decoding", "records", "sources", "symbols", "tables"},
    {"models", "dataset", "encoding", "plots"},
    {"device", "estimate", "evaluate", "metrics", "course", "shards"},
    {"train", "sample", "checkpoint", "tensor_file", "tensor_header"},
    {"run", "runs", "run_info", "analysis", "advice"},
    {"experiment", "job", "jobs", "job_queue", "serving", "entry", "race", "racer", "fork", "exchange", "tutorials"}
    | {"limits", "accounts", "visitors", "sizing"},
    {"ui"},
    {"app", "cli", "__main__"},
)
LEVEL = {noun: level for level, nouns in enumerate(LAYERS) for noun in nouns}
THREADS = {"threading", "_thread", "concurrent", "multiprocessing", "queue"}
SOURCES = sorted([ROOT / "app.py", *(ROOT / "charlm").rglob("*.py")])


def noun_of(path: Path) -> str:
    """The layer a file belongs to: its module, or the package under charlm that holds it."""
    return path.relative_to(ROOT).with_suffix("").parts[-1 if path.parent in (ROOT, ROOT / "charlm") else 1]


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
    """The layers of charlm (and app) that a file imports."""
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
def test_a_line_imports_from_lines_below_it(path: Path) -> None:
    noun = noun_of(path)
    if noun == "__init__":  # charlm/__init__.py shows the library's face and stands outside the layers
        pytest.skip("the package's face")
    assert noun in LEVEL, f"{relative(path)} has no place in DESIGN.md's layers"
    known = {other for other in own_imports(path) if other in LEVEL}  # the rest are names of charlm/__init__
    above = {other for other in known if LEVEL[other] > LEVEL[noun]}
    assert not above, f"{relative(path)} imports {sorted(above)}, which stand above it"


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_ui_and_app_import_gradio_and_ui_never_torch(path: Path) -> None:
    noun, foreign = noun_of(path), foreign_imports(path)
    if noun not in ("ui", "app"):
        assert "gradio" not in foreign
    if noun in ("ui", "app"):
        assert "torch" not in foreign
    if noun in ("cli", "__main__"):
        assert "ui" not in own_imports(path)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_only_the_queue_serving_and_shards_have_threads(path: Path) -> None:
    if noun_of(path) not in ("job_queue", "serving", "shards", "metrics", "course", "files", "accounts", "visitors"):
        assert not foreign_imports(path) & THREADS


def test_plots_knows_pandas_and_plotly_only() -> None:
    allowed = {"charlm", "pandas", "plotly", *sys.stdlib_module_names}
    assert foreign_imports(ROOT / "charlm" / "plots.py") <= allowed


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
        from charlm.cli import main
        with contextlib.redirect_stdout(io.StringIO()):
            main(["--help"])"""
    assert not loaded_by(shown) & {"gradio", "torch", "pandas", "plotly"}


def test_the_interface_is_built_without_torch() -> None:
    assert "torch" not in loaded_by("import charlm.ui.demo")


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
