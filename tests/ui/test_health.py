"""The health check: it passes for a page that works, a public one, too, and for nothing else."""

import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from charlm.ui.health import listed_runs, main
from tests.patience import patience
from tests.server import ROOT

USED_UP = "http://127.0.0.1:9"  # the port `discard`, where nobody listens


class Silent(BaseHTTPRequestHandler):
    """Answers every call with an event, and the event with what the server has to say."""

    said = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.said)

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"event_id": "1"}')

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def stranger() -> Iterator[tuple[str, type[Silent]]]:
    """A server that is not this app: its address, and the class that answers."""
    answering = type("Answering", (Silent,), {})
    server = HTTPServer(("127.0.0.1", 0), answering)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", answering
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_public_page_is_healthy(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert {"sherlock-lstm", "sherlock-gru"} <= {run["run_id"] for run in listed_runs(address, patience(30))}
    assert main([address]) == 0
    assert capsys.readouterr().out.startswith(f"{address} works: ")


def test_a_page_without_a_model_is_not(alone: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert listed_runs(alone, patience(30)) == []
    assert main([alone]) == 1


@pytest.mark.parametrize(
    "said", [b"", b"event: error\ndata: null\n\n", b"event: complete\ndata: []\n\n", b"data: {\n", b"data: [3]\n"]
)
def test_what_answers_otherwise_is_not(
    said: bytes, stranger: tuple[str, type[Silent]], capsys: pytest.CaptureFixture[str]
) -> None:
    address, answering = stranger
    answering.said = said
    assert main([address]) == 1
    out, err = capsys.readouterr()
    assert not out and err.startswith(f"{address} does not work: ") and len(err.splitlines()) == 1


def test_it_runs_without_torch_and_gradio_and_takes_its_port_from_the_environment() -> None:
    code = """if True:
        import sys
        from charlm.ui.health import main
        code = main([])
        print({"torch", "gradio"} & set(sys.modules))
        sys.exit(code)"""
    told = {**os.environ, "GRADIO_SERVER_PORT": USED_UP.rpartition(":")[2]}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=told, capture_output=True, text=True, timeout=patience(60)
    )
    assert (done.returncode, done.stdout) == (1, "set()\n") and f"{USED_UP} does not work" in done.stderr
