"""The files that a body names are found, however deep and in whatever encoding."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.public.middleware import BROKEN, DEEP, FOREIGN, problem_in
from tests.ui.strangers import file_data

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), TEXT)
VALUES = st.recursive(
    PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4))
)


def own(path: str) -> bool:
    return path == "/cache/mine.txt"


@given(VALUES, st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-16-le"]))
def test_a_foreign_file_is_found_wherever_it_is(value: Any, encoding: str) -> None:
    for path in ("/cache/mine.txt", "/etc/passwd", "http://198.51.100.7/x", 5, None):
        body = json.dumps({"data": [value, {"deep": [file_data(path)]}]}).encode(encoding)
        assert problem_in(body, own) == ("" if path == "/cache/mine.txt" else FOREIGN)


def test_escaped_names_are_names() -> None:
    assert problem_in(b'{"\\u0070ath": "/etc/passwd", "m\\u0065ta": {"_type": "gradio.FileData"}}', own) == FOREIGN
    assert problem_in(b'{"path": "/cache/mine.txt", "path": "/etc/passwd", "meta": {}}', own) == FOREIGN
    assert problem_in(b'{"path": "/etc/passwd", "meta": null}', own) == FOREIGN


@pytest.mark.parametrize("body", [b"", b"null", b"{", b"\xff\xfe", b'{"path": "/etc/passwd"}', b'"path"', b"[1, NaN]"])
def test_what_names_no_file_passes(body: bytes) -> None:
    assert problem_in(body, own) == ""


def test_nesting_without_end_does_not_pass() -> None:
    assert problem_in(b"[" * 1_000_000 + b"]" * 1_000_000, own) == DEEP


@pytest.mark.parametrize("body", ['"\\ud800"', '{"a": ["x", "\\udfff"]}', '{"\\udc00": 1}'])
def test_half_a_pair_of_surrogates_does_not_pass(body: str) -> None:
    """An answer that holds it could not be written."""
    assert problem_in(body.encode(), own) == BROKEN


def test_a_whole_pair_passes() -> None:
    assert problem_in(b'"\\ud83d\\ude00"', own) == ""
