"""Ink, grey and paper: the gradio theme, and the stylesheet and script that go into the page's head."""

from typing import Any

import gradio as gr
from gradio.themes.utils.fonts import LocalFont

from charlm.public.middleware import doorman
from charlm.public.quotas import Quotas
from charlm.ui.files import VisitorFiles
from charlm.ui.html import STATIC, Services, asset
from charlm.ui.status_bar import route

# (light, dark)
PAGE = ("#fcfcfb", "#121315")
RAISED = ("#ffffff", "#1a1b1e")
INK = ("#17181a", "#ecedee")
GREY = ("#62666d", "#a2a6ad")
HAIRLINE = ("rgba(23,24,26,.10)", "rgba(255,255,255,.13)")
EDGE = ("rgba(23,24,26,.16)", "rgba(255,255,255,.18)")
WASH = ("rgba(23,24,26,.05)", "rgba(255,255,255,.06)")
TICKED = "#62666d"  # in dark, where a white tick must be seen on it
NONE = ("transparent", "transparent")
# Both bold and regular must be asked for: LocalFont's default of 600 names files with three letters in them.
WEIGHTS = (400, 700)


def _both(**pairs: tuple[str, str]) -> dict[str, str]:
    """`name=(light, dark)` as the two arguments that `Theme.set` wants."""
    return {name + mode: value for name, pair in pairs.items() for mode, value in zip(("", "_dark"), pair, strict=True)}


def _surfaces() -> dict[str, str]:
    """Page, blocks and inputs: hairlines, no boxes."""
    return _both(
        body_background_fill=PAGE,
        background_fill_primary=RAISED,
        background_fill_secondary=WASH,
        body_text_color=INK,
        body_text_color_subdued=GREY,
        block_background_fill=NONE,
        block_border_color=HAIRLINE,
        block_info_text_color=GREY,
        block_label_background_fill=NONE,
        block_label_text_color=INK,
        block_title_text_color=INK,
        block_title_background_fill=NONE,
        border_color_primary=HAIRLINE,
        border_color_accent=EDGE,
        panel_background_fill=NONE,
        input_background_fill=RAISED,
        input_background_fill_focus=RAISED,
        input_border_color=EDGE,
        input_border_color_focus=INK,
        input_placeholder_color=GREY,
        error_background_fill=RAISED,
        error_border_color=("#b42318", "#f97066"),
        error_text_color=("#b42318", "#f97066"),
        error_icon_color=("#b42318", "#f97066"),
        code_background_fill=WASH,
    )


def _controls() -> dict[str, str]:
    """Buttons, sliders, checkboxes and links."""
    accent = {"color_accent": "var(--ink)"}  # has no dark twin; lab.css sets --ink for both
    return accent | _both(
        color_accent_soft=WASH,
        slider_color=INK,
        loader_color=GREY,
        link_text_color=INK,
        link_text_color_hover=INK,
        link_text_color_visited=INK,
        link_text_color_active=INK,
        button_primary_background_fill=INK,
        button_primary_background_fill_hover=("#34363a", "#ffffff"),
        button_primary_border_color=INK,
        button_primary_text_color=("#ffffff", "#121315"),
        button_secondary_background_fill=RAISED,
        button_secondary_background_fill_hover=WASH,
        button_secondary_border_color=EDGE,
        button_secondary_text_color=INK,
        checkbox_background_color=RAISED,
        checkbox_background_color_selected=(INK[0], TICKED),
        checkbox_border_color=EDGE,
        checkbox_border_color_selected=(INK[0], TICKED),
        checkbox_label_background_fill=NONE,
        checkbox_label_background_fill_hover=NONE,
        checkbox_label_background_fill_selected=NONE,
        checkbox_label_border_color=EDGE,
        checkbox_label_text_color=INK,
        checkbox_label_text_color_selected=INK,
    )


def _measures() -> dict[str, str]:
    """Widths, paddings and type that are the same in light and dark."""
    zero = ("block_border_width", "block_padding", "block_label_border_width", "panel_border_width", "form_gap_width")
    flat = (
        "block_shadow",
        "block_label_shadow",
        "input_shadow",
        "input_shadow_focus",
        "checkbox_shadow",
        "shadow_drop",
    )
    bold = ("block_title_text_weight", "prose_header_text_weight", "section_header_text_weight")
    buttons = ("button_large", "button_medium", "button_small")
    return {
        **dict.fromkeys(zero, "0px"),
        **dict.fromkeys(flat, "none"),
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
    sans, mono = (LocalFont(f"IBM Plex {name}", weights=WEIGHTS) for name in ("Sans", "Mono"))
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
    return theme.set(**_surfaces(), **_controls(), **_measures())


def page_head() -> str:
    """Stylesheet and script as head elements: gradio's own `css=` drops part of what stands in @media."""
    css = asset("lab.css")
    script = asset("lab.js")
    return f"<style>\n{css}\n</style>\n<script>\n{script}\n</script>"


# Pages whose state gradio keeps, those used last; each is most of a megabyte, and gradio's own bound is 10,000.
SESSIONS = 64


# Threads that gradio answers events in: a text being written takes one for a moment at each of its pieces.
THREADS = 100


def launch_options(services: Services | None = None) -> dict[str, Any]:
    """What `demo.launch` needs beside host and port; app.py and the tests share it.

    Args:
        services: of the page; on a public Space a doorman stands before it.
    """
    return _options() if services is None or services.quotas is None else _public_options(services, services.quotas)


def _public_options(services: Services, quotas: Quotas) -> dict[str, Any]:
    options, files = _options(), services.files
    assert isinstance(files, VisitorFiles)
    options["app_kwargs"]["middleware"] = [doorman(quotas, files)]
    most = {"max_file_size": quotas.limits.checkpoint_bytes}
    return {**options, **most, "ssr_mode": False, "enable_monitoring": False}


def _options() -> dict[str, Any]:
    return {
        "theme": page_theme(),
        "head": page_head(),
        "favicon_path": STATIC / "mark.svg",
        "footer_links": [],
        "run_history": False,
        "state_session_capacity": SESSIONS,
        "max_file_size": "32mb",
        "max_threads": THREADS,
        "app_kwargs": {"routes": [route()]},
    }
