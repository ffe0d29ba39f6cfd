"""JSON of strangers: bounded, of plain values, and never a RecursionError."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.files import is_count, is_deep, is_number, known_fields, one_line, parsed, read

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def depth(value: object) -> int:
    if isinstance(value, dict | list):
        return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)
    return 0


@given(PLAIN, st.booleans())
def test_what_is_written_is_read(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    data = text.encode()
    assert parsed(data, len(data), 100) == value


@given(PLAIN, st.integers(0, 6))
def test_depth_is_counted_outside_strings_only(value: object, most: int) -> None:
    assert is_deep(json.dumps(value), most) == (depth(value) > most)


@given(st.binary(max_size=60) | st.text(st.sampled_from('[]{}",:\\ue0\x00 1'), max_size=60).map(str.encode))
def test_any_bytes_are_a_value_or_a_value_error(data: bytes) -> None:
    try:
        value = parsed(data, 1000, 5)
    except ValueError as error:
        assert len(str(error)) < 300
    else:
        assert depth(value) <= 5


@pytest.mark.parametrize(
    ("data", "said"),
    [("[" * 17 + "]" * 17, "deeper than 16"), ('{"a":' * 100_000, "deeper"), ("[" * 1_000_000, "deeper"),
     ("NaN", "not a number"), ("[-Infinity]", "not a number"), ("1e999", "too large"), ("9" * 5000, "too large"),
     ('{"a":1,"a":2}', "twice"), ('"\\ud800"', "half a character"), ('[{"\\uDC00":1}]', "half a character"),
     ('["' + '\\"' * 400_000, "nterminated"), ('"' + "x" * 1_000_001 + '"', "longer")],
)  # fmt: skip
def test_what_is_refused(data: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parsed(data, 1_000_000)


def test_no_more_of_a_file_is_read_than_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"[" + b" " * 100 + b"]")
    assert read(tmp_path / "a.json", 102) == []
    with pytest.raises(ValueError, match="longer than 101 bytes"):
        read(tmp_path / "a.json", 101)


def test_fields_and_kinds() -> None:
    assert known_fields({"a": 1}, ("a", "b")) == {"a": 1}
    for odd in ([], "a", {"c": 1}, None):
        with pytest.raises(ValueError, match=r"object|not known"):
            known_fields(odd, ("a", "b"))
    assert [is_number(value) for value in (1, -2.5, True, "1", None, 1e41, -(10**41))] == [True] * 2 + [False] * 5
    assert [is_count(value) for value in (0, 3, -1, 1.0, True, 10**16)] == [True, True, False, False, False, False]
    assert one_line(" a\n\tb\x1b\u202e c ", 80) == "a b c" and one_line("x" * 99, 5) == "xxxxx" and one_line(3, 5) == ""
