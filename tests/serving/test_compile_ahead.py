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
    calls = [
        f"work({arch!r}, batch_size={rows})" for arch in ("lstm", "gru", "transformer", "mingru") for rows in (32, 1)
    ]
    assert run("; ".join(["from charlm.serving.compile_ahead import train_and_write as work", *calls])) == compiled
