"""What the Dockerfile promises; .ci/container takes its steps."""

import importlib.machinery
import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def container() -> ModuleType:
    """.ci/container, whose name has no suffix."""
    loader = importlib.machinery.SourceFileLoader("ci_container", str(ROOT / ".ci" / "container"))
    spec = importlib.util.spec_from_loader("ci_container", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr("sys.dont_write_bytecode", True)
        changed.setitem(__import__("sys").modules, "ci_container", module)  # dataclasses look their module up
        loader.exec_module(module)
    return module


def test_the_dockerfile_says_what_the_guide_says(container: ModuleType) -> None:
    steps = container.read_dockerfile((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert steps.image == "python:3.11-slim" and steps.user == "1000" and steps.port == "7860"
    assert steps.volumes == ["/data"] and steps.command == ["python", "app.py"]
    assert steps.health == ["python", "-m", "charlm.ui.health"]
    assert {name: steps.env[name] for name in ("CHARLM_RUNS", "CHARLM_DATA", "HF_HOME")} == {
        "CHARLM_RUNS": "/data/runs", "CHARLM_DATA": "/data/texts", "HF_HOME": "/data/huggingface",
    }  # fmt: skip
    names = [name for name, _ in steps.build]
    assert names.index("RUN") < names.index("COPY") and ("COPY", "requirements.txt .") in steps.build
    guide = (ROOT / "docs" / "guides" / "container.md").read_text(encoding="utf-8")
    assert all(word in guide for word in (steps.image, steps.port, *steps.volumes, *list(steps.env)[3:6]))


def test_what_is_not_plain_is_refused(container: ModuleType) -> None:
    with pytest.raises(SystemExit, match="ENTRYPOINT is not known"):
        container.read_dockerfile('FROM x\nENTRYPOINT ["a"]\n')


def test_the_image_has_the_code_and_the_included_models_and_no_more(container: ModuleType) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no git checkout")
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    kept = [name for name in listed.stdout.splitlines() if not container.is_ignored(name, patterns)]
    tops = {name.partition("/")[0] for name in kept}
    assert {"app.py", "charlm", "checkpoints", "pyproject.toml", "requirements.txt"} <= tops
    assert not tops & {"tests", "docs", "bench", "findings", ".git", ".ci", ".github", "README.md", "Dockerfile"}
    code = [name for name in listed.stdout.splitlines() if name.startswith(("charlm/", "checkpoints/shipped/"))]
    assert set(code) <= set(kept)
    untracked = ("checkpoints/mine/run.json", "data/my.txt", "charlm/__pycache__/x.pyc", ".venv/bin/python", "venv/x")
    assert all(container.is_ignored(name, patterns) for name in untracked)
    assert sum((ROOT / name).stat().st_size for name in kept if Path(ROOT / name).is_file()) < 60e6


@pytest.mark.parametrize(
    ("name", "patterns", "is_out"),
    [
        ("a/b.txt", ["a"], True), ("ab/b.txt", ["a"], False), ("a/b.txt", ["a/*", "!a/b.txt"], False),
        ("x/y/__pycache__/z", ["**/__pycache__"], True), ("__pycache__/z", ["**/__pycache__"], True),
        ("x/y.pyc", ["*.pyc"], False), ("y.pyo", ["**/*.py[co]"], True), ("y.py", ["**/*.py[co]"], False),
    ],
)  # fmt: skip
def test_patterns_are_read_as_docker_reads_them(
    name: str, patterns: list[str], is_out: bool, container: ModuleType
) -> None:
    assert container.is_ignored(name, patterns) is is_out
