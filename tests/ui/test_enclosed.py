"""The files that a body names are found, however deep and in whatever encoding."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charlm.ui.enclosed import names_only
from tests.ui.strangers import file_data

PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20))
VALUES = st.recursive(
    PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4))
)


def own(path: str) -> bool:
    return path == "/cache/mine.txt"


@given(VALUES, st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-16-le"]))
def test_a_foreign_file_is_found_wherever_it_is(value: Any, encoding: str) -> None:
    for path in ("/cache/mine.txt", "/etc/passwd", "http://198.51.100.7/x", 5, None):
        body = json.dumps({"data": [value, {"deep": [file_data(path)]}]}).encode(encoding)
        assert names_only(body, own) is (path == "/cache/mine.txt")


def test_escaped_names_are_names() -> None:
    assert not names_only(b'{"\\u0070ath": "/etc/passwd", "m\\u0065ta": {"_type": "gradio.FileData"}}', own)
    assert not names_only(b'{"path": "/cache/mine.txt", "path": "/etc/passwd", "meta": {}}', own)
    assert not names_only(b'{"path": "/etc/passwd", "meta": null}', own)


@pytest.mark.parametrize("body", [b"", b"null", b"{", b"\xff\xfe", b'{"path": "/etc/passwd"}', b'"path"', b"[1, NaN]"])
def test_what_names_no_file_passes(body: bytes) -> None:
    assert names_only(body, own)


def test_nesting_without_end_does_not_pass() -> None:
    assert not names_only(b"[" * 1_000_000 + b"]" * 1_000_000, own)
