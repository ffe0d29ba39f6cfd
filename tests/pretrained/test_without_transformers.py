"""Without the packages of requirements-pretrained.txt."""

from pathlib import Path

import pytest

from charlm.errors import CheckpointError
from charlm.pretrained import load, loading


def test_what_is_missing_is_named_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "NEEDED", ("torch", "no_such_package"))
    with pytest.raises(CheckpointError, match=r"needs no_such_package: pip install -r requirements-pretrained\.txt"):
        load(str(tmp_path))
