#!/usr/bin/env bash
# Gradio 6.31.0: a gr.Number whose value is None shows 0 and hides its placeholder; the value "" shows the placeholder.
#
# Expected, from the component's own description: "If None, the component will be empty and show the placeholder if is
# set. If no placeholder is set, the component will show 0."
# Seen: the value None is left out of what the server sends, and the page puts 0 in its place, with a placeholder or
# without (see gradio-app/gradio#6728). A None that a later update brings is shown as an empty field, so that what one
# sees depends on whether the page drew the field before or after that. The value "", which the type of the parameter
# does not allow, is sent, shown as an empty field over its placeholder, and arrives in the function as "".
# For us: an empty learning rate is "" in the form, and read like None.
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

with gr.Blocks() as demo:
    gr.Number(None, placeholder="by itself", elem_id="none")
    gr.Number("", placeholder="by itself", elem_id="empty")
_, address, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"])
    page = browser.new_page()
    page.goto(address)
    shown = {name: page.locator(f"#{name} input").input_value() for name in ("none", "empty")}
    browser.close()
demo.close()
print(shown)
sys.exit(shown != {"none": "0", "empty": ""})
END
GRADIO_ANALYTICS_ENABLED=False "$work/venv/bin/python" "$work/see.py" "$chromium"
