"""A ZeroGPU Space as far as one is to be had without Hugging Face; a program of its own, which prints what it saw.

Real: the app, the page's server, the package `spaces` (its decorator, its forked process, its calls to the service that
lends GPUs), the training. Stood in for: that service, which here lends twice and then says that the quota is used up;
and the GPU: what `spaces` asks of CUDA is answered by nothing, and slices, of a second, compute on the CPU.
"""

import json
import os
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SETTINGS = {"steps": 2_000, "hidden_size": 8, "batch_size": 4, "seq_len": 10, "eval_every": 500, "device": "cuda"}
VISITOR = "a.e30.b"  # a token of Hugging Face's, with nothing in it
asked: list[tuple[str, dict[str, list[str]]]] = []


class Lender(BaseHTTPRequestHandler):
    """The service: routes and answers as spaces/zero/api.py reads them."""

    def do_POST(self) -> None:
        url = urlsplit(self.path)
        asked.append((url.path, parse_qs(url.query)))
        code, body = 200, dict[str, Any]()
        if url.path == "/schedule":
            body = {"idle": True, "nvidiaIndex": 0, "nvidiaUUID": "none", "allowToken": "lent"}
            if sum(path == "/schedule" for path, _ in asked) > 2:
                code, body = 429, {"left": 12, "wait": 3600}
        answer = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Lender)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["SPACES_ZERO_DEVICE_API_URL"] = f"http://127.0.0.1:{server.server_port}"
    import torch

    parts: Any = torch
    parts.version.cuda, parts._C._cuda_init, parts.cuda._is_in_bad_fork = "12.8", lambda: None, bool
    import gradio  # noqa: F401  before spaces, as in the app
    import spaces.zero.torch as on_cuda
    from gradio_client import Client

    from charlm.data.catalog import data_dir
    from charlm.jobs import zero_gpu
    from charlm.ui.app import build_demo
    from charlm.ui.launch import launch_options
    from charlm.ui.services import open_app_services

    on_cuda.init, on_cuda.move = (lambda uuid: None), (lambda callback=None: None)
    zero_gpu.train_slice = partial(zero_gpu.train_slice, device="cpu", seconds=1.0)
    served = open_app_services()
    served.begin()
    demo = build_demo(served.services, data_dir())
    demo.launch(prevent_thread_lock=True, quiet=True, **launch_options(served.services, False))
    client = Client(demo.local_url, verbose=False, headers={"x-ip-token": VISITOR})
    run_id, seen = client.predict("sherlock", None, "lstm", SETTINGS, api_name="/train")["run_id"], list[str]()
    while True:
        state = client.predict(run_id, 0, api_name="/status")
        if state["message"] not in seen:
            seen.append(state["message"])
        if state["status"] not in ("queued", "running", "paused"):
            break
        time.sleep(0.05)
    told = {"status": state["status"], "step": state["step"], "messages": seen, "lent": served.services.lent}
    print(json.dumps({**told, "cuda": torch.cuda.is_available(), "asked": asked}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
