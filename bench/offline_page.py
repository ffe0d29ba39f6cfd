"""The offline page: characters a second of runs exported as one HTML file, beside the same file with plain loops.

All pages are open in one Chromium and write in turn, with the same settings and seed. Weights are random, which changes
the text only. Without Chromium nothing is measured.
"""

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.measure import ROOT, Row
from bench.start import chromium
from charlm.config import CorpusConfig, ModelConfig, TrainConfig
from charlm.formats.html import SOURCE, Bits, write_page
from charlm.models import build_model
from charlm.runs.checkpoint import save_weights
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.tokenizers import CharTokenizer

ROUNDS, LENGTH = 7, 400
TOKENS = [chr(code) for code in range(32, 110)]  # as many as a book in English has
GOALS: dict[tuple[str, Bits], str] = {("lstm", 16): ">= 3x", ("lstm", 8): ">= 10x"}
SIZES: dict[str, dict[str, int]] = {
    "lstm": {"hidden_size": 512, "num_layers": 2},
    "gru": {"hidden_size": 592, "num_layers": 2},
    "rnn": {"hidden_size": 1040, "num_layers": 2},
    "transformer": {"hidden_size": 272, "num_layers": 4},
    "mingru": {"hidden_size": 368, "num_layers": 4},
}
TIMED = """(length) => {
  const began = performance.now();
  charlm.write('Holmes', { length, temperature: 0.8, top_k: 0, seed: 5 });
  return (1000 * length) / (performance.now() - began);
}"""
LOOPS = "delete window.WebAssembly"


def measure(quick: bool = False) -> list[Row]:
    """Characters a second of each architecture, with 16 and with 8 bits a weight."""
    rows = []
    with chromium() as browser, tempfile.TemporaryDirectory() as folder:
        if browser is None:
            print("no Chromium with Playwright: the offline page is not measured", file=sys.stderr)
            return []
        for arch, size in ({"gru": {"hidden_size": 24, "num_layers": 1}} if quick else SIZES).items():
            run = _random_run(Path(folder) / arch, ModelConfig(arch=arch, vocab_size=len(TOKENS), **size))
            for bits in (16, 8):
                rows += _rows(browser, run, bits, 1 if quick else ROUNDS)
    return rows


def _random_run(folder: Path, config: ModelConfig) -> Run:
    settings = {"model": config, "train": TrainConfig(), "corpus_config": CorpusConfig()}
    about = {"label": config.arch, "corpus": {}, **{name: one.to_dict() for name, one in settings.items()}}
    run = RunStore(folder).create(about, CharTokenizer(TOKENS))
    save_weights(run.folder / "best.safetensors", build_model(config, seed=1))
    run.release()
    return run


def _rows(browser: Any, run: Run, bits: Bits, rounds: int) -> list[Row]:
    """Our page, ours without WebAssembly, and the usual one."""
    write_page(run, ours := run.folder / "ours.html", bits)
    usual = run.folder / "usual.html"
    usual.write_text(_with_usual_script(ours.read_text(encoding="utf-8")), encoding="utf-8")
    pages = {side: browser.new_page() for side in ("ours", "loops", "usual")}
    pages["loops"].add_init_script(LOOPS)
    for side, page in pages.items():
        page.goto((usual if side == "usual" else ours).as_uri())
    assert [pages[side].evaluate("charlm.fast") for side in ("ours", "loops")] == [True, False]
    found: dict[str, list[float]] = {side: [] for side in pages}
    for count in range(1 + rounds):  # the first warms up
        for side, page in pages.items():
            speed = page.evaluate(TIMED, 20 if rounds == 1 else LENGTH)
            print(f"  {run.label}, {bits} bits, {side}: {speed:,.0f} characters/s", file=sys.stderr, flush=True)
            found[side] += [speed] * (count > 0)
    for page in pages.values():
        page.close()
    config = run.model_config
    what = f"page of {bits}-bit weights, {config.arch} {config.num_layers}x{config.hidden_size}"
    return [
        Row(what, "chars/s", found["ours"], found["usual"], GOALS.get((config.arch, bits), "")),
        Row(f"{what}, without WebAssembly", "chars/s", found["loops"], found["usual"]),
    ]


def _with_usual_script(page: str) -> str:
    """The page with the usual script in place of its own, and without the policy that names that."""
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    before, _, _ = page.rpartition("<script>")
    sources = (SOURCE / "numbers.js", SOURCE / "writer.js", ROOT / "bench" / "usual_page.js")
    script = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    return f"{before}<script>{script}</script>\n</body>\n</html>\n"
