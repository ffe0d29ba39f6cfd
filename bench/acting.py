"""Servers for bench/pages.py, each a process of its own.

The app over a race that is acted (run folders made by hand, whose logs grow as a training's would), the app over a real
training, and a page as a tutorial would write it.
"""

import json
import math
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bench.measure import ROOT

ARCHS = ("lstm", "gru", "rnn")
PER_SECOND = 5  # rows a second that a race adds to each log
VALIDATED = 100  # one row in as many has a validation loss
LIVES = 10**6  # steps after which an acted run would end
QUICK: dict[str, Any] = {"steps": 30_000, "eval_every": 30_000}


def row(step: int, place: int) -> dict[str, Any]:
    """A row of a log, as a training writes it."""
    loss = 1.3 + place / 20 + 3 * math.exp(-step / 500)
    return {
        "step": step, "epoch": round(step / 555, 4), "train_loss": round(loss + 0.03 * math.sin(step * (7 + place)), 6),
        "val_loss": round(loss + 0.1, 6) if step % VALIDATED == 0 else None, "learning_rate": 0.001,
        "grad_norm": round(0.4 + 0.1 * math.sin(step), 6), "chars_per_second": 98_123.4, "seconds": round(step / 80, 3),
    }  # fmt: skip


def stage(store: Any, points: int, status: str = "running") -> list[Any]:
    """A race of three whose logs have `points` rows; held by this process while it runs."""
    from charlm.config import CorpusConfig, ModelConfig, TrainConfig
    from charlm.tokenizers import CharTokenizer

    runs, race = [], secrets.token_hex(4)
    for place, arch in enumerate(ARCHS):
        model, train = ModelConfig(arch=arch, vocab_size=77), TrainConfig(steps=LIVES)
        info = {
            "label": arch.upper(), "model": vars(model), "train": vars(train), "corpus_config": vars(CorpusConfig()),
            "corpus": {"name": "A play", "sha256": "0" * 64, "characters": 100_000}, "group": race,
        }  # fmt: skip
        run = store.create(info, CharTokenizer([chr(48 + code) for code in range(77)]))
        with run.log.path.open("w") as log:
            log.writelines(json.dumps(row(step, place)) + "\n" for step in range(1, points + 1))
        run.sample_log.append({"step": points, "prompt": "The ", "text": "quick brown fox " * 18})
        tell(run, points, status)
        if status != "running":
            run.release()
        runs.append(run)
    return runs


def tell(run: Any, step: int, status: str = "running") -> None:
    """Bring a run's folder up to date, as a training does once a second."""
    last = row(step, ARCHS.index(run.arch))
    best = step - step % VALIDATED
    progress = {"step": step, "total_steps": LIVES, "train_loss": last["train_loss"], "seconds": last["seconds"],
                "chars_per_second": 98_123.4, "best_step": best, "epoch": last["epoch"],
                "best_val_loss": row(best, ARCHS.index(run.arch))["val_loss"] if best else None}  # fmt: skip
    run.update(progress, status=status)


def act(runs: list[Any], points: int) -> dict[str, Any]:
    """Let the logs grow from now on; what the status bar shows of it, kept up to date."""
    job: dict[str, Any] = {"title": "Race", "corpus": "A play", "status": "running", "total_steps": LIVES, "queued": 0,
                           "message": "", "run_ids": [run.run_id for run in runs]}  # fmt: skip

    def play() -> None:
        step = points
        while True:
            step += 1
            for place, run in enumerate(runs):
                run.log.append(row(step, place))
                if step % PER_SECOND == 0:
                    tell(run, step)
            shown = [{"arch": run.arch, "label": run.label, "best_val_loss": run.best_val_loss} for run in runs]
            job.update(step=step, progress=step / LIVES, eta_seconds=3600.0 - step / 10, runs=shown)
            time.sleep(1 / PER_SECOND)

    job.update(step=points, progress=points / LIVES, eta_seconds=3600.0, runs=[])
    threading.Thread(target=play, daemon=True).start()
    return job


def launch(demo: Any, options: Mapping[str, Any]) -> str:
    """Serve a gradio app on a free port; its address."""
    _, address, _ = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, **options)
    return str(address)


def lab(folder: Path) -> tuple[Any, Callable[[], str]]:
    """The app's services over a folder of its own, and how to serve them."""
    from charlm.jobs.service import Jobs
    from charlm.public.services import Services
    from charlm.runs.store import RunStore
    from charlm.serving import Serving
    from charlm.ui.app import build_demo, launch_options
    from charlm.ui.services import Files

    store = RunStore(folder / "runs", folder / "shipped")
    services = Services(store, Jobs(store), Serving(store), Files())
    return services, lambda: launch(build_demo(services, folder / "data"), launch_options())


def ours(folder: Path, points: int, running: bool) -> str:
    """The app over an acted race, running or finished."""
    services, serve = lab(folder)
    runs = stage(services.store, points, "running" if running else "finished")
    if running:
        job = act(runs, points)
        services.jobs.current = lambda: dict(job)
        services.jobs.queue = lambda: [job["run_ids"]]
    return serve()


def usual(folder: Path, points: int, running: bool) -> str:
    """What a tutorial would do: a timer that reads the logs and sends the whole figure."""
    import gradio as gr
    import pandas as pd
    import plotly.graph_objects as go

    from charlm.runs.store import RunStore

    store = RunStore(folder / "runs", folder / "shipped")
    runs = stage(store, points, "running" if running else "finished")

    def draw() -> go.Figure:
        figure = go.Figure()
        for run in runs:
            rows = pd.read_json(run.log.path, lines=True)
            figure.add_scatter(x=rows["step"], y=rows["train_loss"], name=f"{run.label} training")
            rows = rows.dropna(subset="val_loss")
            figure.add_scatter(x=rows["step"], y=rows["val_loss"], name=f"{run.label} held out", mode="lines+markers")
        return figure

    with gr.Blocks(analytics_enabled=False) as demo:
        with gr.Tab("Start"):
            gr.Plot(go.Figure())
        with gr.Tab("Train") as tab:
            plot = gr.Plot(elem_id="train-plot")
        tab.select(draw, None, plot)
        if running:
            act(runs, points)
            gr.Timer(1).tick(draw, None, plot)
    return launch(demo, {})


def training(folder: Path, arch: str) -> Callable[[float], dict[str, float]]:
    """The app with a real training; call what comes back to measure its steps a second."""
    from charlm.config import CorpusConfig
    from charlm.data.corpus import corpus_from_text
    from charlm.presets import from_options

    services, serve = lab(folder)
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("*/*.py")))
    corpus = corpus_from_text(text, "these programs", CorpusConfig())
    archs = list(ARCHS) if arch == "race" else [arch]
    services.jobs.start(corpus, from_options({"preset": "quick", **QUICK}), archs)

    def so_far() -> tuple[float, float]:
        """Steps of all trainers, and the seconds they took by the training's own clock, which ends with a step."""
        states = [services.jobs.state(run) for run in services.store.list()]
        return sum(state["step"] for state in states), sum(state["seconds"] for state in states)

    def round_of(seconds: float) -> dict[str, float]:
        step, clock = so_far()
        began, busy = time.perf_counter(), time.process_time()
        time.sleep(seconds)
        cpu = (time.process_time() - busy) / (time.perf_counter() - began)
        now, later = so_far()
        return {"steps_per_second": (now - step) / (later - clock), "cpu": cpu}

    print(json.dumps({"address": serve()}), flush=True)
    while so_far()[0] < 20 * len(archs):
        time.sleep(0.1)
    return round_of


def main() -> None:
    """`ours|usual POINTS running|finished` or `training ARCH`; prints its address, then answers seconds with a rate."""
    with tempfile.TemporaryDirectory() as folder:
        kind, what = sys.argv[1], sys.argv[2]
        if kind == "training":
            round_of = training(Path(folder), what)
            print("{}", flush=True)
            for line in sys.stdin:
                print(json.dumps(round_of(float(line))), flush=True)
            return
        address = {"ours": ours, "usual": usual}[kind](Path(folder), int(what), sys.argv[3] == "running")
        print(json.dumps({"address": address}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
