"""Reading and encoding a text, from 1 MB to 1 GB, beside the usual dict comprehension: MB/s and peak memory.

Both sides read the file and number its distinct characters; ours also looks for damage, cleans and fingerprints. Peak
memory is what the process grows by, mapped files included. The file is in the page cache. Run:
`python -m charlm bench corpora`.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from bench.measure import Round, Row, Side, alternate

MB = 1_000_000
# What of the text's letters is put in whose place: a text in each width that Python keeps characters in.
KINDS = {
    "Latin-1 text": {"e": "é", "a": "ä"},
    "Cyrillic text": {chr(97 + letter): chr(0x430 + letter) for letter in range(26)},
    "Chinese text": {chr(97 + letter): chr(0x4E00 + 97 * letter) for letter in range(26)},
    "ASCII with emoji": {"q": "😀"},
}
ALPHABET = np.frombuffer(b"etaoinshrdlcumwfgypbvkjxqz", dtype=np.uint8)


def measure(quick: bool = False) -> list[Row]:
    """Two rows a comparison or size, speed and memory; `quick` takes a few small texts and one round."""
    rounds = 1 if quick else 3
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        rows = list(_compared(_write(place / "plain.txt", (1 if quick else 100) * MB), "plain text", rounds))
        for kind, letters in list(KINDS.items())[: 1 if quick else None]:
            path = _write(place / f"{kind}.txt", (1 if quick else 20) * MB, letters)
            rows += _compared(path, kind, rounds)
        for size in (1,) if quick else (1, 10, 100, 1000):
            path = _write(place / f"{size}.txt", size * MB)
            rows += _alone(path, f"ours, {size:,} MB", rounds)
            path.unlink()
        return rows


def usual(path: str) -> Callable[[], Round]:
    """The way of most notebooks."""

    def play() -> tuple[object, str]:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        chars = tuple(set(text))
        int2char = dict(enumerate(chars))
        char2int = {character: number for number, character in int2char.items()}
        return np.array([char2int[character] for character in text]), text

    return _timed(play, path)


def ours(path: str) -> Callable[[], Round]:
    """The way from a file to what a training reads."""
    from charlm.config import CorpusConfig
    from charlm.data.corpus import read_corpus_file
    from charlm.data.dataset import ids_of
    from charlm.tokenizers import CharTokenizer

    def play() -> tuple[object, str]:
        corpus = read_corpus_file(Path(path), CorpusConfig())
        return ids_of(corpus.text, CharTokenizer.fit(corpus.text), Path(path).parent), corpus.text

    return _timed(play, path)


def _timed(play: Callable[[], tuple[object, str]], path: str) -> Callable[[], Round]:
    """What a round calls: MB/s, and by how many bytes a character the process grew at most, in all rounds so far."""
    size, before = Path(path).stat().st_size / MB, _memory("VmRSS")

    def timed() -> Round:
        began = time.perf_counter()
        _ids, text = play()
        taken = time.perf_counter() - began
        return {"MB/s": size / taken, "bytes a character": (_memory("VmHWM") - before) / len(text)}

    return timed


def _memory(field: str) -> int:
    """Bytes of memory of this process: VmRSS now, VmHWM at most; elsewhere than on Linux both are the latter."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) << 10
    import resource  # not on Windows

    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _compared(path: Path, kind: str, rounds: int) -> Iterator[Row]:
    options = {"path": str(path)}
    sides = {name: Side(f"bench.corpora:{name}", options) for name in ("usual", "ours")}
    results = alternate(sides, rounds)
    plain = kind == "plain text"
    what = f"{kind}, {path.stat().st_size / MB:,.0f} MB"
    for unit, goal in (("MB/s", ">= 100" if plain else ""), ("bytes a character", "<= 3" if plain else "")):
        numbers = {name: [played[unit] for played in results[name]] for name in sides}
        yield Row(what, unit, numbers["ours"], numbers["usual"], goal, less_is_better=unit != "MB/s")


def _alone(path: Path, what: str, rounds: int) -> Iterator[Row]:
    results = alternate({"ours": Side("bench.corpora:ours", {"path": str(path)})}, rounds)["ours"]
    small = path.stat().st_size < 10 * MB  # a megabyte of tables and work space shows
    for unit, goal in (("MB/s", ">= 100"), ("bytes a character", "" if small else "<= 3")):
        yield Row(what, unit, [played[unit] for played in results], (), goal, less_is_better=unit != "MB/s")


def _write(path: Path, size: int, letters: Mapping[str, str] | None = None) -> Path:
    """A file of about `size` bytes: a million characters of invented prose, over and over."""
    text = _prose(MB).translate({ord(old): new for old, new in (letters or {}).items()}).encode()
    with path.open("wb") as file:
        for _ in range(max(1, round(size / len(text)))):
            file.write(text)
    return path


def _prose(length: int) -> str:
    """Words of 1 to 10 letters, common ones more often, in lines of about 70 characters."""
    rng = np.random.default_rng(0)
    words = [
        ALPHABET[np.minimum(rng.zipf(1.4, count) - 1, 25)].tobytes().decode() for count in rng.integers(1, 11, 5000)
    ]
    chosen = np.minimum(rng.zipf(1.3, length // 2) - 1, 4999).tolist()
    spaced = [words[number] + ("\n" if place % 13 == 12 else " ") for place, number in enumerate(chosen)]
    return "".join(spaced)[:length]
