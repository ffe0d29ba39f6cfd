#!/usr/bin/env bash
# Playwright 1.64.1 with Debian's Firefox 153 ESR, channel "moz-firefox" (WebDriver BiDi): locator.fill() on an <input
# type=number> that holds a number adds to it instead of taking its place. Text fields are filled as documented.
#
# Expected: fill("12") on a field that holds 3 leaves 12, as in Chromium and as for text fields.
# Seen: 312; and where the result is no number ("1.2" into 0.8), an empty field. clear() before it helps, and so does
# typing over what is selected.
# For us: the browser tests type into number fields in Firefox.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
firefox=$(command -v firefox-esr) || { echo "needs Firefox 153: apt-get install firefox-esr" >&2 && exit 2; }
"$firefox" --version
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check playwright==1.64.1
cat >"$work/see.py" <<'END'
import sys

from playwright.sync_api import sync_playwright

with sync_playwright() as playwright:
    browser = playwright.firefox.launch(channel="moz-firefox", executable_path=sys.argv[1])
    page = browser.new_page()
    seen = {}
    for kind, held, filled in (("text", "3", "12"), ("number", "3", "12"), ("number", "0.8", "1.2")):
        page.set_content(f'<input type="{kind}" step="any" value="{held}">')
        field = page.locator("input")
        field.fill(filled)
        seen[kind, held, filled] = field.input_value()
        field.clear()
        field.fill(filled)
        seen[kind, held, filled, "cleared first"] = field.input_value()
    browser.close()
print(seen)
expected = ["12", "12", "312", "12", "", "1.2"]
sys.exit(list(seen.values()) != expected)
END
"$work/venv/bin/python" "$work/see.py" "$firefox"
