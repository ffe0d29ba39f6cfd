"""The wheel: what is in it, and that it works by itself, installed where no checkout is."""

import os
import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

import charlm
from tests.server import ROOT, serving

pytest.importorskip("hatch_requirements_txt", reason="pip install -r requirements-dev.txt brings what builds the wheel")
pytestmark = pytest.mark.slow

WRITE = ("generate", "sherlock-lstm", "--prompt", "Holmes", "--length", "20", "--seed", "3")
SETTINGS = ("CHARLM_RUNS", "CHARLM_DATA", "PYTHONPATH")


def pip(*words: str) -> None:
    """pip in this environment, without a network."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", str(folder), ".")
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a fresh environment with the wheel, which finds this environment's libraries."""
    place = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True, timeout=60)
    bin_name = "Scripts" if sys.platform == "win32" else "bin"
    python = place / bin_name / "python"
    pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    [own] = place.glob("lib/python*/site-packages") if sys.platform != "win32" else [place / "Lib" / "site-packages"]
    libraries = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (own / "libraries.pth").write_text("\n".join(libraries), encoding="utf-8")
    return python.parent


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and no settings: the defaults apply."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def run(command: list[str | Path], folder: Path) -> str:
    """What a program prints that ends well."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as file:
        [name] = [name for name in file.namelist() if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(file.read(name))


def names_in(path: Path) -> set[str]:
    """The packages that a list of requirements names."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if re.match("[a-z]", line)]
    return {re.split("[<>=]", line)[0] for line in lines}


def test_it_holds_the_package_with_all_its_files_and_the_shipped_runs(wheel: Path) -> None:
    package = [path for path in (ROOT / "charlm").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    shipped = [path for path in (ROOT / "checkpoints" / "shipped").rglob("*") if path.is_file()]
    expected = {path.relative_to(ROOT).as_posix() for path in package}
    expected |= {f"charlm/{path.relative_to(ROOT / 'checkpoints').as_posix()}" for path in shipped}
    with zipfile.ZipFile(wheel) as file:
        held = {name for name in file.namelist() if ".dist-info/" not in name}
    assert held == expected and "charlm/py.typed" in held
    assert {Path(name).suffix for name in held} >= {".py", ".js", ".css", ".html", ".svg", ".safetensors"}
    assert wheel.stat().st_size < 30e6


def test_its_metadata_say_what_the_checkout_says(wheel: Path) -> None:
    about = metadata_of(wheel)
    assert (about["Name"], about["Version"]) == ("charlm-lab", charlm.__version__)
    assert (about["License-Expression"], about["Requires-Python"]) == ("MIT", ">=3.11")
    needs = {re.split("[ <>=;]", line)[0]: "extra ==" in line for line in about.get_all("Requires-Dist", [])}
    assert {name for name, is_extra in needs.items() if not is_extra} == names_in(ROOT / "requirements.txt")
    files = ("dev", "ray", "keras", "documents", "mcp", "pretrained", "tensorboard", "trackio")
    extras = set[str]().union(*(names_in(ROOT / f"requirements-{one}.txt") for one in files))
    assert {name for name, is_extra in needs.items() if is_extra} == extras


def test_it_writes_the_text_that_the_checkout_writes(programs: Path, elsewhere: Path) -> None:
    text = run([programs / "charlm", *WRITE], elsewhere)
    assert text == run([sys.executable, "-m", "charlm", *WRITE], ROOT) and len(text) > 20
    where = run([programs / "python", "-c", "import charlm; print(charlm.__file__, charlm.__version__)"], elsewhere)
    assert str(ROOT) not in where and where.split()[-1] == charlm.__version__
    assert os.listdir(elsewhere) == []


def test_its_page_answers_and_keeps_its_files_in_the_current_folder(programs: Path, elsewhere: Path) -> None:
    from gradio_client import Client

    with serving(elsewhere.parent, [str(programs / "charlm"), "app"], elsewhere) as server:
        listed = Client(server.address, verbose=False).predict(api_name="/runs")
    assert {run["run_id"] for run in listed if run["shipped"]} >= {"sherlock-lstm", "sherlock-gru", "sherlock-rnn"}
    assert (elsewhere / "data" / "browser-secret").is_file()
