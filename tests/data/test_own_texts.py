"""Uploaded and pasted texts: listed after a restart, bounded, deleted, and none in the way of another."""

import json
import os
from pathlib import Path

import pytest

from charlm.data.own_texts import OwnTexts, Upload, is_there, open_upload, pasted_text
from charlm.errors import CorpusError

STORY = "A fox met a hen by the gate. " * 40


@pytest.fixture
def texts(tmp_path: Path) -> OwnTexts:
    return OwnTexts(tmp_path)


def aged(texts: OwnTexts, key: str, seconds: int, ending: str = ".bin") -> None:
    """Make a file older than it is."""
    path = texts.folder / f"{key}{ending}"
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_another_process_lists_what_was_kept_newest_first(texts: OwnTexts, tmp_path: Path) -> None:
    old = texts.keep(Upload("tale.txt", b"one"))
    aged(texts, old, 86_400)
    new = texts.keep(pasted_text(f"  {STORY}"))
    listed = OwnTexts(tmp_path).list()
    assert [(one.key, one.name, one.size) for one in listed] == [
        (new, "Pasted: A fox met a hen by the gate. A fox met a…", len(STORY) + 2),
        (old, "tale.txt", 3),
    ]
    assert listed[0].added > listed[1].added and not any(one.damaged for one in listed)


def test_a_short_pasted_text_is_named_whole(texts: OwnTexts) -> None:
    texts.keep(pasted_text("a b"))
    assert texts.list()[0].name == "Pasted: a b"


def test_the_same_text_is_kept_once_and_keeps_its_date(texts: OwnTexts) -> None:
    key = texts.keep(Upload("tale.txt", b"one"))
    aged(texts, key, 86_400)
    before = texts.list()
    assert texts.keep(Upload("tale.txt", b"one")) == key and texts.list() == before
    assert texts.keep(Upload("tale.txt", b"two")) != key and len(texts.list()) == 2


def test_beyond_the_bounds_a_new_text_is_refused_and_the_old_ones_stay(texts: OwnTexts) -> None:
    texts.most_files, texts.most_bytes = 2, 10
    texts.keep(Upload("a.txt", b"12345"))
    with pytest.raises(CorpusError, match="take 5 bytes, and with 6 more they would exceed 10; delete some under Your"):
        texts.keep(Upload("b.txt", b"123456"))
    texts.keep(Upload("b.txt", b"12345"))
    with pytest.raises(CorpusError, match="as many texts are kept as may be, 2; delete some under Your texts"):
        texts.keep(Upload("c.txt", b""))
    texts.keep(Upload("b.txt", b"12345"))  # it is there already
    assert sorted(one.name for one in texts.list()) == ["a.txt", "b.txt"]


def test_a_deleted_text_leaves_nothing(texts: OwnTexts) -> None:
    key, other = texts.keep(Upload("a.txt", b"1")), texts.keep(Upload("b.txt", b"2"))
    texts.delete(key)
    texts.delete(key)
    assert [one.key for one in texts.list()] == [other] and {path.stem for path in texts.folder.iterdir()} == {other}
    assert open_upload(key, texts.folder.parent) is None and not is_there(key, texts.folder.parent)


@pytest.mark.parametrize("key", ["", "..", "../secret", "*", "a" * 63, "A" * 64, f"{'a' * 64}/..", None, 5])
def test_only_a_key_is_deleted(texts: OwnTexts, key: object, tmp_path: Path) -> None:
    texts.keep(Upload("a.txt", b"1"))
    (tmp_path / "secret.bin").write_text("s")
    (tmp_path / "secret.json").write_text("{}")
    texts.delete(key)  # type: ignore[arg-type]
    assert len(texts.list()) == 1 and (tmp_path / "secret.bin").is_file() and (tmp_path / "secret.json").is_file()


def test_the_order_of_making_room_is_that_of_opening(texts: OwnTexts) -> None:
    keys = [texts.keep(Upload(f"{number}.txt", b"1")) for number in range(3)]
    for age, key in enumerate(reversed(keys)):
        aged(texts, key, 100 * age + 100, ".json")
    assert open_upload(keys[0], texts.folder.parent) is not None  # opened now, though kept first
    texts.make_room(texts.list(), 2)
    assert {one.name for one in texts.list()} == {"0.txt", "2.txt"}


@pytest.mark.parametrize(
    "about",
    [b"", b"{", b"[]", b'{"name": 5}', b'{"name": "a", "pasted": false, "more": 1}', b"\xff\xfe", b"9" * 100_000, None],
    ids=lambda about: repr(about)[:20],
)
def test_a_damaged_one_is_listed_to_be_deleted_and_the_others_are_as_they_were(
    texts: OwnTexts, about: bytes | None
) -> None:
    bad, good = texts.keep(Upload("bad.txt", b"1")), texts.keep(Upload("good.txt", b"2"))
    path = texts.folder / f"{bad}.json"
    path.unlink()
    if about is not None:
        path.write_bytes(about)
    listed = {one.key: one for one in texts.list()}
    assert listed[bad].damaged and listed[bad].name == f"damaged: uploads/{bad[:8]}…"
    assert listed[good].name == "good.txt" and not listed[good].damaged
    assert open_upload(bad, texts.folder.parent) is None and open_upload(good, texts.folder.parent) is not None
    texts.delete(bad)
    assert [one.key for one in texts.list()] == [good]


def test_a_text_that_was_changed_is_not_opened(texts: OwnTexts) -> None:
    key = texts.keep(Upload("a.txt", b"12345"))
    (texts.folder / f"{key}.bin").write_bytes(b"12346")
    assert open_upload(key, texts.folder.parent) is None and is_there(key, texts.folder.parent)
    assert texts.keep(Upload("a.txt", b"12345")) == key  # to upload it again mends it
    assert open_upload(key, texts.folder.parent) is not None


def test_what_else_lies_in_the_folder_is_left_alone(texts: OwnTexts) -> None:
    texts.keep(Upload("a.txt", b"1"))
    (texts.folder / "notes.txt").write_text("mine")
    (texts.folder / f"{'b' * 64}.bin").mkdir()
    os.mkfifo(texts.folder / f"{'c' * 64}.json")
    listed = {one.key: one.damaged for one in texts.list()}
    assert list(listed.values()).count(False) == 1 and listed["b" * 64] and listed["c" * 64]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "../../etc/passwd"),
        ("a\nb\u202etxt.exe", "a b txt.exe"),
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ("\x00", "no name"),
        ("x" * 10_000, "x" * 120),
        ("\ud800.txt", "?.txt"),
    ],
    ids=["path", "controls", "markup", "nothing", "long", "surrogate"],
)
def test_a_hostile_name_is_one_line_of_text_and_no_path(texts: OwnTexts, name: str, shown: str, tmp_path: Path) -> None:
    key = texts.keep(Upload(name, b"1"))
    assert [one.name for one in texts.list()] == [shown]
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")} == {
        f"uploads/{key}.bin",
        f"uploads/{key}.json",
    }
    opened = open_upload(key, tmp_path)
    assert opened is not None and opened.name == name.replace("\ud800", "?")


def test_texts_kept_before_there_were_owners_are_found(texts: OwnTexts) -> None:
    key = "f05c419cb2f454cd5fc44d03a2d0bafc13951672506a051b6b4d5d5c0b3db15c"
    texts.folder.mkdir()
    (texts.folder / f"{key}.bin").write_bytes(b"one")
    (texts.folder / f"{key}.json").write_text(json.dumps({"name": "tale.txt", "pasted": False}))
    opened = open_upload(key, texts.folder.parent)
    assert opened == Upload("tale.txt", b"one") and texts.list()[0].name == "tale.txt"


def test_no_folder_is_no_text(tmp_path: Path) -> None:
    assert OwnTexts(tmp_path / "nowhere").list() == []
    (tmp_path / "uploads").write_text("a file")
    assert OwnTexts(tmp_path).list() == []
    with pytest.raises(CorpusError, match="the text cannot be kept in"):
        OwnTexts(tmp_path).keep(pasted_text("a b"))
