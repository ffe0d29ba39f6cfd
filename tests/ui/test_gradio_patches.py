"""Sessions share the descriptions of components, and only those that are the same for all."""

import gradio as gr
import pytest
from gradio.blocks import BlocksConfig
from gradio.state_holder import SessionState

from charlm.ui.gradio_patches import describe_once


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
