"""Ink, grey and paper: the gradio theme. Its colours are variables, which lab.css sets for light and dark."""

import gradio as gr
from gradio.themes.utils.fonts import LocalFont

from charlm.ui.gradio_patches import FONT_WEIGHTS

NONE = "transparent"
# What has which colour, in light and dark alike.
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
    NONE: "block_background_fill block_label_background_fill block_title_background_fill panel_background_fill "
    "checkbox_label_background_fill checkbox_label_background_fill_hover checkbox_label_background_fill_selected",
}
TICKED = "#62666d"  # in dark, where a white tick must be seen on it
# What differs beyond that: (light, dark).
PAIRS = {
    "button_primary_background_fill_hover": ("#34363a", "#ffffff"),
    "button_primary_text_color": ("#ffffff", "#121315"),
    "checkbox_background_color_selected": ("var(--ink)", TICKED),
    "checkbox_border_color_selected": ("var(--ink)", TICKED),
}


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
