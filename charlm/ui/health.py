"""Asks a page that is served whether it works, for containers: `python -m charlm.ui.health`, exit code 0 or 1.

An endpoint is called as a program would call it, through the queue: an address that answers alone is no working page.
"""

import json
import os
import sys
import urllib.request
from typing import Any

SECONDS = 15.0  # until an answer
# On a public Space a caller is known by a secret of its own; this one owns nothing.
VISITOR = "health-check-of-a-container"


def listed_runs(address: str, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """What the endpoint /runs answers.

    Args:
        address: of the page, `http://127.0.0.1:7860`.
        seconds: to wait for each part of the answer.

    Raises:
        OSError: nothing answers there, or not in time.
        ValueError: what answers is not this app, or cannot list its runs.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    headers = {"content-type": "application/json", "x-charlm-visitor": VISITOR}
    call = f"{address.rstrip('/')}/gradio_api/call/runs"
    question = urllib.request.Request(call, b'{"data": []}', headers)
    with opener.open(question, timeout=seconds) as answer:
        event = json.load(answer)["event_id"]
    with opener.open(urllib.request.Request(f"{call}/{event}", headers=headers), timeout=seconds) as answer:
        for line in answer:
            name, _, value = line.decode().strip().partition(": ")
            if name == "data" and value != "null":
                return list(json.loads(value)[0])
    raise ValueError("the endpoint /runs fails")


def main(words: list[str]) -> int:
    """Print how many models the page has to write with, or what is wrong with it.

    Args:
        words: the page's address; none: this machine's, at GRADIO_SERVER_PORT.

    Returns:
        The exit code: 0 if it works, 1 if it does not.
    """
    address = words[0] if words else f"http://127.0.0.1:{os.environ.get('GRADIO_SERVER_PORT') or 7860}"
    try:
        runs = listed_runs(address)
    except (OSError, ValueError, LookupError, TypeError) as error:
        print(f"{address} does not work: {error or type(error).__name__}", file=sys.stderr)
        return 1
    print(f"{address} works: {len(runs)} runs")
    return 0 if runs else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
