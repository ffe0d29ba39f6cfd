#!/usr/bin/env bash
# Gradio 6.31.0: when several functions listen to `change` of a gr.Dropdown with multiselect=True, one update of its
# value is heard many times.
#
# Expected, from the event's own description: change is "triggered when the value of the component changes".
# Seen: three functions listen, another event sets the value once; within three seconds each of them is called some
# dozens of times with the same value, once for every time that the server answers one of them. With one listener it is
# once or twice. The script of the page compares the value with the one before by identity, not by what is in it.
# For us: nothing listens to a picker's `change` where `input` does; see also gradio-multiselect-backspace-is-no-input.sh.
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

SECONDS, LISTENERS = 3, 3
calls = [0] * LISTENERS


def count(number):
    def listen(value):
        calls[number] += 1
        return str(value)

    return listen


with gr.Blocks() as demo:
    with gr.Tab("first"):
        gr.Markdown("first")
    with gr.Tab("second") as second:
        many = gr.Dropdown(["a", "b"], value=["a"], multiselect=True, interactive=True, elem_id="many")
        opened = second.select(lambda: ["a", "b"], None, many, queue=False, show_progress="hidden")
        for number in range(LISTENERS):
            out = gr.HTML()
            options = {"trigger_mode": "always_last", "queue": False, "show_progress": "hidden"}
            opened.then(str, many, out, **options)
            many.change(count(number), many, out, **options)
_, address, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True)
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=sys.argv[1], args=["--no-sandbox"])
    page = browser.new_page()
    page.goto(address)
    page.get_by_role("tab", name="second").click()
    page.locator("#many .token").nth(1).wait_for()
    page.wait_for_timeout(1000 * SECONDS)
    browser.close()
demo.close()
print(f"calls of each of {LISTENERS} listeners within {SECONDS} s of one update: {calls}")
sys.exit(min(calls) < 5)
END
GRADIO_ANALYTICS_ENABLED=False "$work/venv/bin/python" "$work/see.py" "$chromium"
