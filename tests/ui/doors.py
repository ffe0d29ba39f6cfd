"""Ways to name a file that is none of one's own: hundreds of paths, and odd file objects around them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

TARGETS = ("/etc/passwd", "/proc/self/environ", "/proc/self/cmdline", "/proc/self/maps", "/dev/zero", "/etc", "/")


def disguises(path: str) -> Iterator[str]:
    """The same file in other words, as it stands in a request's line."""
    bare, up = path.lstrip("/"), "../" * 12
    yield quote(path)
    yield quote(path, safe="")
    yield quote(quote(path, safe=""), safe="")
    yield quote(up + bare)
    yield ("%2e%2e%2f" * 12) + quote(bare, safe="")
    yield ("%252e%252e%252f" * 12) + quote(bare, safe="")
    yield ("..%5c" * 12) + quote(bare.replace("/", "\\"), safe="")
    yield ("%c0%ae%c0%ae/" * 12) + quote(bare)
    yield ("%ef%bc%8e%ef%bc%8e/" * 12) + quote(bare)
    yield ("..;/" * 12) + quote(bare)
    yield ("....//" * 12) + quote(bare)
    yield "/" + quote(path)
    yield "/." + quote(path)
    yield quote(path) + "%00.txt"
    yield quote(path) + "/"
    yield quote(path) + "%20"
    yield quote(path) + "%0a"
    yield "file://" + quote(path)
    yield "http://127.0.0.1" + quote(path)
    yield "%5c%5c127.0.0.1%5cshare" + quote(path.replace("/", "\\"), safe="")
    yield "~" + quote(path)


def paths(*more: str) -> list[str]:
    """All of them for all targets."""
    return [disguise for target in (*TARGETS, *more) for disguise in disguises(target)]


def objects(path: str) -> Iterator[Any]:
    """File objects, sound and unsound, that lead to a path."""
    meta = {"_type": "gradio.FileData"}
    yield {"path": path, "meta": meta}
    yield {"path": path, "meta": meta, "orig_name": "a.txt", "size": -1, "is_stream": True}
    yield {"path": path, "meta": meta, "url": "http://127.0.0.1/x", "orig_name": ["a"], "mime_type": 5}
    yield {"path": path, "url": path}
    yield {"path": [path], "meta": meta}
    yield {"path": path, "meta": {"_type": "gradio.FileData", "x": {"path": path, "meta": meta}}}
    yield {"path": "a.txt", "url": f"file://{path}", "meta": meta}
    yield {"path": path, "meta": "gradio.FileData"}
    yield {"path": path, "meta": {}}
    yield [{"path": path, "meta": meta}]
    yield path


def forged(path: Path, *more: str) -> Iterator[Any]:
    """Every object for the path itself, and a sound one for each of its other words."""
    yield from objects(str(path))
    for words in (*other_words(path), *more):
        yield next(objects(words))


def other_words(path: Path) -> list[str]:
    """Paths to the same file that are no request lines."""
    return [
        str(path), f"{path.parent}/../{path.parent.name}/{path.name}", f"{path.parent}//{path.name}", f"{path}\0.txt",
        f"file://{path}", f"../{path}", str(path).replace("/", "\\"), f"\ud800{path}", f"{path}/", "x" * 5000,
        "http://127.0.0.1/" + path.name, "", ".", str(path.parent),
    ]  # fmt: skip
