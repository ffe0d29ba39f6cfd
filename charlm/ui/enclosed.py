"""The files that a request's JSON names: gradio opens them, or fetches them from elsewhere, before the app is asked."""

import json
from collections.abc import Callable, Iterator
from typing import Any


def names_only(body: bytes, allowed: Callable[[str], bool]) -> bool:
    """Whether every file that a body names is allowed.

    Args:
        body: of a request; what is no JSON names none, as gradio will not read it either.
        allowed: asked for each path.

    Returns:
        False, too, for JSON that is nested too deeply to be read.
    """
    try:
        value = json.loads(body or b"null")
    except RecursionError:
        return False
    except ValueError:
        return True
    return all(isinstance(path, str) and allowed(path) for path in _paths(value))


def _paths(value: Any) -> Iterator[Any]:
    """The paths of all file objects in a JSON value."""
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, dict):
            if "path" in one and "meta" in one:
                yield one["path"]
            rest += one.values()
        elif isinstance(one, list):
            rest += one
