"""A model by its name on the Hub, from a server of our own that speaks the routes of a download."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.conftest import ROOT
from tests.patience import patience
from tests.pretrained.tiny_pretrained import saved

for _needed in ("transformers", "gguf", "accelerate"):
    pytest.importorskip(_needed, reason="pip install -r requirements-pretrained.txt brings what pretrained models need")

COMMIT = "0123456789abcdef" * 2 + "01234567"
LOADED = """
from charlm.errors import CharLMError
from charlm.pretrained import load
for name in {names}:
    try:
        model = load(name)
        print(model.label, model.num_parameters, "".join(model.generate("The cat"))[:1] != "")
    except CharLMError as error:
        print(error)
"""


class Hub(ThreadingHTTPServer):
    """Serves the folders in one as repositories, and notes what was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Route)
        self.folder, self.asked = folder, list[str]()


class Route(BaseHTTPRequestHandler):
    """What huggingface_hub asks for in a download: a repository, its tree, and the files."""

    server: Hub

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(path)
        for repository in self.server.folder.glob("*/*"):
            name = repository.relative_to(self.server.folder).as_posix()
            files = sorted(one.name for one in repository.iterdir())
            if path == f"/api/models/{name}/revision/main":
                return self._answer({"id": name, "sha": COMMIT, "siblings": [{"rfilename": one} for one in files]})
            if path.startswith(f"/api/models/{name}/tree/"):
                sizes = [(one, (repository / one).read_bytes()) for one in files]
                return self._answer([_entry(one, data) for one, data in sizes])
            if path.startswith(f"/{name}/resolve/") and (repository / path.rsplit("/", 1)[1]).is_file():
                return self._send((repository / path.rsplit("/", 1)[1]).read_bytes(), "application/octet-stream")
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _answer(self, value: object) -> None:
        self._send(json.dumps(value).encode(), "application/json")

    def _send(self, data: bytes, kind: str) -> None:
        self.send_response(200)
        for name, value in {
            "Content-Type": kind, "Content-Length": len(data), "X-Repo-Commit": COMMIT,
            "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
        }.items():  # fmt: skip
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


def _entry(name: str, data: bytes) -> dict[str, object]:
    return {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    server = Hub(tmp_path / "hub")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_model_is_downloaded_once_without_pickles_and_code(hub: Hub, tmp_path: Path) -> None:
    repository = saved(hub.folder / "someone" / "tiny")
    (repository / "pytorch_model.bin").write_bytes(b"a pickle")
    (repository / "own.py").write_text("raise SystemExit(1)")
    address = f"http://127.0.0.1:{hub.server_port}"
    environment = {
        **os.environ, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    }  # fmt: skip
    script = LOADED.format(names=["someone/tiny", "hf:someone/tiny", "someone/nothing"])
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        timeout=patience(120),
        check=True,
    )
    first, again, refused = run.stdout.splitlines()
    assert first == again and first.startswith("tiny ") and first.endswith("True")
    assert (
        "someone/nothing could not be downloaded from the Hugging Face Hub" in refused and "check the name" in refused
    )
    files = [path for path in hub.asked if "/resolve/" in path]
    assert any(path.endswith("model.safetensors") for path in files)
    assert not any(path.endswith((".bin", ".py")) for path in files)
    kept = {path.name for path in (tmp_path / "home").rglob("*") if path.is_symlink() or path.is_file()}
    assert "model.safetensors" in kept and not {"own.py", "pytorch_model.bin"} & kept
