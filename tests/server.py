"""The app in a process of its own, as a user starts it."""

import contextlib
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.patience import patience, wait_for

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Server:
    """A running app, its address, and the port in it."""

    address: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path


@contextlib.contextmanager
def serving(
    folder: Path,
    command: Sequence[str] = (sys.executable, "app.py"),
    cwd: Path = ROOT,
    port: int = 0,
    **environment: str,
) -> Iterator[Server]:
    """The app on this port, or a free one, its log in `folder`; ended afterwards if it has not ended by itself."""
    if not port:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    env = {
        **os.environ,
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        **environment,
    }
    with (folder / f"log-{port}.txt").open("w+") as log:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdout=log, stderr=log)
        server = Server(f"http://127.0.0.1:{port}/", port, process, Path(log.name))
        try:
            wait_for_page(server)
            yield server
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience(20))
            process.kill()
            process.wait()


def wait_for_page(server: Server) -> None:
    """Until the page answers; the app's own words if it does not."""

    def answers() -> bool:
        assert server.process.poll() is None, f"the app has ended:\n{server.log.read_text()}"
        try:
            urllib.request.urlopen(server.address, timeout=patience(10)).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True

    wait_for(answers, "for the app to answer", seconds=90)
