"""The exported page computes the same to the last bit with its WebAssembly module and without, in a real browser."""

import re
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from charlm.formats.exports import find_format
from charlm.runs.run import Run
from tests.e2e.steps import SECOND
from tests.formats.pages import ODD_TOKENS, random_run
from tests.patience import patience

TEXT = "".join(islice(cycle(ODD_TOKENS + ODD_TOKENS[::3]), 60))
WITHOUT = {
    "no WebAssembly": "delete window.WebAssembly",
    "no SIMD": "WebAssembly.Module = function () { throw new WebAssembly.CompileError('unknown opcode'); }",
}
MODELS: list[dict[str, Any]] = [
    {"arch": "lstm", "hidden_size": 33, "num_layers": 2},
    {"arch": "gru", "hidden_size": 65, "num_layers": 1, "embed_dim": 65, "tie_weights": True},
    {"arch": "rnn", "hidden_size": 17, "num_layers": 3},
    {"arch": "rnn", "hidden_size": 7, "num_layers": 1, "nonlinearity": "relu", "embed_dim": 3},
    {"arch": "mingru", "hidden_size": 17, "num_layers": 2},
    {"arch": "transformer", "hidden_size": 24, "num_layers": 2, "context": 9},
]
Opened = Callable[[Run, str, str], Any]


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opened]:
    """Opens a run's page after a script; what goes wrong in it fails the test, but for what a policy refuses."""
    visitor = browser.new_context(offline=True)
    wrong: list[str] = []

    def open_page(run: Run, name: str, script: str = "") -> Any:
        path = tmp_path / f"{name}.html"
        if not path.exists():
            find_format(name).write(run, path)
        page = visitor.new_page()
        page.set_default_timeout(patience(60) * SECOND)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.add_init_script(script or "0")
        page.goto(path.as_uri())
        page.locator("#bars button").first.wait_for()
        return page

    yield open_page
    visitor.close()
    assert not [error for error in wrong if not re.search("settings blocked|Content Security Policy", error)]


@pytest.mark.parametrize("name", ["html", "html8"])
@pytest.mark.smoke
@pytest.mark.parametrize("model", MODELS, ids=lambda model: "-".join(map(str, model.values())))
def test_without_the_module_the_numbers_are_the_same(
    model: dict[str, Any], name: str, opened: Opened, tmp_path: Path
) -> None:
    run, found = random_run(tmp_path, ODD_TOKENS, **model), []
    for fast, script in ((True, ""), (False, WITHOUT["no WebAssembly"])):
        page = opened(run, name, script)
        assert page.evaluate("charlm.fast") is fast
        found.append(page.evaluate("(text) => [charlm.logits(text), charlm.write(text, { length: 80 })]", TEXT))
    assert found[0] == found[1] and len(set(found[0][1])) > 2


def test_a_browser_without_simd_gets_the_loops(opened: Opened, tmp_path: Path) -> None:
    run = random_run(tmp_path, ODD_TOKENS, arch="gru", hidden_size=9, num_layers=1)
    usual, old = opened(run, "html8", ""), opened(run, "html8", WITHOUT["no SIMD"])
    assert usual.evaluate("charlm.fast") and not old.evaluate("charlm.fast")
    assert usual.evaluate("charlm.logits('en')") == old.evaluate("charlm.logits('en')")


def test_where_a_policy_forbids_modules_the_page_still_writes(opened: Opened, tmp_path: Path) -> None:
    run = random_run(tmp_path, ODD_TOKENS, arch="lstm", hidden_size=9, num_layers=1)
    allowed = opened(run, "html", "")
    page = (tmp_path / "html.html").read_text(encoding="utf-8")
    (tmp_path / "strict.html").write_text(page.replace(" &#x27;wasm-unsafe-eval&#x27;", "", 1), encoding="utf-8")
    strict = opened(run, "strict", "")
    assert allowed.evaluate("charlm.fast") and not strict.evaluate("charlm.fast")
    assert allowed.evaluate("charlm.write('en')") == strict.evaluate("charlm.write('en')")


FUNCTIONS = """() => {
  const random = numbersFrom(7), odd = [0, -0, 1e-42, -1e-42, 3e38, -3e38, Infinity, -Infinity, NaN, 80.1, -80.1, 88];
  const number = (plain) => !plain && random() % 40 === 0 ? odd[random() % odd.length] : random() / 2 ** 31 - 1;
  const [size, off] = [1 << 18, []], module = kernelsOf(kernels, size), loops = loopsOver(new ArrayBuffer(size));
  if (!module.fast) off.push('no module');
  for (let round = 0; round < 60; round++) {
    const name = ['exp', 'floats', 'bytes'][round % 3], plain = round % 2 === 0;
    const columns = 2 * (1 + random() % 90), panels = 1 + random() % 5, [x, out] = [1 << 17, 3 << 16];
    const buffer = new ArrayBuffer(size), floats = new Float32Array(buffer), bytes = new Int8Array(buffer);
    if (name === 'bytes') {
      for (let at = 0; at < out; at++) bytes[at] = Math.max(-127, random() % 256 - 128);
    } else {
      for (let at = 0; at < out / 4; at++) floats[at] = number(plain) * (name === 'exp' ? 90 : 2);
    }
    const twin = new ArrayBuffer(size);
    new Uint8Array(module.buffer, 0, size).set(new Uint8Array(buffer));
    new Uint8Array(twin).set(new Uint8Array(buffer));
    const given = name === 'exp' ? [64, 64 + 16 * columns] : [0, x, out, columns, panels];
    module[name](...given);
    loopsOver(twin)[name](...given);
    const [one, other] = [module.buffer, twin].map((memory) => new Float32Array(memory, 0, size / 4));
    const [a, b] = [one, other].map((values) => new Int32Array(values.buffer, 0, size / 4));
    for (let at = 0; at < size / 4; at++) {
      if (a[at] !== b[at] && !(Number.isNaN(one[at]) && Number.isNaN(other[at]))) {
        off.push([round, name, columns, panels, at, one[at], other[at]]);
        break;
      }
    }
  }
  return off;
}"""


def test_each_function_gives_the_same_bits_as_its_loop(opened: Opened, tmp_path: Path) -> None:
    run = random_run(tmp_path, ODD_TOKENS, arch="rnn", hidden_size=3, num_layers=1)
    assert opened(run, "html", "").evaluate(FUNCTIONS) == []


@pytest.mark.parametrize("attempt", ["eval('1')", "new Function('1')()", "setTimeout('window.hurt = 1')"])
def test_text_still_never_becomes_a_program(attempt: str, opened: Opened, tmp_path: Path) -> None:
    page = opened(random_run(tmp_path, ["a", "b"], arch="rnn", hidden_size=3, num_layers=1), "html", "")
    refused = page.evaluate(f"""() => new Promise((done) => {{
      document.addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective));
      requestAnimationFrame(() => {{ try {{ {attempt}; }} catch {{ /* refused */ }} }});
      setTimeout(() => done('nothing was refused'), 5000);
    }})""")
    assert refused == "script-src" and page.evaluate("window.hurt") is None


def test_weights_of_8_bits_stay_so_in_memory(opened: Opened, tmp_path: Path) -> None:
    run = random_run(tmp_path, ODD_TOKENS, arch="lstm", hidden_size=256, num_layers=2)
    sizes = {name: opened(run, name, "").evaluate("model.output.memory.kernels.buffer.byteLength")
             for name in ("html", "html8")}  # fmt: skip
    numbers = sum(parameter.numel() for parameter in run.load_model().parameters())
    assert sizes["html8"] < 1.3 * numbers < 4 * numbers < sizes["html"] < 1.3 * 4 * numbers
    assert re.search(r'id="kernels">[A-Za-z0-9+/=]{1000,2500}<', (tmp_path / "html8.html").read_text(encoding="utf-8"))
