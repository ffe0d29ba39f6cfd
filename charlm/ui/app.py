"""The page: brand, status bar and tabs, wired to the services."""

import secrets
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.themes.utils.fonts import LocalFont
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from charlm.public.middleware import PublicMiddleware
from charlm.public.services import Services
from charlm.ui import api, status_bar
from charlm.ui.compare import tab as compare_tab
from charlm.ui.corpus import tab as corpus_tab
from charlm.ui.gradio_patches import FONT_WEIGHTS, describe_once, page_head, serve_agents, slow_queue
from charlm.ui.html import QUICK, STATIC, TABS, Shared, asset
from charlm.ui.runs import tab as runs_tab
from charlm.ui.runs.hub import has_login
from charlm.ui.services import VisitorFiles
from charlm.ui.train import tab as train_tab
from charlm.ui.train.live import Watches
from charlm.ui.understand import tab as understand_tab

QUEUE_SIZE = 256
AT_ONCE = 8
# Pages whose state gradio keeps, those used last: each is most of a megabyte, and its own bound is 10,000.
SESSIONS = 64
THREADS = 100  # that answer events: a text being written takes one for a moment at each of its pieces
MODE_JS = "element.addEventListener('click', () => window.charlmTheme());"
# The theme: ink, grey and paper. What has which colour, in light and dark alike; lab.css sets the variables.
PALETTE = {
    "var(--page)": "body_background_fill",
    "var(--raised)": "background_fill_primary input_background_fill input_background_fill_focus error_background_fill "
    "button_secondary_background_fill checkbox_background_color",
    "var(--ink)": "body_text_color block_label_text_color block_title_text_color input_border_color_focus slider_color "
    "link_text_color link_text_color_hover link_text_color_visited link_text_color_active button_primary_border_color "
    "button_primary_background_fill button_secondary_text_color checkbox_label_text_color "
    "checkbox_label_text_color_selected",
    "var(--grey)": "body_text_color_subdued block_info_text_color input_placeholder_color loader_color",
    "var(--hair)": "block_border_color border_color_primary",
    "var(--edge)": "border_color_accent input_border_color button_secondary_border_color checkbox_border_color "
    "checkbox_label_border_color",
    "var(--wash)": "background_fill_secondary code_background_fill color_accent_soft "
    "button_secondary_background_fill_hover",
    "var(--bad)": "error_border_color error_text_color error_icon_color",
    "transparent": "block_background_fill block_label_background_fill block_title_background_fill "
    "panel_background_fill checkbox_label_background_fill checkbox_label_background_fill_hover "
    "checkbox_label_background_fill_selected",
}
TICKED = "#62666d"  # in dark, where a white tick must be seen on it
# What differs beyond that: (light, dark).
PAIRS = {
    "button_primary_background_fill_hover": ("#34363a", "#ffffff"),
    "button_primary_text_color": ("#ffffff", "#121315"),
    "checkbox_background_color_selected": ("var(--ink)", TICKED),
    "checkbox_border_color_selected": ("var(--ink)", TICKED),
}


def build_demo(services: Services, data_dir: Path) -> gr.Blocks:
    """The whole page.

    Args:
        services: run store, jobs and serving; the page keeps nothing of its own.
        data_dir: where the secret of the browser's memory is kept, so that it outlives a restart.
    """
    demo = gr.Blocks(title="CharLM Lab", analytics_enabled=False, delete_cache=(3600, 86400), fill_width=True)
    # A page of their own, so that ours does not carry them; and first: a name is the first one's that asks for it.
    with demo.route("Endpoints", show_in_navbar=False):
        api.build(services)
    demo.current_page = ""
    with demo:
        watches = Watches(services)
        _frame(services, status_bar.PollEndpoint(services, watches))
        crossing = _crossing(data_dir)
        with gr.Tabs(elem_id="tabs", selected="compare") as tabs:
            built: dict[str, Any] = {}
            for title in TABS:
                name = title.lower()
                with gr.Tab(title, id=name, elem_id=f"tab-{name}", elem_classes="page") as own:
                    # First: listeners follow one another, and others wait for the server.
                    own.select(None, js=f"() => {{ window.charlmAddress.tab('{name}'); }}", **QUICK)
                    built[name] = _tab(name, services, Shared(demo, tabs, own, *crossing), watches, built)
        status_bar.build_left(services)
    demo.queue(max_size=QUEUE_SIZE, default_concurrency_limit=AT_ONCE)
    slow_queue(demo)
    describe_once(demo)
    return demo


def launch_options(services: Services | None = None, agents: bool = False) -> dict[str, Any]:
    """What `demo.launch` needs beside host and port; app.py and the tests share it.

    Args:
        services: of the page; on a public Space a middleware stands before it.
        agents: serve the endpoints to agents, too.
    """
    if agents and services is not None:
        serve_agents(services.files)
    options: dict[str, Any] = {
        "theme": page_theme(),
        "head": page_head(),
        "favicon_path": STATIC / "mark.svg",
        "footer_links": [],
        "run_history": False,
        "state_session_capacity": SESSIONS,
        "max_file_size": "32mb",
        "max_threads": THREADS,
        "app_kwargs": {"routes": [status_bar.route()], "middleware": [Middleware(pack_page)]},
        "mcp_server": agents,
    }
    if services is None or services.quotas is None:
        return options
    assert isinstance(services.files, VisitorFiles)
    kwargs = {
        **options["app_kwargs"],
        "middleware": [
            Middleware(PublicMiddleware, quotas=services.quotas, files=services.files, login=has_login()),
            Middleware(pack_page),
        ],
    }
    largest = services.quotas.limits.checkpoint_bytes
    public = {"app_kwargs": kwargs, "max_file_size": largest, "ssr_mode": False, "enable_monitoring": False}
    return {**options, **public}


def pack_page(app: ASGIApp) -> ASGIApp:
    """Middleware that sends the page itself packed, a sixth of its size; gradio packs scripts and stylesheets only."""
    packed = GZipMiddleware(app, compresslevel=1)  # 3 ms; the next levels take longer than they save

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await (packed if scope["type"] == "http" and scope["path"] == "/" else app)(scope, receive, send)

    return answer


def _frame(services: Services, polled: status_bar.PollEndpoint) -> None:
    """What stands above the tabs: mark, theme button, status bar."""
    mark = asset("mark.svg")
    gr.HTML(f"<span>{mark}<b>CharLM Lab</b></span>", elem_id="brand", js_on_load=None, apply_default_css=False)
    gr.HTML(
        '<button type="button" class="quiet" aria-label="Light or dark">Theme</button>',
        elem_id="mode",
        js_on_load=MODE_JS,
        apply_default_css=False,
    )
    status_bar.build(services, polled.answer)


def _crossing(data_dir: Path) -> tuple[Any, ...]:
    """What connects the tabs: the chosen corpus, and the wishes to compare and to watch."""
    corpus = gr.BrowserState(None, storage_key="charlm-corpus", secret=browser_secret(data_dir))
    compare = gr.Textbox(visible="hidden", elem_id="ask-compare")
    watch = gr.Textbox(visible="hidden", elem_id="ask-watch")
    return corpus, compare, watch


def _tab(name: str, services: Services, shared: Shared, watches: Watches, built: dict[str, Any]) -> Any:
    """A tab's components; `built` are those of the tabs before it, by name."""
    if name == "train":
        return train_tab.build(services, shared, watches)
    if name == "understand":
        return understand_tab.build(services, shared, built["compare"].controls.models)
    if name == "runs":
        return runs_tab.build(services, shared, built["compare"].controls.models)
    builders = {"compare": compare_tab, "corpus": corpus_tab}
    return builders[name].build(services, shared)


def browser_secret(data_dir: Path) -> str:
    """The key that the browser's memory is sealed with; made once, kept in the data folder if it can be."""
    path = data_dir / "browser-secret"
    try:
        return path.read_text(encoding="ascii").strip() or _new_secret(path)
    except FileNotFoundError:
        return _new_secret(path)
    except (OSError, ValueError):
        return secrets.token_hex(16)


def _new_secret(path: Path) -> str:
    secret = secrets.token_hex(16)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(secret, encoding="ascii")
        path.chmod(0o600)
    except OSError:
        pass  # a read-only folder: the choice is forgotten at a restart, nothing worse
    return secret


def _colours() -> dict[str, str]:
    """Page, blocks and inputs: hairlines, no boxes; buttons, sliders, checkboxes and links in ink."""
    pairs = {name: (colour, colour) for colour, names in PALETTE.items() for name in names.split()} | PAIRS
    dark = {f"{name}_dark": colour for name, (_, colour) in pairs.items()}
    return {"color_accent": "var(--ink)"} | {name: colour for name, (colour, _) in pairs.items()} | dark


def _measures() -> dict[str, str]:
    """Widths, paddings and type that are the same in light and dark."""
    zero = ("block_border_width", "block_padding", "block_label_border_width", "panel_border_width", "form_gap_width")
    flat = ("block", "block_label", "input", "checkbox")
    bold = ("block_title_text_weight", "prose_header_text_weight", "section_header_text_weight")
    buttons = ("button_large", "button_medium", "button_small")
    return {
        **dict.fromkeys(zero, "0px"),
        **dict.fromkeys((*(f"{part}_shadow" for part in flat), "input_shadow_focus", "shadow_drop"), "none"),
        **dict.fromkeys((*bold, *(f"{size}_text_weight" for size in buttons[:2])), "700"),
        **dict.fromkeys((f"{size}_radius" for size in buttons), "5px"),
        "button_small_text_weight": "400",
        "input_border_width": "1px",
        "input_radius": "5px",
        "block_title_text_size": "13px",
        "block_info_text_size": "13px",
        "block_label_text_weight": "400",
        "checkbox_label_text_weight": "400",
        "layout_gap": "16px",
    }


def page_theme() -> gr.themes.Base:
    """The app's theme; its fonts are gradio's own files, so nothing is fetched from elsewhere."""
    sans, mono = (LocalFont(f"IBM Plex {name}", weights=FONT_WEIGHTS) for name in ("Sans", "Mono"))
    theme = gr.themes.Base(
        primary_hue="zinc",
        secondary_hue="zinc",
        neutral_hue="zinc",
        radius_size=gr.themes.sizes.radius_sm,
        spacing_size=gr.themes.sizes.spacing_md,
        text_size=gr.themes.sizes.text_md,
        font=(sans, "system-ui", "sans-serif"),
        font_mono=(mono, "ui-monospace", "monospace"),
    )
    return theme.set(**_colours(), **_measures())
