"""What a reader may not do: run code, load modules, start programs, talk to the network, write elsewhere."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NEVER = (
    "exec", "compile", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn",
    "subprocess.Popen", "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto", "ctypes.dlopen",
    "pickle.find_class", "marshal.loads", "marshal.load", "code.__new__", "function.__new__", "webbrowser.open",
    "urllib.Request", "os.putenv", "sys.addaudithook",
)  # fmt: skip
# What changes a file or a folder that is named by the first argument.
CHANGES = (
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "shutil.rmtree", "shutil.move", "shutil.copyfile", "shutil.copytree",
)  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Violation(BaseException):
    """A reader did what none may do."""


class Hang(BaseException):
    """A reader took far too long."""


class Guard:
    """An audit hook that says no while it is armed; it cannot be taken off again, so it belongs in an own process.

    Args:
        home: the folder in which files may be written.
    """

    def __init__(self, home: Path) -> None:
        self.home = str(home.resolve())
        self.armed = self.learning = False
        self.known: set[str] = set()
        sys.addaudithook(self._hear)

    @contextmanager
    def learns(self) -> Iterator[None]:
        """Meanwhile modules are noted that may be looked for later."""
        self.learning = True
        yield
        self.learning = False
        self.known |= set(sys.modules)

    @contextmanager
    def watches(self, seconds: float) -> Iterator[None]:
        """Meanwhile nothing forbidden may happen, and it may not take longer."""
        signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        self.armed = True
        try:
            yield
        finally:
            self.armed = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)

    def _ring(self, *_: Any) -> None:
        raise Hang("it took too long")

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if self.learning and event == "import":
            self.known.add(args[0])
        if not self.armed:
            return
        if event in NEVER or (event == "import" and not self._may_load(args[0])):
            self._refuse(event, args)
        if event == "open" and self._writes(*args[1:3]) and not self._is_home(args[0]):
            self._refuse(event, args)
        if event in CHANGES and not all(self._is_home(path, folder) for path, folder in _named(event, args)):
            self._refuse(event, args)

    def _refuse(self, event: str, args: tuple[Any, ...]) -> None:
        self.armed = False
        raise Violation(f"{event} {args!r:.200}")

    def _may_load(self, name: str) -> bool:
        """Whether it was noted, or is looked for among Python's codecs, of which all that there are were noted."""
        return name in self.known or name.startswith("encodings.")

    def _writes(self, mode: Any, flags: Any) -> bool:
        return bool(set(str(mode or "")) & set("wax+")) or (isinstance(flags, int) and bool(flags & WRITING))

    def _is_home(self, path: Any, folder: int = -1) -> bool:
        if not isinstance(path, str | bytes | os.PathLike):  # a file that is open already
            return True
        inside = os.readlink(f"/proc/self/fd/{folder}") if folder >= 0 else os.getcwd()
        return os.path.abspath(os.path.join(inside, os.fsdecode(path))).startswith(self.home + os.sep)


def _named(event: str, args: tuple[Any, ...]) -> list[tuple[Any, int]]:
    """The paths of an event, each with the open folder in which it lies, or -1."""
    count = 2 if event in ("os.rename", "os.link", "shutil.move", "shutil.copyfile", "shutil.copytree") else 1
    folders = (
        [one if isinstance(one, int) else -1 for one in args[count : 2 * count]] if event.startswith("os.") else []
    )
    if event in ("os.mkdir", "os.chmod", "os.chown", "os.utime", "os.symlink", "os.truncate"):
        folders = [args[-1] if isinstance(args[-1], int) and event != "os.truncate" else -1]
    if event == "shutil.rmtree":
        folders = [args[1] if len(args) > 1 and isinstance(args[1], int) else -1]
    return list(zip(args[:count], [*folders, -1, -1], strict=False))


def reset_peak() -> None:
    """Let the system forget how much memory this process ever took."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def memory() -> tuple[int, int]:
    """Bytes that this process takes, and the most since `reset_peak`."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak, peak
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("VmHWM", "VmRSS"))}
    return int(sizes["VmRSS"]) << 10, int(sizes["VmHWM"]) << 10
