#!/usr/bin/env bash
# Gradio 6.31.0: two ways to take choices out of a gr.Dropdown with multiselect=True send `change`, but no `input`.
#
# Expected, from the event's own description: input is "triggered when the user changes the value of the component".
# Seen: a choice's own x is heard as `input`, `select` and `change`. Backspace in the empty field, which takes the last
# choice away, and the x that takes all away are heard as `change` only.
# For us: `change` is no way out, see gradio-multiselect-change-calls-itself-forth.sh. The page turns Backspace into a
# press of the last choice's x (charlm/ui/static/gradio_patches.js) and does not show the x for all.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chromium=$(command -v chromium) || { echo "needs chromium: apt-get install chromium" >&2 && exit 2; }
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check gradio==6.31.0 playwright==1.65.2
cat >"$work/see.py" <<'END'
import sys

import gradio as gr
from playwright.sync_api import sync_playwright

heard = set()
with gr.Blocks() as demo:
    many = gr.Dropdown(list("abcd"), value=list("abcd"), multiselect=True, interactive=True, elem_id="many")
    for name in ("change", "input", "select"):
        getattr(many, name)(lambda name=name: heard.add(name), None, None, queue=False)
_, address, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
seen = {}
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"])
    page = browser.new_page()
    page.goto(address)
    tokens = page.locator("#many .token")
    for way, do, left in (
        ("a choice's x", lambda: tokens.first.get_by_role("button").click(), 3),
        ("Backspace", lambda: page.locator("#many input").press("Backspace"), 2),
        ("the x for all", lambda: page.locator("#many .remove-all").click(), 0),
    ):
        heard.clear()
        do()
        page.wait_for_function("left => document.querySelectorAll('#many .token').length === left", arg=left)
        page.wait_for_timeout(2000)
        seen[way] = sorted(heard)
    browser.close()
demo.close()
print(seen)
expected = {"a choice's x": ["change", "input", "select"], "Backspace": ["change"], "the x for all": ["change"]}
sys.exit(seen != expected)
END
GRADIO_ANALYTICS_ENABLED=False "$work/venv/bin/python" "$work/see.py" "$chromium"
