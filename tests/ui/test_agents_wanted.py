"""When agents are served."""

import pytest

from charlm.errors import ConfigError
from charlm.ui import agents
from charlm.ui.agents import is_wanted


@pytest.mark.parametrize(
    ("given", "space", "installed", "wanted"),
    [("", "", True, False), ("1", "", True, True), ("0", "a/b", True, False), ("", "a/b", True, True),
     ("", "a/b", False, False), ("0", "", False, False)],
)  # fmt: skip
def test_agents_are_served_on_request_and_on_a_space(
    given: str, space: str, installed: bool, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARLM_MCP", given)
    monkeypatch.setenv("SPACE_ID", space)
    monkeypatch.setattr(agents, "find_spec", lambda name: object() if installed else None)
    assert is_wanted() is wanted


@pytest.mark.parametrize(("given", "said"), [("1", "pip install -r requirements-mcp.txt"), ("yes", "must be 0 or 1")])
def test_a_wrong_wish_is_answered_with_the_way_out(given: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHARLM_MCP", given)
    monkeypatch.setattr(agents, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=said):
        is_wanted()
