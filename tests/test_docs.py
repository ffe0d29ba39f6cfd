"""What README and docs/ show runs, is generated from the code, and leads somewhere.

Blocks of one page run in order, in one process and one folder. `<!-- not run: REASON -->` before a block leaves it out;
`<!-- tested with: OPTIONS -->` puts options behind each of its commands, which shorten a training.
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from charlm.analysis.settings import SETTINGS as MEASUREMENTS
from charlm.cli import main
from charlm.config import CorpusConfig, ModelConfig, RaceConfig, SampleConfig, SearchConfig, TrainConfig
from charlm.data.catalog import load_corpus
from charlm.public.limits import Limits
from tests.conftest import ROOT
from tests.patience import patience

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(
    r"^(?:[ ]*<!-- (?P<how>not run|tested with): (?P<what>.+?) -->\n)?"
    r"(?P<margin>[ ]*)```(?P<language>\w*)\n(?P<body>.*?)^(?P=margin)```$",
    re.M | re.S,
)
RUN = ("python", "bash", "console")
SHOWN = ("text", "json", "html")  # output and files, which nobody types
# Why a block may not be run.
REASONS = (
    r"installs packages|starts a server|needs a server; tests/|an hour of|hours of|runs the tests|^tests/|^see above"
)
PROGRAM = ["python", "-m", "charlm"]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its lines, why it is not run, and what its commands are tested with."""

    language: str
    body: str
    not_run: str
    more: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    found = []
    for match in BLOCK.finditer(page.read_text(encoding="utf-8")):
        mark = {match["how"]: match["what"]}
        body = "\n".join(line.removeprefix(match["margin"]) for line in match["body"].splitlines())
        more = tuple(mark.get("tested with", "").split())
        found.append(Block(match["language"], body, mark.get("not run", ""), more))
    return found


def to_run(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in RUN and not block.not_run]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CHARLM_DATA for all pages: what was measured of a text is measured once."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def desk(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with the reader's own texts."""
    monkeypatch.setenv("CHARLM_DATA", str(kept))
    text = load_corpus("sherlock", CorpusConfig()).text
    (tmp_path / "my.txt").write_text(text[10_000:22_000], encoding="utf-8")
    (tmp_path / "other.txt").write_text(text[40_000:46_000], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


FIRST_READ = ("README.md", "docs/getting-started.md", "docs/reference/python.md")  # the blocks of others are slow


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name_of(page), marks=() if name_of(page) in FIRST_READ else pytest.mark.slow)
        for page in PAGES
        if to_run(page)
    ],
)
def test_the_blocks_of_a_page_run(page: Path, desk: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in to_run(page):
        if block.language == "python":
            exec(compile(block.body, str(page), "exec"), names)
            continue
        for line in block.body.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                if words[0] == "torchrun":
                    run_torchrun([*words[1:], *block.more])
                    continue
                assert words[:3] == PROGRAM, f"only python -m charlm is run: {line}"
                assert main([*words[3:], *block.more]) == 0, line


def run_torchrun(words: list[str]) -> None:
    """Start processes as torchrun does, on the local interface."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", *words]
    told = {**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    started = subprocess.run(command, capture_output=True, text=True, env=told, timeout=patience(240))
    assert started.returncode == 0, started.stderr


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_has_a_known_language_and_a_known_mark(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(blocks(page)) == len(re.findall(r"^ *```", text, re.M)) / 2
    assert len(re.findall(r"<!-- (?:not run|tested with): ", text)) == sum(
        bool(block.not_run or block.more) for block in blocks(page)
    )
    for block in blocks(page):
        assert block.language in (*RUN, *SHOWN), block.body
        assert not (block.not_run or block.more) or block.language in RUN, block.body


def test_few_blocks_are_not_run() -> None:
    """Those that install, start a server, train for an hour, or run elsewhere in the tests."""
    left_out = [block.not_run for page in PAGES for block in blocks(page) if block.not_run]
    assert all(re.search(REASONS, reason) for reason in left_out), left_out
    assert len(left_out) <= 13, left_out


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "SECURITY.md"], ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    included = re.findall(r'^--8<-- "([^"]+)"', text, re.M)
    for target in targets:
        assert target.startswith("https://") or (page.parent / target).exists(), target
    assert all((ROOT / path).is_file() for path in included), included


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", [*PAGES, ROOT / "SECURITY.md", ROOT / "bench" / "RECIPES.md"], ids=name_of)
def test_files_of_the_code_that_a_page_names_are_there(page: Path) -> None:
    named = set(re.findall(r"`([\w./]+/\w+\.py)`", page.read_text(encoding="utf-8"))) - {"charlm/models/fading.py"}
    missing = {name for name in named if not any((top / name).is_file() for top in (ROOT, ROOT / "charlm"))}
    assert not missing


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_every_station_is_in_the_tree_that_a_page_shows(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    stations = [path.stem for path in (ROOT / "charlm").iterdir() if path.is_dir() and (path / "__init__.py").exists()]
    assert all(f"{station}/" in text for station in stations)


# --- what is generated -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """docs/hooks.py, which mkdocs reads by its path."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_mark_of_a_page_is_generated(hooks: ModuleType) -> None:
    marks = [mark for page in PAGES for mark in re.findall(r"<!-- generated: (\w+) -->", page.read_text("utf-8"))]
    assert sorted(marks) == sorted(hooks.GENERATED)


def test_every_setting_is_listed_with_its_hint(hooks: ModuleType) -> None:
    page = hooks.settings()
    for cls in (ModelConfig, TrainConfig, RaceConfig, SearchConfig, SampleConfig, CorpusConfig, *MEASUREMENTS.values()):
        for name in cls.names():
            row = f'<a id="{cls.__name__}.{name}"></a>`{name}` | '
            assert row in page and hooks.plain(cls.field(name).metadata["hint"]) in page


def test_every_command_is_listed_with_its_options(hooks: ModuleType) -> None:
    page = hooks.commands()
    for name, command in hooks.all_commands():
        section = page[page.index(f"## {name}\n") :].partition("\n## ")[0]
        assert all(option in section for parameter in command.params for option in parameter.opts if "-" in option)


def test_every_endpoint_is_listed(hooks: ModuleType) -> None:
    page = hooks.endpoint_sections()
    found = re.findall(r"^## /(\w+)$", page, re.M)
    assert {"train", "race", "status", "generate", "compare", "evaluate", "corpora", "runs", "limits"} <= set(found)
    assert set(MEASUREMENTS) <= set(found)
    assert "`run_id`" in page and len(found) == len(set(found))


def test_the_table_of_limits_is_the_one_that_is_enforced(hooks: ModuleType) -> None:
    table = hooks.limits()
    for row in Limits().rows():
        assert f"| `{row['name']}` | {row['value']:,} | {row['unit']} | {row['what']} |" in table


def test_the_public_names_are_described(hooks: ModuleType) -> None:
    import charlm

    page = f"{hooks.python()}\n"
    assert all(f".{name}\n" in page for name in charlm.__all__)
