"""The one HTML file: its size, its rounded weights, and that nothing in it can end the element it stands in."""

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from charlm.errors import CheckpointError
from charlm.formats.exports import find_format
from charlm.formats.html import pack, script_json, unpack, write_page
from charlm.runs.run import Run
from charlm.runs.store import SHIPPED
from tests.formats.pages import ODD_TOKENS, described, random_run, rounded_model, weights_of
from tests.tiny_runs import spoil

LETTERS = [chr(code) for code in range(32, 112)]  # 80 of them
MEGABYTE = 1_000_000


class Elements(HTMLParser):
    """The elements of a page, with the text of its scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.scripts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.scripts += [""] * (tag == "script")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data


def page_of(run: Run, folder: Path, name: str = "html") -> str:
    find_format(name).write(run, folder / "page.html")
    return (folder / "page.html").read_text(encoding="utf-8")


@pytest.fixture
def shipped() -> Run:
    return Run(SHIPPED / "sherlock-rnn", shipped=True)


# --- weights ---------------------------------------------------------------------------------------------------------


matrices = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    elements=st.floats(-60_000, 60_000, width=32, allow_subnormal=False),
)


@given(matrices)
def test_16_bits_are_what_a_half_float_keeps(values: np.ndarray) -> None:
    one = pack("w", values, 16)
    assert len(one.data) == 2 * values.size
    assert np.array_equal(unpack(one.kind, one.shape, one.data), values.astype(np.float16).astype(np.float32))


@given(matrices)
def test_8_bits_are_off_by_half_a_step_of_their_row_at_most(values: np.ndarray) -> None:
    one = pack("w", values, 8)
    assert len(one.data) == values.size + 4 * len(values)
    steps = np.abs(values).max(axis=1, keepdims=True) / 127
    off = np.abs(unpack(one.kind, one.shape, one.data).astype(np.float64) - values)
    assert np.all(off <= 0.5001 * steps + 1e-36)


@given(arrays.arrays(np.float32, st.integers(1, 9), elements=st.floats(width=32, allow_nan=False)))
def test_biases_stay_as_they_are(values: np.ndarray) -> None:
    for bits in (8, 16):
        one = pack("b", values, bits)  # type: ignore[arg-type]
        assert np.array_equal(unpack(one.kind, one.shape, one.data), values)


def test_weights_beyond_16_bits_are_refused_with_the_way_out(tmp_path: Path) -> None:
    run = random_run(tmp_path, ["a", "b"], arch="rnn", hidden_size=3, num_layers=1)
    model = run.load_model()
    with torch.no_grad():
        model.fc.weight[0, 0] = 70_000.0  # type: ignore[union-attr, index]
    from charlm.runs.checkpoint import save_weights

    save_weights(run.folder / "best.safetensors", model)
    with pytest.raises(CheckpointError, match=r"fc.weight reaches 70,000, and 16-bit .* take 8-bit ones"):
        write_page(run, tmp_path / "page.html")
    write_page(run, tmp_path / "page.html", bits=8)
    assert abs(float(weights_of((tmp_path / "page.html").read_text())["fc.weight"][0, 0]) - 70_000) < 300


@pytest.mark.parametrize(("name", "off"), [("html", 1e-3), ("html8", 0.02)])
def test_the_page_holds_the_runs_best_weights(name: str, off: float, shipped: Run, tmp_path: Path) -> None:
    found, wanted = weights_of(page_of(shipped, tmp_path, name)), shipped.load_model().state_dict()
    assert found.keys() == wanted.keys()
    for key, tensor in wanted.items():
        assert float((found[key] - tensor).abs().max()) <= off * float(tensor.abs().max()), key


def test_tied_weights_are_kept_once(tmp_path: Path) -> None:
    run = random_run(tmp_path, ODD_TOKENS, arch="gru", embed_dim=5, hidden_size=5, num_layers=1, tie_weights=True)
    page = page_of(run, tmp_path)
    assert "fc.weight" not in weights_of(page) and "fc.bias" in weights_of(page)
    assert rounded_model(run, page).fc.weight.shape == (len(ODD_TOKENS), 5)  # type: ignore[union-attr]


def test_two_layers_of_512_stay_under_10_mb(tmp_path: Path) -> None:
    run = random_run(tmp_path, LETTERS, arch="lstm", hidden_size=512, num_layers=2)
    sizes = {}
    for name in ("html", "html8"):
        find_format(name).write(run, tmp_path / name)
        sizes[name] = (tmp_path / name).stat().st_size
    assert 2 * MEGABYTE < sizes["html8"] < 5 * MEGABYTE < sizes["html"] < 10 * MEGABYTE


def test_a_run_without_weights_says_so(tmp_path: Path) -> None:
    run = random_run(tmp_path, ["a", "b"], hidden_size=3, num_layers=1)
    (run.folder / "best.safetensors").unlink()
    with pytest.raises(CheckpointError, match="saved no weights yet"):
        write_page(run, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


# --- text ------------------------------------------------------------------------------------------------------------


@given(st.recursive(st.text() | st.sampled_from(["</script>", "<!--", "]]>", "\u2028"]), st.lists))
def test_json_in_a_script_cannot_leave_it(value: object) -> None:
    text = script_json(value)
    assert json.loads(text) == value and text.isascii() and not set(text) & set("<>&")


HOSTILE = "</title></script><!--<script>alert(1)</script>\u2028{{weights}}\"'&"


def test_hostile_names_add_no_element(tmp_path: Path) -> None:
    plain = random_run(tmp_path / "plain", ODD_TOKENS, hidden_size=3, num_layers=1)
    run = random_run(tmp_path / "odd", ODD_TOKENS, label=HOSTILE, hidden_size=3, num_layers=1)
    spoil(run.folder / "run.json", corpus={"name": HOSTILE})
    (run.folder / "samples.jsonl").write_text(json.dumps({"step": 1, "prompt": HOSTILE, "text": ""}) + "\n")
    usual, odd = (page_of(Run(one.folder), tmp_path) for one in (plain, run))
    assert Elements(odd).names == Elements(usual).names
    assert odd.count("{{weights}}") == 4  # title, heading, corpus and prompt: a name is no place to fill


def test_the_policy_allows_this_script_and_style_only(shipped: Run, tmp_path: Path) -> None:
    page = page_of(shipped, tmp_path)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#x27;", "'")  # type: ignore[index]
    style = re.search(r"<style>(.*?)</style>", page, re.S)[1]  # type: ignore[index]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
              for text in (Elements(page).scripts[-1], style)]  # fmt: skip
    assert policy.startswith("default-src 'none'; ") and re.findall(r"'sha256-([^']*)'", policy) == hashes
    script, style = (f"'sha256-{one}'" for one in hashes)
    assert policy == (
        f"default-src 'none'; script-src {script} 'wasm-unsafe-eval'; style-src {style}; "
        "base-uri 'none'; form-action 'none'"
    )


def test_the_page_names_nothing_outside_itself(shipped: Run, tmp_path: Path) -> None:
    page = re.sub(r'id="(weights|kernels)">[^<]*<', "", page_of(shipped, tmp_path))
    assert not re.search(r"https?:|//[a-z]|\bsrc=|\bhref=|@import|url\(|\bfetch\(|XMLHttp|import\(", page)


def test_the_page_says_what_it_is(shipped: Run, tmp_path: Path) -> None:
    page = page_of(shipped, tmp_path)
    assert "<title>sherlock-rnn</title>" in page and "--c: #D55E00" in page
    size, parameters = shipped.model_config.hidden_size, f"{shipped.num_parameters:,}"
    assert f"RNN (tanh), 2 layers of {size}, {parameters} parameters. Learned from Sherlock Holmes." in page
    assert f"<b>{shipped.best_val_loss / math.log(2):.2f}</b> bits/char" in page and "{{" not in page
    assert described(page)["signs"]["0"] == ["⏎", "line end"]


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    run = random_run(tmp_path, ODD_TOKENS, hidden_size=3, num_layers=1)
    spoil(run.folder / "run.json", corpus={})
    page = page_of(Run(run.folder), tmp_path)
    assert 'class="figure"' not in page and "Learned from" not in page and "1 layer of 3" in page


def test_any_vocabulary_comes_along(tmp_path: Path) -> None:
    run = random_run(tmp_path, ODD_TOKENS, hidden_size=3, num_layers=1)
    about = described(page_of(run, tmp_path))
    assert about["tokens"] == ODD_TOKENS and about["first"] == 1
    assert about["signs"]["0"][0] == "␀" and about["signs"]["6"][0] == "U+2028"
