"""A function in a process of its own, with limits of memory and time: for parsers that a hostile file could break.

The process gets bytes and options that are JSON, and answers with bytes and JSON: nothing that it says is ever
unpickled. It has none of this process's environment variables but the path, so no tokens either.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import IO, Any

from charlm.errors import CharLMError
from charlm.files import one_line

MEMORY = 1 << 30  # bytes beside what Python and its libraries take
SECONDS = 60  # of computing
MOST_ANSWER = 1 << 30  # bytes
_PASSED = ("PATH", "HOME", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "LD_LIBRARY_PATH")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_START = "from charlm.data.confined import main; main()"
Work = Callable[[bytes, dict[str, Any]], tuple[bytes, Any]]


class ConfinedError(Exception):
    """It did not end well; the message says why in a few words, which the caller completes by the file's name."""


def confined(
    work: Work, data: bytes, options: Mapping[str, Any], *,
    memory: int = MEMORY, seconds: float = SECONDS, most_answer: int = MOST_ANSWER,
) -> tuple[bytes, Any]:  # fmt: skip
    """What a function makes of some bytes, in a process of its own.

    Args:
        work: at the top of its module; takes the bytes and the options, and returns bytes and what JSON can hold.
        data: for it.
        options: for it, as JSON can hold them.
        memory: bytes that it may take beside Python and what its module imports, where the system can limit that.
        seconds: of computing; on a busy machine it may take three times as long.
        most_answer: bytes that it may return.

    Returns:
        What the function returned.

    Raises:
        CharLMError: the function refused the bytes; the message is its own.
        ConfinedError: it took too much, crashed, or failed in another way.
    """
    job = {"module": work.__module__, "function": work.__name__, "options": dict(options)}
    limits = {"memory": memory, "seconds": int(seconds) + 1, "most_answer": most_answer}
    with tempfile.TemporaryFile() as question, tempfile.TemporaryFile() as answer:
        head = json.dumps({**job, **limits}).encode()
        question.write(len(head).to_bytes(8, "little") + head)
        question.write(data)
        question.seek(0)
        _run(question, answer, seconds)
        return _answer(answer, most_answer)


def _run(question: IO[bytes], answer: IO[bytes], seconds: float) -> None:
    """Run the process to its end; raises ConfinedError if it does not come to one by itself."""
    paths = [os.path.abspath(path) for path in sys.path]
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    environment = {**passed, **_ONE_THREAD, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen(
        [sys.executable, "-c", _START], stdin=question, stdout=answer, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        code = process.wait(3 * seconds + 10)
    except subprocess.TimeoutExpired:
        raise ConfinedError(f"reading it takes more than {seconds:.0f} seconds") from None
    finally:
        process.kill()
        process.wait()
    if code in (-24, -9):  # SIGXCPU, and SIGKILL, as the system sends it for want of memory or after the hard limit
        raise ConfinedError(f"reading it takes more than {seconds:.0f} seconds, or too much memory")
    if code:
        raise ConfinedError("its reader crashed, so it is damaged")


def _answer(file: IO[bytes], most: int) -> tuple[bytes, Any]:
    """What the process wrote.

    Raises:
        CharLMError, ConfinedError: see `confined`.
    """
    file.seek(0)
    size = int.from_bytes(file.read(8), "little")
    if size > 1 << 24:
        raise ConfinedError("its reader answered nonsense")
    try:
        said = json.loads(file.read(size))
        told, kind = said["told"], said["kind"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfinedError("its reader answered nonsense") from None
    if kind == "refused":
        raise CharLMError(one_line(told, 600))
    if kind != "done":
        raise ConfinedError(one_line(told, 300) or "its reader failed")
    data = file.read(most + 1)
    if len(data) > most:
        raise ConfinedError(f"it holds more than {most:,} bytes")
    return data, told


def main() -> None:
    """The process: read the question, set the limits, do the work, write the answer."""
    question, answer = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # what a library prints is no answer
    job = json.loads(question.read(int.from_bytes(question.read(8), "little")))
    data, kind, payload = question.read(), "done", b""
    told: Any
    try:
        work: Work = getattr(importlib.import_module(job["module"]), job["function"])
        _limit(job["memory"], job["seconds"], job["most_answer"])
        payload, told = work(data, job["options"])
        head = json.dumps({"kind": kind, "told": told}).encode()
    except MemoryError:
        head = _said("failed", f"reading it takes more than {job['memory'] / 1e9:.1f} GB of memory")
    except CharLMError as error:
        head = _said("refused", f"{error}")
    except Exception as error:
        head = _said("failed", f"it cannot be read ({type(error).__name__}: {one_line(str(error), 150)})")
    answer.write(len(head).to_bytes(8, "little") + head)
    answer.write(payload)
    answer.flush()
    os._exit(0)  # whatever a library would do at the end


def _said(kind: str, told: str) -> bytes:
    return json.dumps({"kind": kind, "told": told}).encode()


def _limit(memory: int, seconds: int, most_answer: int) -> None:
    """Set the limits, where the system has them."""
    try:
        import resource
    except ImportError:  # Windows: the time alone is limited, by who waits
        return
    _lower(resource, resource.RLIMIT_CPU, seconds, seconds + 5)
    _lower(resource, resource.RLIMIT_FSIZE, most_answer + (1 << 25), most_answer + (1 << 25))
    _lower(resource, resource.RLIMIT_CORE, 0, 0)
    if (taken := _address_space()) is not None:
        _lower(resource, resource.RLIMIT_AS, taken + memory, taken + memory)


def _lower(resource: Any, what: int, soft: int, hard: int) -> None:
    most = resource.getrlimit(what)[1]
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(what, (soft, hard))


def _address_space() -> int | None:
    """Bytes of addresses that this process has; None where that cannot be told."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None
