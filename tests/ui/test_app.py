"""What a page is given to open with: each component and listener more costs the browser time."""

from typing import Any

import httpx
import pytest


@pytest.fixture
def pages(public_demo: Any) -> dict[str, Any]:
    """Which components and listeners each page has."""
    return public_demo.get_config_file()["page"]


def test_the_page_does_not_carry_the_endpoints(public_demo: Any, pages: dict[str, Any]) -> None:
    config = public_demo.get_config_file()
    assert set(pages) == {"", "endpoints"}
    for page, visibility in (("", "private"), ("endpoints", "public")):
        listeners = [one for one in config["dependencies"] if one["id"] in pages[page]["dependencies"]]
        assert {one["api_visibility"] for one in listeners} == {visibility}
        types = {one["type"] for one in config["components"] if one["id"] in pages[page]["components"]}
        assert ("api" in types) == (page == "endpoints")


def test_who_shows_no_progress_is_told_of_none(public_demo: Any) -> None:
    """All that is told costs a look through all components, for each that ever was an output."""
    hidden = [one for one in public_demo.fns.values() if one.show_progress == "hidden" and one.api_name]
    listed = [one.api_name for one in hidden if one.api_visibility == "private" and one.show_progress_on != ()]
    assert len(hidden) > 100 and listed == []


def test_the_page_is_sent_packed_to_who_can_unpack_it(address: str) -> None:
    plain = httpx.get(f"{address}/", headers={"Accept-Encoding": "identity"})
    packed = httpx.get(f"{address}/", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers and packed.headers["content-encoding"] == "gzip"
    assert packed.num_bytes_downloaded < len(plain.content) / 4
    assert "window.gradio_config" in packed.text
