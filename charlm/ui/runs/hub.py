"""The chosen run pushed to the Hugging Face Hub: with this program's token, or that of a visitor who has logged in."""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib.util import find_spec
from typing import Any, Literal

import gradio as gr
from gradio.utils import get_space

from charlm.errors import CharLMError, ConfigError
from charlm.files import file_name
from charlm.formats.hub.connection import connect, own_token
from charlm.formats.hub.push import Contents, Pushed, full_name, model_contents
from charlm.formats.hub.push import push as push_contents
from charlm.formats.hub.spaces import run_page
from charlm.public.services import Services
from charlm.ui.html import QUICK, render, section, toast

Way = Literal["own", "login", ""]
MOST_NAME = 96  # of a repository, with its owner
KINDS = (("A model, with its card", "model"), ("Its page, as a Space without a server", "page"))
LOGIN = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OAUTH_SCOPES", "OPENID_PROVIDER_URL")  # set where `hf_oauth` is
HINT = "Only you see it, unless Public is ticked. The text is named, and stays here."


def way(services: Services) -> Way:
    """Whose token may push: this program's own where all belongs to one user, a visitor's after a login on a Space.

    On a public Space the program's own token is never used.
    """
    if services.limits is not None:
        return "login" if has_login() else ""
    try:
        return "own" if own_token() else ""
    except CharLMError:
        return ""


def has_login() -> bool:
    """Whether this is a Space whose visitors can log in with their accounts of the Hub."""
    is_set = all(os.environ.get(name) for name in LOGIN) and get_space() is not None
    return is_set and all(map(find_spec, ("authlib", "itsdangerous")))


def build(services: Services) -> dict[str, Any]:
    """The components, by name; none where nobody could push."""
    how, parts = way(services), dict[str, Any]()
    if not how:
        return parts
    gr.HTML(section("Push to the Hub", HINT), elem_id="runs-hub-head", apply_default_css=False)
    if how == "login":
        parts["login"] = gr.LoginButton(
            "Log in with Hugging Face", "Log out ({})", variant="secondary", size="sm", elem_id="runs-login", icon=None
        )
    parts["hub_kind"] = gr.Dropdown(
        list(KINDS), value="model", show_label=False, label="What to push", elem_id="runs-hub-kind"
    )
    with gr.Row(elem_classes="bar-line", elem_id="runs-hub"):
        parts["hub_name"] = gr.Textbox(
            label="Repository", placeholder="name, or user/name", max_length=MOST_NAME, scale=4,
            elem_id="runs-hub-name", min_width=150,
        )  # fmt: skip
        parts["hub_public"] = gr.Checkbox(
            label="Public", container=False, elem_id="runs-hub-public", scale=1, min_width=80
        )
        parts["hub_push"] = gr.Button("Push", size="sm", elem_id="runs-hub-push", scale=0, min_width=70)
    parts["hub_told"] = gr.HTML(elem_id="runs-hub-told", apply_default_css=False)
    return parts


def wire(parts: Mapping[str, Any], services: Services, find: Callable[[str], Any]) -> None:
    """What the components do.

    Args:
        parts: of the tab, with those of `build`.
        services: what the page works with.
        find: the run that a message of `chosen` names.
    """
    chosen, told = parts["chosen"], parts["hub_told"]

    def name_of(message: str) -> tuple[Any, str, bool, str]:
        return (file_name(find(message).label, MOST_NAME) or gr.skip()) if message else gr.skip(), "model", False, ""

    def push_own(message: str, kind: str, name: str, public: bool) -> str:
        return pushed_html(lambda: push(find(message), kind, name, public is True, own_token()))

    def push_theirs(message: str, kind: str, name: str, public: bool, token: gr.OAuthToken | None) -> str:
        return pushed_html(lambda: theirs(message, kind, name, public is True, token))

    def theirs(message: str, kind: str, name: str, public: bool, token: gr.OAuthToken | None) -> Pushed:
        run, visitor = find(message), services.who()
        if token is None:
            raise ConfigError("nobody is logged in here; press Log in, then push")
        if services.quotas is not None and visitor is not None:
            services.quotas.take("download", visitor)
        return push(run, kind, name, public, token.token)

    fields = [parts[name] for name in ("hub_kind", "hub_name", "hub_public")]
    shown = [parts["hub_name"], parts["hub_kind"], parts["hub_public"], told]
    chosen.change(name_of, chosen, shown, **QUICK)
    how: dict[str, Any] = {"show_progress": "minimal", "show_progress_on": parts["hub_push"], "concurrency_limit": 2}
    work = push_theirs if "login" in parts else push_own
    parts["hub_push"].click(work, [chosen, *fields], told, api_visibility="private", **how)


def push(run: Any, kind: str, name: str, public: bool, token: str | None) -> Pushed:
    """Push a run with somebody's token.

    Args:
        run: which.
        kind: model or page.
        name: of the repository.
        public: whether everybody may see it.
        token: of the one who pushes.

    Raises:
        CharLMError: it cannot be pushed; says why.
    """
    if not isinstance(name, str) or not name.strip():
        raise ConfigError("the repository has no name; give it one, such as my-model")
    if kind not in dict(KINDS).values():
        raise ConfigError(f"a run can be pushed as a model or a page, not as {str(kind)[:40]!r}")
    api = connect(token)
    repo = full_name(api, name.strip())
    making: AbstractContextManager[Contents] = run_page(run) if kind == "page" else model_contents(run, repo)
    with making as contents:
        return push_contents(api, repo, contents, public)


def pushed_html(work: Callable[[], Pushed]) -> str:
    """What a push came to, with a link to it.

    Raises:
        gradio.Error: a toast that says why it did not work.
    """
    try:
        made = work()
    except CharLMError as error:
        raise gr.Error(toast(error), title="Not pushed", print_exception=False) from None
    seen = "only you see it" if made.is_private else "everybody sees it"
    done = "Pushed to" if made.is_changed else "Nothing has changed since the last push to"
    return render("pushed", pushed=made, seen=seen, done=done)
