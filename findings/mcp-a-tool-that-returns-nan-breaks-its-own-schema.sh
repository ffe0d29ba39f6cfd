#!/usr/bin/env bash
# mcp 2.3.0 (Python SDK): what a tool declared to return a float returns as NaN or infinity does not reach the client,
# whose call raises an error. So it is in 1.30.0.
#
# Expected: a float arrives, whatever its value: as null or a string in the structured content, whose schema the SDK
# derives from the annotation, or, as JSON has no NaN, as an error of the tool that names it.
# Seen: the server puts null in its place, which its own schema, {"type": "number"}, does not allow; Client.call_tool
# checks that, and raises RuntimeError "Invalid structured content returned by tool ...", so that the tool seems broken.
# A loss that diverged is such a number.
# For us: the tools are served with schemas of our own, in which a number may be null (charlm/ui/schemas.py).
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
def loss(step: int) -> float:
    return [1.5, float("nan")][step]


@server.tool()
def losses() -> list[float]:
    return [1.5, float("inf")]


async def seen(client, name, arguments):
    try:
        return (await client.call_tool(name, arguments)).structured_content
    except RuntimeError as error:
        return str(error).splitlines()[0]


async def main():
    async with Client(server) as client:
        return [await seen(client, *one) for one in (("loss", {"step": 0}), ("loss", {"step": 1}), ("losses", {}))]


found = asyncio.run(main())
print(*found, sep="\n")
invalid = "Invalid structured content returned by tool {}: None is not of type 'number'"
sys.exit(found != [{"result": 1.5}, invalid.format("loss"), invalid.format("losses")])
END
"$work/venv/bin/python" "$work/see.py"
