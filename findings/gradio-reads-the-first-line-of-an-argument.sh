#!/usr/bin/env bash
# Gradio 6.31.0: of an argument that a Google-style docstring describes in two lines, the API page and MCP tools show one.
#
# Expected: get_function_description, from which the API page and the schemas of MCP tools take what arguments are, reads
# an indented second line as part of the description, as the style has it.
# Seen: it ends at the line's end, in the middle of the sentence.
# For us: arguments of endpoints are described in one line each (tests/ui/test_agents_parts.py).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "gradio==6.31.0"
cat >"$work/see.py" <<'END'
import sys

from gradio.utils import get_function_description


def greet(name: str) -> str:
    """Greet somebody.

    Args:
        name: whom to greet, by the first name or
            by the whole one.

    Returns:
        The greeting.
    """
    return f"Hello {name}"


_, arguments, _ = get_function_description(greet)
print(arguments)
sys.exit(arguments != {"name": "whom to greet, by the first name or"})
END
"$work/venv/bin/python" "$work/see.py"
