"""The button that pushes to the Hub: shown where somebody's token is, and never with the token of another."""

import importlib.util
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import httpx
import pytest
from huggingface_hub import close_session, constants

from charlm.errors import CharLMError
from charlm.public.identity import HEADER
from charlm.public.services import Services
from charlm.runs.store import RunStore
from charlm.ui.app import build_demo
from charlm.ui.runs import hub as button
from charlm.ui.services import Files, PublicAppServices
from tests.formats.hub_server import OWNER, TOKEN, VISITOR, Hub, hub_at_work
from tests.patience import patience
from tests.server import ROOT, serving
from tests.ui.strangers import Bare

RUN = "sherlock-small-lstm"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_at_work(tmp_path / "hub") as made:
        monkeypatch.setattr(constants, "ENDPOINT", made.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "login"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield made
        close_session()


@pytest.fixture
def own(tmp_path: Path) -> Services:
    """All belongs to one user."""
    from charlm.jobs.service import Jobs
    from charlm.serving import Serving

    store = RunStore(tmp_path / "runs")
    return Services(store, Jobs(store), Serving(store), Files())


def shown(services: Services, folder: Path) -> set[str]:
    """The ids of the page's elements that have one."""
    config = build_demo(services, folder).get_config_file()
    return {str(part["props"].get("elem_id")) for part in config["components"]}


def test_it_is_there_only_for_who_has_a_token(
    hub: Hub, own: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not {"runs-hub-push", "runs-hub-name", "runs-login"} & shown(own, tmp_path)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert {"runs-hub-push", "runs-hub-name"} <= shown(own, tmp_path)
    assert not hub.asked, "nobody is asked before something is pushed"


def test_the_token_of_a_public_space_is_nobodys(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert button.way(PublicAppServices().services) == ""
    assert not {"runs-hub-push", "runs-login"} & shown(PublicAppServices().services, tmp_path)


def test_a_push_says_where_it_went_and_why_it_did_not(hub: Hub, own: Services) -> None:
    run = own.store.get(RUN)
    said = button.pushed_html(lambda: button.push(run, "model", " small ", False, TOKEN))
    assert f'href="{hub.endpoint}/{OWNER}/small"' in said and "only you see it" in said
    assert "Nothing has changed" in button.pushed_html(lambda: button.push(run, "model", "small", False, TOKEN))
    page = button.pushed_html(lambda: button.push(run, "page", "page", True, TOKEN))
    assert f"/spaces/{OWNER}/page" in page and "everybody sees it" in page
    for kind, name, token, why in (
        ("model", "", TOKEN, "no name"), ("zip", "x", TOKEN, "'zip'"), ("model", "<img src=x>", TOKEN, "no name of a"),
        ("model", "x", None, "no token"), ("model", "x", "hf_nobody", "does not accept"),
        ("model", None, TOKEN, "no name"),
    ):  # fmt: skip
        with pytest.raises(CharLMError, match=why):
            button.push(run, kind, name, False, token)  # type: ignore[arg-type]
        with pytest.raises(gr.Error) as toast:
            button.pushed_html(lambda: button.push(run, kind, name, False, token))  # type: ignore[arg-type]  # noqa: B023
        assert "<img" not in str(toast.value) and TOKEN not in str(toast.value)
    assert set(hub.repos) == {("model", f"{OWNER}/small"), ("space", f"{OWNER}/page")}


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("authlib", "itsdangerous", "joserfc"))), reason="logins need gradio[oauth]"
)
def test_a_visitor_of_a_space_pushes_with_a_login_of_ones_own(hub: Hub, tmp_path: Path) -> None:
    environment = {
        "SPACE_ID": "ada/lab", "SYSTEM": "spaces", "OAUTH_CLIENT_ID": "client", "OAUTH_CLIENT_SECRET": "secret",
        "OAUTH_SCOPES": "openid profile contribute-repos", "OPENID_PROVIDER_URL": hub.endpoint,
        "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": TOKEN,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]), "HOME": str(tmp_path),
    }  # fmt: skip
    with serving(tmp_path, **environment) as server:
        address = server.address.rstrip("/")
        guest = Bare(address, {HEADER: secrets.token_urlsafe(32)})
        index = event_of(guest)
        assert "nobody is logged in" in answered(guest, index, "mine")
        assert not hub.repos and not {user for _, _, user in hub.asked if user}
        forged = Bare(address, {**guest.headers, "cookie": "session=eyJvYXV0aF9pbmZvIjp7fX0.x.y"})
        assert "nobody is logged in" in answered(forged, index, "mine")
        visitor = Bare(address, {**guest.headers, "cookie": f"session={login(address)}"})
        said = answered(visitor, index, "mine")
        assert "only you see it" in said, said + server.log.read_text()
        assert "nobody is logged in" in answered(guest, index, "mine"), "another visitor has no part in it"
        assert set(hub.repos) == {("model", "eve/mine")} and hub.repos["model", "eve/mine"].private
        assert {user for _, _, user in hub.asked if user} == {"eve"}, "the Space's own token was used"
        log = server.log.read_text()
    assert TOKEN not in log and VISITOR not in log
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and VISITOR.encode() in path.read_bytes()]


def event_of(guest: Bare) -> int:
    """The number of the button's event."""
    config = guest.get("config").json()
    ids = {part["props"].get("elem_id"): part["id"] for part in config["components"]}
    assert "runs-login" in ids
    for place, event in enumerate(config["dependencies"]):
        if [ids["runs-hub-push"], "click"] in event["targets"]:
            return int(event.get("id", place))
    raise AssertionError("the button does nothing")


def answered(guest: Bare, index: int, name: str) -> str:
    """What the page says after the button was pressed."""
    session = secrets.token_hex(8)
    data = [json.dumps({"run": RUN}), "model", name, False]
    joined = guest.post("queue/join", {"data": data, "fn_index": index, "session_hash": session})
    assert joined.status_code == 200, joined.text
    return guest.get(f"gradio_api/queue/data?session_hash={session}").text


def login(address: str) -> str:
    """The session cookie of a visitor who went through the login; by hand, as it is for https only."""
    with httpx.Client(timeout=patience(60)) as client:
        begun = client.get(f"{address}/login/huggingface")
        asked = client.get(begun.headers["location"])
        cookie = {"cookie": f"session={begun.cookies['session']}"}
        back = client.get(asked.headers["location"], headers=cookie)
        assert back.status_code == 307, back.text
        return str(back.cookies["session"])
