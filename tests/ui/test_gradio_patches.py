"""What repairs gradio does so, and is still needed: with a gradio that needs it no longer a test here fails."""

import re
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from gradio.blocks import BlocksConfig
from gradio.state_holder import SessionState
from gradio.themes.utils.fonts import LocalFont

from charlm.ui.gradio_patches import FONT_WEIGHTS, QUEUE_SLEEPS, describe_once, page_head, slow_queue

FRONTEND = Path(gr.__file__).parent / "templates" / "frontend"


@pytest.fixture
def demo() -> gr.Blocks:
    """A small app, as if it was being served."""
    with gr.Blocks() as made:
        gr.Textbox("one", label="Name")
        gr.HTML("<b>two</b>")
    describe_once(made)
    made.is_running = True
    return made


def test_a_session_is_described_as_gradio_describes_it(demo: gr.Blocks) -> None:
    first, second = SessionState(demo), SessionState(demo)
    plain = {key: BlocksConfig.config_for_block(key, [], block) for key, block in demo.blocks.items()}
    assert first.config_values == second.config_values == plain


def test_what_does_not_change_is_described_once(demo: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    SessionState(demo)
    monkeypatch.setattr(BlocksConfig, "config_for_block", lambda *_: pytest.fail("described again"))
    SessionState(demo)


def test_a_value_of_one_session_is_not_seen_in_another(demo: gr.Blocks) -> None:
    one, other = SessionState(demo), SessionState(demo)
    [key] = [key for key, block in demo.blocks.items() if isinstance(block, gr.Textbox)]
    one._update_value_in_config(key, "secret")
    one[key] = gr.Textbox("secret", label="Changed", render=False)
    one._update_config(key)
    assert one.config_values[key]["props"]["label"] == "Changed"
    for state in (other, SessionState(demo)):
        assert state.config_values[key]["props"]["value"] == "one"
        assert state.config_values[key]["props"]["label"] == "Name"


def test_while_it_is_built_nothing_is_remembered(demo: gr.Blocks) -> None:
    demo.is_running = False
    [block] = [block for block in demo.blocks.values() if isinstance(block, gr.Textbox)]
    SessionState(demo)
    block.label = "Later"
    demo.is_running = True
    assert SessionState(demo).config_values[block._id]["props"]["label"] == "Later"


def test_a_session_would_describe_all_components_again(demo: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    described: list[int] = []
    with gr.Blocks() as plain:
        gr.Textbox("one")
    plain.is_running = True
    describe = BlocksConfig.config_for_block

    def counted(_id: int, *given: Any) -> Any:
        described.append(_id)
        return describe(_id, *given)

    monkeypatch.setattr(BlocksConfig, "config_for_block", staticmethod(counted))
    SessionState(plain), SessionState(plain)
    assert len(described) == 2 * len(set(described)) > 0, "gradio shares descriptions by itself: drop describe_once"


def test_gradios_queue_would_look_for_events_without_rest() -> None:
    with gr.Blocks() as plain:
        pass
    queue = plain.queue()._queue
    for name, seconds in QUEUE_SLEEPS.items():
        assert getattr(queue, name) < seconds, f"gradio's own {name} is long enough: drop slow_queue"
    slow_queue(plain)
    assert {name: getattr(queue, name) for name in QUEUE_SLEEPS} == QUEUE_SLEEPS


def test_gradios_half_bold_fonts_lack_most_letters() -> None:
    sizes = {
        weight: (FRONTEND / "static" / "fonts" / "IBMPlexSans" / f"IBMPlexSans-{weight}.woff2").stat().st_size
        for weight in ("Regular", "SemiBold", "Bold")
    }
    assert sizes["SemiBold"] < 0.5 * sizes["Bold"], "the half-bold font is whole: 600 may be used"
    assert 600 in LocalFont("IBM Plex Sans").weights and 600 not in FONT_WEIGHTS


def test_gradios_loading_timers_ask_for_every_frame() -> None:
    """The code that gradio_patches.js recognises by its words is still in gradio's scripts."""
    timer = re.compile(r"=>\{[^{}]{0,40}\(performance\.now\(\)-[^{}]{1,12}\)/1e3\)[^{}]{0,40}\(\)\}")
    found = [path for path in FRONTEND.rglob("*.js") if timer.search(path.read_text(encoding="utf-8"))]
    assert found, "gradio's timers look otherwise: gradio_patches.js does nothing"
    assert "requestAnimationFrame" in page_head() and "@media" in page_head()


def test_gradios_backspace_takes_a_choice_away_unheard() -> None:
    """In gradio's script of a dropdown with several choices, what Backspace does has no event."""
    branch = re.compile(r"===`Backspace`&&[^{}]*===``\)\{(.*?props\.value=.*?)\}")
    [does] = [
        found[1]
        for path in (FRONTEND / "assets").glob("Index-*.js")
        if (found := branch.search(path.read_text(encoding="utf-8")))
    ]
    assert "dispatch" not in does, "gradio's Backspace is heard as input: drop its part of gradio_patches.js"
    assert '"Backspace"' in page_head()


def test_gradios_page_looks_through_all_listeners_for_each_component() -> None:
    """tests/e2e/test_opening.py sees that these would be proxies, too."""
    looks = re.compile(r"\.filter\((\w)=>\1\.targets\.find\(.{,200}\.attached_events=")
    found = [path for path in (FRONTEND / "assets").glob("core-*.js") if looks.search(path.read_text(encoding="utf-8"))]
    assert found, "gradio finds a component's listeners otherwise: see whether gradio_patches.js must still help"
    assert "Object.setPrototypeOf" in page_head()
