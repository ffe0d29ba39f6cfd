"""Compiling ahead: once a machine, in a process of its own; afterwards nobody waits for the compiler."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charlm.models.kernels.jit import is_wanted
from charlm.serving import compile_ahead
from tests.patience import patience

compiled_only = pytest.mark.skipif(not is_wanted(), reason="compiled only")


@compiled_only
def test_it_is_begun_once_and_not_when_it_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_ahead, "_folder", lambda: tmp_path)
    first = compile_ahead.start()
    assert first is not None
    try:
        assert first.poll() is None and compile_ahead.start() is None
    finally:
        first.terminate()
        first.wait(patience(30))
    assert compile_ahead.start() is None, "another one may still be at work"
    long_ago = time.time() - 2 * compile_ahead.SECONDS
    os.utime(tmp_path / compile_ahead.BEGUN, (long_ago, long_ago))
    again = compile_ahead.start()
    assert again is not None
    again.terminate()
    again.wait(patience(30))
    (tmp_path / compile_ahead.DONE).touch()
    os.utime(tmp_path / compile_ahead.BEGUN, (long_ago, long_ago))
    assert compile_ahead.start() is None


def test_where_no_machine_code_is_kept_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_ahead, "_folder", lambda: None)
    assert compile_ahead.start() is None


@pytest.mark.slow
@compiled_only
@pytest.mark.timeout(patience(600))
def test_after_it_nothing_is_compiled(tmp_path: Path, repository: Path) -> None:
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(repository)}

    def run(code: str) -> set[str]:
        subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=patience(500))
        return {str(path) for path in tmp_path.rglob("*.nbc")}

    compiled = run("from charlm.serving.compile_ahead import main; main()")
    assert len(compiled) > 20 and list(tmp_path.rglob(compile_ahead.DONE))
    archs = "lstm", "gru", "transformer", "mingru"
    calls = [f"work({arch!r}, batch_size={rows})" for arch in archs for rows in (32, 1)]
    assert run("; ".join(["from charlm.serving.compile_ahead import train_and_write as work", *calls])) == compiled
