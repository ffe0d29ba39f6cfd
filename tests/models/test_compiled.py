"""Where machine code is kept: never beside code of another version."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from charlm.models.compiled import is_wanted

pytestmark = pytest.mark.skipif(not is_wanted(), reason="compiled only")


def folder_of(house: Path, **env: str) -> Path:
    """Where a fresh process with the library in `house` keeps it."""
    code = "import charlm.models.product, numba; print(numba.config.CACHE_DIR)"
    command = [sys.executable, "-c", code]
    run = subprocess.run(
        command, capture_output=True, text=True, cwd=house, env={**os.environ, **env}, check=True, timeout=120
    )
    return Path(run.stdout.strip())


def test_changed_source_has_a_folder_of_its_own(repository: Path, tmp_path: Path) -> None:
    shutil.copytree(repository / "charlm", tmp_path / "charlm", ignore=shutil.ignore_patterns("__pycache__"))
    before = folder_of(tmp_path, NUMBA_CACHE_DIR="")
    assert before.parent == tmp_path / "charlm" / "models" / "__pycache__"
    before.mkdir(parents=True, exist_ok=True)
    with (tmp_path / "charlm" / "models" / "choosing.py").open("a") as source:
        source.write("# newer\n")
    after = folder_of(tmp_path, NUMBA_CACHE_DIR="")
    assert after.parent == before.parent and after != before and not before.exists()
    own = folder_of(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "own"))
    assert own == tmp_path / "own" / after.name
