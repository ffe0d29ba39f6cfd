"""Makes kernels.wasm of kernels.wat: `python -m charlm.formats.html.assemble`, after `pip install wasmtime`."""

from pathlib import Path

SOURCE = Path(__file__).with_name("kernels.wat")
CODE = SOURCE.with_suffix(".wasm")
HEADER = 8  # bytes: a mark and the version
CUSTOM = 0  # the kind of section that holds names, which nothing needs


def assembled() -> bytes:
    """The module that the source says, without the names of its variables.

    Raises:
        ImportError: wasmtime is not installed.
    """
    from wasmtime import wat2wasm

    code, kept = bytes(wat2wasm(SOURCE.read_text(encoding="utf-8"))), b""
    at = HEADER
    while at < len(code):
        size, begin = _size(code, at + 1)
        if code[at] != CUSTOM:
            kept += code[at : begin + size]
        at = begin + size
    return code[:HEADER] + kept


def _size(code: bytes, at: int) -> tuple[int, int]:
    """A whole number in groups of seven bits, the lowest first (LEB128), and where it ends."""
    size = shift = 0
    while True:
        size |= (code[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if code[at - 1] < 128:
            return size, at


if __name__ == "__main__":
    CODE.write_bytes(assembled())
