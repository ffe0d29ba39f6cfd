#!/usr/bin/env bash
# mcp 2.3.0 (Python SDK): a tool's argument annotated `str | None` gets None for the text "null", and refuses texts that
# are JSON lists or objects. So it is in 1.30.0.
#
# Expected: a string that a client sends for a parameter which takes strings arrives as it is, as with `str` alone.
# Seen: where the annotation is anything but `str` itself, the SDK first tries to read the string as JSON. "null"
# arrives as None; "[1]" and '{"a": 1}' become a list and an object, and are then no valid string: the call fails, and
# its error says that the text, which the client sent as a string, should be one. Numbers and "true" are left alone.
# For us: the tools are served by code of our own (charlm/ui/agents.py), which takes a text as it comes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check mcp==2.3.0
cat >"$work/see.py" <<'END'
import asyncio
import sys

from mcp import Client
from mcp.server import MCPServer

server = MCPServer("one", log_level="ERROR")


@server.tool()
def needed(prompt: str) -> str:
    return repr(prompt)


@server.tool()
def optional(prompt: str | None = None) -> str:
    return repr(prompt)


async def main():
    found = {}
    async with Client(server) as client:
        for prompt in ("once", "5", "true", "null", "[1]", '{"a": 1}'):
            for tool in ("needed", "optional"):
                result = await client.call_tool(tool, {"prompt": prompt})
                found[tool, prompt] = "error" if result.is_error else result.content[0].text
    return found


found = asyncio.run(main())
for (tool, prompt), seen in found.items():
    print(f"{tool}({prompt!r}): {seen}")
expected = {(tool, prompt): repr(prompt) for tool, prompt in found}
expected |= {("optional", "null"): "None", ("optional", "[1]"): "error", ("optional", '{"a": 1}'): "error"}
sys.exit(found != expected)
END
"$work/venv/bin/python" "$work/see.py"
