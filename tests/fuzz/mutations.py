"""Damage: bytes changed anywhere, and files rebuilt around a change, so that checksums and lengths fit all the same."""

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from random import Random
from typing import Any

from charlm.runs.tensor_file import UNSEALED
from tests.sealing import sealed

# What a case may draw on: its random numbers, and other files to splice in.
Draw = tuple[Random, Sequence[bytes]]
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**63, 2**64 - 1)
RAW = (
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "9" * 5000,
    "1" + "0" * 400,
    "-0",
    "1e-999",
    '"\\ud800"',
    "",
    "tru",
    '"' * 3,
)
PLAIN: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**15, 10**19, 0.5, -1e300, 1e40, "", "x", "\n", "\ud800", "\x00",
    "../..", "x" * 5000, "\u202e<b>", [], {}, [None], [[]], {"": 0}, {"step": 1}, ["a", "a"], [1] * 300,
)  # fmt: skip
NAMES = ("step", "val_loss", "label", "__class__", "", "../x", "text", "shape", "dtype", "x" * 300, "\n")
MEMBER_NAMES = (
    "/etc/passwd", "../x", "a/../b", "run.json", "x\\y", "C:x", "n\x00ul", "run.json/", "x" * 300, "evil.py", "\n", ".",
    "",
)  # fmt: skip
HOLE = "\ue000hole\ue000"


# --- anywhere --------------------------------------------------------------------------------------------------------


def _place(data: bytes, random: Random) -> int:
    """Anywhere; every other time near the beginning or the end, where lengths and lists stand."""
    last = max(len(data) - 1, 0)
    return random.choice(
        (random.randint(0, last), random.randint(0, min(last, 80)), max(0, last - random.randint(0, 80)))
    )


def flip(data: bytes, draw: Draw) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(draw[0].choice((1, 1, 2, 8))):
        changed[_place(changed, draw[0])] ^= 1 << draw[0].randint(0, 7)
    return bytes(changed)


def run_of_bytes(data: bytes, draw: Draw) -> bytes:
    at, size = _place(data, draw[0]), draw[0].choice((1, 4, 16, 200))
    return data[:at] + draw[0].choice((b"\0" * size, b"\xff" * size, draw[0].randbytes(size))) + data[at + size :]


def truncate(data: bytes, draw: Draw) -> bytes:
    return data[: _place(data, draw[0])]


def insert(data: bytes, draw: Draw) -> bytes:
    at = _place(data, draw[0])
    return data[:at] + draw[0].choice((draw[0].randbytes(9), b"\0" * 70, data[at : at + 99], b"[" * 3000)) + data[at:]


def splice(data: bytes, draw: Draw) -> bytes:
    other = draw[0].choice(draw[1])
    return data[: _place(data, draw[0])] + other[_place(other, draw[0]) :]


def length(data: bytes, draw: Draw) -> bytes:
    """An extreme number where a length may stand."""
    form = draw[0].choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    at = _place(data, draw[0])
    at -= draw[0].choice((0, at % size))
    return data[:at] + struct.pack(form, draw[0].choice(EXTREMES) % (1 << 8 * size)) + data[at + size :]


ANYWHERE = (flip, run_of_bytes, truncate, insert, splice, length)


# --- JSON ------------------------------------------------------------------------------------------------------------


def _nodes(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a value."""
    inner = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [pair for key, part in inner for pair in ((value, key), *_nodes(part))]


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _changed_json(text: str, random: Random) -> str:
    """JSON with one value, or one name, replaced, taken out, repeated or nested."""
    value = json.loads(text)
    nodes = _nodes(value)
    if not nodes:
        return random.choice(RAW)
    holder, key = random.choice(nodes)
    kind = random.randint(0, 6)
    if kind == 0 and isinstance(holder, dict):
        return _text(value).replace("{", f"{{{json.dumps(key)}:{_text(random.choice(PLAIN))},", 1)
    if kind == 1:
        del holder[key]
    elif kind == 2 and isinstance(holder, dict):
        holder[random.choice(NAMES)] = random.choice(PLAIN)
    elif kind == 3:
        holder[key] = _other_kind(holder[key])
    elif kind == 4:
        holder[key] = HOLE
        depth = random.choice((3, 30, 300, 30_000))
        opened, closed = random.choice((("[", "]"), ('{"a":', "}")))
        return _text(value).replace(_text(HOLE), opened * depth + "1" + closed * depth)
    elif kind == 5:
        holder[key] = HOLE
        return _text(value).replace(_text(HOLE), random.choice(RAW))
    else:
        holder[key] = random.choice(PLAIN)
    return _text(value)


def _other_kind(value: Any) -> Any:
    if isinstance(value, dict):
        return list(value)
    if isinstance(value, list):
        return dict(enumerate(value))
    return [value] if isinstance(value, str) else str(value)


def json_changed(data: bytes, draw: Draw) -> bytes:
    return _changed_json(data.decode(), draw[0]).encode("utf-8", "surrogatepass")


def line_changed(data: bytes, draw: Draw) -> bytes:
    lines = data.split(b"\n")
    at = draw[0].randrange(len(lines))
    lines[at] = json_changed(lines[at], draw) if lines[at] else draw[0].choice(lines)
    return b"\n".join(lines)


# --- safetensors, zip, gzip ------------------------------------------------------------------------------------------


def header_changed(data: bytes, draw: Draw) -> bytes:
    """A safetensors file with another header, of the right length and sealed."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    about = header.get("__metadata__", {})
    if "charlm" not in about:  # another program's, which carries no seal
        raw = _changed_json(_text(header), draw[0]).encode("utf-8", "surrogatepass")
        return len(raw).to_bytes(8, "little") + raw + data[end:]
    about["sha256"] = UNSEALED
    if draw[0].random() < 0.4:
        about["charlm"] = _changed_json(about["charlm"], draw[0])
        text = _text(header)
    else:
        text = _changed_json(_text(header), draw[0])
    raw = text.encode("utf-8", "surrogatepass")
    return sealed(len(raw).to_bytes(8, "little") + raw + data[end:])


def numbers_changed(data: bytes, draw: Draw) -> bytes:
    """A safetensors file with other numbers, sealed."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    is_ours = "__metadata__" in header
    if is_ours:
        header["__metadata__"]["sha256"] = UNSEALED
    raw, body = _text(header).encode(), bytearray(data[end:])
    for _ in range(draw[0].choice((1, 3, 30))):
        at = draw[0].randrange(len(body) // 4) * 4
        odd = draw[0].choice((float("nan"), float("inf"), -float("inf"), 3e38, -1.0, 0.0, 1e-45))
        body[at : at + 4] = struct.pack("<f", odd)
    whole = len(raw).to_bytes(8, "little") + raw + bytes(body)
    return sealed(whole) if is_ours else whole


def members_changed(data: bytes, draw: Draw) -> bytes:
    """A zip with one member damaged, renamed, doubled, added or marked, packed anew."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = draw[0].randrange(len(members))
    name, content = members[at]
    kind = draw[0].randint(0, 7)
    if kind <= 3:
        members[at] = name, mutated(name, content, draw)
    elif kind == 4:
        members[at] = draw[0].choice(MEMBER_NAMES), content
    elif kind == 5:
        members.append((draw[0].choice((name, *MEMBER_NAMES)), draw[0].choice(draw[1])))
    elif kind == 6:
        members.append((f"{name}.lnk", b"/etc/passwd"))
    else:
        del members[at]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", draw[0].choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if name.endswith(".lnk") else 0o100644) << 16
            archive.writestr(info, content)
    return packed.getvalue()


def unpacked_changed(data: bytes, draw: Draw) -> bytes:
    """A gzip file of a damaged text, or packed twice."""
    inner = gzip.decompress(data)
    return gzip.compress(draw[0].choice((data, mutated("", inner, draw))), 1)


STRUCTURED: dict[str, tuple[Callable[[bytes, Draw], bytes], ...]] = {
    ".json": (json_changed,), ".jsonl": (line_changed,), ".safetensors": (header_changed, numbers_changed),
    ".zip": (members_changed,), ".gz": (unpacked_changed,),
}  # fmt: skip


def mutated(name: str, data: bytes, draw: Draw) -> bytes:
    """A file with one to four changes; the first one knows, two times of three, how the file is built.

    Args:
        name: its suffix says what it is.
        data: the file, whole.
        draw: random numbers, and files to splice in.
    """
    structured = STRUCTURED.get(PurePosixPath(name).suffix, ())
    changes = draw[0].choice((1, 1, 1, 2, 4))
    if structured and draw[0].random() < 0.67:
        data = draw[0].choice(structured)(data, draw)
        changes = draw[0].choice((0, 0, 0, 1)) if changes == 1 else changes - 1
    for _ in range(changes):
        data = draw[0].choice(ANYWHERE)(data, draw)
    return data
