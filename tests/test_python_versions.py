"""Which Pythons are supported is said once and the same everywhere, and the source is theirs."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.patience import patience

SOURCES = sorted([ROOT / "app.py", *(ROOT / "charlm").rglob("*.py")])
# Modules of the standard library that 3.12, 3.13 or 3.14 no longer has, and names that are gone or warned of.
GONE = {
    "aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr", "imp",
    "lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd", "sunau",
    "telnetlib", "uu", "xdrlib",
}  # fmt: skip
GONE_NAMES = {
    "datetime.utcnow", "datetime.utcfromtimestamp", "locale.resetlocale", "pkgutil.find_loader", "pkgutil.get_loader",
    "ast.Num", "ast.Str", "ast.Bytes", "ast.NameConstant", "typing.ByteString", "asyncio.get_event_loop",
}  # fmt: skip
COMPILE = """
import sys, warnings
warnings.simplefilter("error")
for path in sys.stdin.read().splitlines():
    with open(path, encoding="utf-8") as file:
        compile(file.read(), path, "exec")
print(*sys.version_info[:2], sep=".")
"""


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def supported(project: dict[str, Any]) -> list[str]:
    """The versions that the classifiers name."""
    found = [
        re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", one) for one in project["project"]["classifiers"]
    ]
    return [match[1] for match in found if match]


def test_all_places_name_the_same_versions(project: dict[str, Any]) -> None:
    versions = supported(project)
    first, last = versions[0], versions[-1]
    assert versions == [f"3.{minor}" for minor in range(11, int(last[2:]) + 1)]
    assert project["project"]["requires-python"] == f">={first}"
    assert project["tool"]["ruff"]["target-version"] == f"py{first.replace('.', '')}"
    assert project["tool"]["mypy"]["python_version"] == first
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Python {first} to {last}" in readme
    assert re.search(r'^python_version: "(.*)"$', readme, re.M)[1] in versions  # type: ignore[index]
    assert re.search(r"^FROM python:([\d.]+)", (ROOT / "Dockerfile").read_text(), re.M)[1] in versions  # type: ignore[index]
    assert f"| {last} |" in (ROOT / "docs" / "reference" / "python-versions.md").read_text(encoding="utf-8")
    assert ".".join(map(str, sys.version_info[:2])) in versions


def test_nothing_of_the_standard_library_is_used_that_a_later_python_lacks() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = {one.name for one in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {node.module or ""} if not node.level else set()
            else:
                names = {ast.unparse(node)} & GONE_NAMES if isinstance(node, ast.Attribute) else set()
            assert not {name.partition(".")[0] for name in names} & GONE, path
            assert not names & GONE_NAMES, path


def pythons() -> dict[str, str]:
    """The Pythons of this machine by version, as far as they can be run."""
    places = [*Path.home().glob(".pyenv/versions/3.*/bin/python"), *Path("/usr/bin").glob("python3.[0-9]*"),
              *Path("/usr/local/bin").glob("python3.[0-9]*")]  # fmt: skip
    found = {}
    for path in places:
        if re.fullmatch(r"python(3\.\d+)?", path.name):
            asked = subprocess.run([path, "-c", COMPILE], input="", capture_output=True, text=True)
            if asked.returncode == 0:
                found[asked.stdout.strip()] = str(path)
    return found


@pytest.mark.slow
def test_every_supported_python_of_this_machine_compiles_the_source_without_a_warning(project: dict[str, Any]) -> None:
    others = {version: path for version, path in pythons().items() if version in supported(project)}
    for version, path in {**others, ".".join(map(str, sys.version_info[:2])): sys.executable}.items():
        done = subprocess.run(
            [path, "-c", COMPILE],
            input="\n".join(map(str, SOURCES)),
            capture_output=True,
            text=True,
            timeout=patience(120),
        )
        assert done.stdout.strip() == version, done.stderr
