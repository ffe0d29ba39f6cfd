"""What a request's JSON holds that gradio should not get: files of others, which it opens or fetches, broken text."""

import json
from collections.abc import Callable, Iterator
from typing import Any

FOREIGN = "the file is no upload of yours; upload it here first"
BROKEN = "the text in the request is no Unicode: half a pair of surrogates stands in it"
DEEP = "the request is nested too deeply"


def trouble_in(body: bytes, is_own: Callable[[str], bool]) -> str:
    """What is wrong with a body, as a sentence; empty if nothing is.

    Args:
        body: of a request; what is no JSON is left to gradio, which will not read it either.
        is_own: asked for the path of each file.
    """
    try:
        value = json.loads(body or b"null")
    except RecursionError:
        return DEEP
    except ValueError:
        return ""
    for one in _parts(value):
        if isinstance(one, str):
            if not _is_whole(one):
                return BROKEN
        elif "path" in one and "meta" in one and not (isinstance(one["path"], str) and is_own(one["path"])):
            return FOREIGN
    return ""


def _parts(value: Any) -> Iterator[str | dict[str, Any]]:
    """All objects and texts in a JSON value, objects before what they hold."""
    rest = [value]
    while rest:
        one = rest.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            yield one
            rest += one.keys()
            rest += one.values()
        elif isinstance(one, list):
            rest += one


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
