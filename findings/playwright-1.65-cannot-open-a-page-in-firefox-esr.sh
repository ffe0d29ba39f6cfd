#!/usr/bin/env bash
# Playwright 1.65.2 with Debian's Firefox 153.8 ESR, channel "moz-firefox" (WebDriver BiDi): the browser starts, and no
# page can be opened in it. Playwright 1.64.1 opens one.
#
# Expected: a stock Firefox that launch() accepts opens pages, as with 1.64.1; options that it does not know are at most
# refused when they are asked for.
# Seen: new_page() fails with "Protocol error (emulation.setMediaFeaturesOverride): unknown command", also where no
# colour scheme is asked for. Since 1.65 that command is sent for every context.
# For us: requirements-dev.txt stays below 1.65.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
firefox=$(command -v firefox-esr) || { echo "needs Firefox 153: apt-get install firefox-esr" >&2 && exit 2; }
"$firefox" --version
cat >"$work/see.py" <<'END'
import sys
from importlib.metadata import version

from playwright.sync_api import Error, sync_playwright

with sync_playwright() as playwright:
    browser = playwright.firefox.launch(channel="moz-firefox", executable_path=sys.argv[1])
    try:
        page = browser.new_page()
        page.set_content("<h1>seen</h1>")
        seen = page.locator("h1").inner_text()
    except Error as error:
        seen = error.message.splitlines()[0]
    browser.close()
print(version("playwright"), "-", seen)
sys.exit(sys.argv[2] not in seen)
END
see() { # see VERSION EXPECTED
    python3 -m venv "$work/$1"
    "$work/$1/bin/pip" install --quiet --disable-pip-version-check "playwright==$1"
    "$work/$1/bin/python" "$work/see.py" "$firefox" "$2"
}
see 1.64.1 "seen"
see 1.65.2 "setMediaFeaturesOverride): unknown command"
