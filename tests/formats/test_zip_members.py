"""Whatever a zip's names and bytes are: refused, or plain files inside."""

import io
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlm.errors import CheckpointError
from charlm.formats.run_zip import ZipMembers
from tests.attacks.make import zipped

PARTS = st.text(st.sampled_from('ab./\\:\0 *"<\n\u202e~'), min_size=1, max_size=8) | st.text(min_size=1, max_size=6)
WHOLE = zipped({"a/run.json": b"{}" * 40, "a/b.txt": b"text " * 60})
SOME = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def opened(tmp_path: Path, data: bytes) -> ZipMembers:
    (tmp_path / "a.zip").write_bytes(data)
    return ZipMembers(tmp_path / "a.zip", 1_000)


@SOME
@given(name=st.lists(PARTS, min_size=1, max_size=3).map("/".join))
def test_a_name_stays_inside_on_every_system(name: str, tmp_path: Path) -> None:
    try:
        data = zipped({name: b"x"})
    except (UnicodeEncodeError, ValueError):
        return
    try:
        names = opened(tmp_path, data).names
    except CheckpointError as error:
        assert str(error).isprintable()
        return
    for path in (*map(PurePosixPath, names), *map(PureWindowsPath, names)):
        assert not path.anchor and ".." not in path.parts and str(path).isprintable()


@SOME
@given(at=st.integers(0, len(WHOLE) - 1), put=st.binary(min_size=1, max_size=6), cut=st.booleans())
def test_any_bytes_are_refused_or_unpacked_within_bounds(at: int, put: bytes, cut: bool, tmp_path: Path) -> None:
    damaged = WHOLE[:at] + put + (b"" if cut else WHOLE[at + len(put) :])
    try:
        members = opened(tmp_path, damaged)
        assert sum(len(members.read(name, 400)) for name in members.names) <= 1_000
    except CheckpointError as error:
        assert "\n" not in str(error) and len(str(error)) < 400


def test_members_are_counted_one_by_one_and_together(tmp_path: Path) -> None:
    members = opened(tmp_path, WHOLE)
    assert members.names == ["a/run.json", "a/b.txt"] and members.size("a/b.txt") == 300
    assert members.read("a/run.json", 80) == b"{}" * 40
    with pytest.raises(CheckpointError, match="more than 299 bytes, which is more than it needs"):
        members.read("a/b.txt", 299)
    with pytest.raises(CheckpointError, match="unpacks to more than 1,000 bytes"):
        for _ in range(9):  # what it says of itself would have passed
            members.read("a/b.txt", 300)


def test_folders_are_no_files_and_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.mkdir("a")
        archive.writestr("a/b", b"1")
    assert opened(tmp_path, file.getvalue()).names == ["a/b"]
    assert opened(tmp_path, zipped({"odd/": b""}, mode=0o040755)).names == []
    for name, mode in (("odd/", 0o120777), ("odd/", 0o100644), ("odd", 0o040755), ("odd", 0o120777)):
        with pytest.raises(CheckpointError, match="a link or a device"):
            opened(tmp_path, zipped({name: b""}, mode=mode))
