"""The Corpus tab's handlers: what is shown, what the browser keeps, and what a bad text leaves in place."""

import gzip
import html
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from charlm.config import TOKEN_SETTINGS, CorpusConfig, ModelConfig
from charlm.data.catalog import data_dir
from charlm.data.own_texts import Upload, open_upload
from charlm.data.text_store import remember
from charlm.presets import from_options
from charlm.public.limits import Limits
from charlm.public.services import Services
from charlm.ui.corpus import view as corpus_view
from charlm.ui.corpus.reading import Readings
from charlm.ui.corpus.tab import CLEANING, NAMES, CorpusTab, build_parts
from charlm.ui.corpus.texts import (
    choice_of_run,
    chosen_options,
    chosen_tokens,
    chosen_value,
    corpus_choices,
    open_corpus,
    own_choices,
)
from charlm.ui.html import Shared
from charlm.ui.services import Files
from charlm.ui.train.tab import handed_back
from tests.patience import patience

STORY = "A fox met a hen by the gate.\r\nThe hen ran home; the fox sat down and sang.\r\n" * 12
USUAL = CorpusConfig().to_dict() | ModelConfig().to_dict()
DEFAULTS = {name: USUAL[name] for name in NAMES}


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The toasts that were shown."""
    said: list[str] = []
    monkeypatch.setattr(gr, "Warning", lambda message, **_: said.append(message))
    return said


@pytest.fixture
def desk(warnings: list[str]) -> CorpusTab:
    """The handlers over real components and no runs."""
    with gr.Blocks() as page, gr.Tabs() as tabs, gr.Tab("Corpus") as own:
        parts, options = build_parts()
        shared = Shared(page, tabs, own, gr.BrowserState(None), gr.Textbox(), gr.Textbox())
    return CorpusTab(parts, options, Services(SimpleNamespace(list=lambda: []), None, None, Files()), shared)


@pytest.fixture
def brought(desk: CorpusTab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[Any, Any]]:
    """Uploads a file and returns what the page gets."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))

    def upload(name: str, data: bytes | str, chosen: Any = None, **options: Any) -> dict[Any, Any]:
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return desk.upload(chosen, str(path), with_options(**options))

    return upload


def with_options(**changed: Any) -> dict[str, Any]:
    """The options' values by name."""
    return DEFAULTS | changed


def option(desk: CorpusTab, shown: dict[Any, Any], name: str) -> dict[str, Any]:
    """What one option's control is told."""
    return shown[desk.options[name]]


def test_the_tab_opens_on_the_default_text(desk: CorpusTab, warnings: list[str]) -> None:
    shown = desk.show(None)
    assert desk.shared.corpus not in shown  # nothing was chosen yet
    assert "561,676" in shown[desk.parts["facts"]] and "78" in shown[desk.parts["facts"]]
    assert shown[desk.parts["picker"]]["value"] == "sherlock"
    assert not warnings


def test_an_upload_is_shown_and_what_was_repaired_is_said(desk: CorpusTab, brought: Any) -> None:
    shown = brought("tale.txt", STORY)
    text = STORY.replace("\r\n", "\n")
    assert "tale.txt" in shown[desk.parts["head"]] and "24 line endings converted to LF" in shown[desk.parts["head"]]
    for number in (f"{len(text):,}", f"{len(set(text))}", f"{len(text.split()):,}"):
        assert f"<b>{number}</b>" in shown[desk.parts["facts"]]
    assert shown[desk.shared.corpus]["config"] == CorpusConfig().to_dict()


def test_gzip_is_unpacked_and_said(desk: CorpusTab, brought: Any) -> None:
    assert "gzip unpacked" in brought("tale.txt.gz", gzip.compress(STORY.encode()))[desk.parts["head"]]


def test_a_text_that_needs_nothing_says_so(desk: CorpusTab, brought: Any) -> None:
    assert "Nothing had to be repaired." in brought("tale.txt", STORY.replace("\r", ""))[desk.parts["head"]]


def test_the_column_called_text_is_taken_and_others_can_be(desk: CorpusTab, brought: Any) -> None:
    rows = "".join(f"title {row},the long story of fox number {row}\n" for row in range(40))
    shown = brought("tales.csv", "Title,Text\n" + rows)
    column = option(desk, shown, "column")
    assert column["visible"] and column["value"] == ""
    assert ("Text (by itself)", "") in column["choices"] and ("Title", "Title") in column["choices"]
    assert option(desk, shown, "separator")["visible"]
    assert "the long story" in shown[desk.parts["begins"]]
    other = desk.clean(shown[desk.shared.corpus], with_options(column="Title"))
    assert "the long story" not in other[desk.parts["begins"]] and "title 3" in other[desk.parts["begins"]]
    assert "column Title" in other[desk.parts["fold"]]["label"]


def test_of_columns_without_a_usual_name_the_wordiest_is_taken(
    desk: CorpusTab, brought: Any, warnings: list[str]
) -> None:
    rows = "".join(f"name {row},the long tale of hen number {row}\n" for row in range(40))
    shown = brought("tales.csv", "who,what\n" + rows)
    assert shown[desk.shared.corpus]["config"]["column"] == "what" and not warnings
    away = desk.pick(shown[desk.shared.corpus], "sherlock", DEFAULTS)[desk.shared.corpus]
    assert away["config"]["column"] == ""
    again = desk.pick(away, chosen_value(shown[desk.shared.corpus]), DEFAULTS)
    assert again[desk.shared.corpus]["config"]["column"] == "what"


def test_options_clean_again_from_the_raw_bytes(desk: CorpusTab, brought: Any) -> None:
    chosen = brought("tale.txt", STORY)[desk.shared.corpus]
    lowered = desk.clean(chosen, with_options(lowercase=True, drop_newlines=True))
    assert "a fox met" in lowered[desk.parts["begins"]] and "case lowered" in lowered[desk.parts["fold"]]["label"]
    back = desk.clean(lowered[desk.shared.corpus], DEFAULTS)
    assert "A fox met" in back[desk.parts["begins"]]
    assert back[desk.shared.corpus]["sha256"] == chosen["sha256"]
    raw = desk.clean(chosen, with_options(lf=False))
    assert "␍" in raw[desk.parts["characters"]]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("empty.txt", b""),
        ("one.txt", b"aaaaaaaaaa"),
        ("picture.txt", bytes(range(256)) * 20),
        ("short.txt", b"ab"),
        ("broken.gz", b"\x1f\x8b\x08oh no"),
        ("head.csv", b"a,b\n"),
    ],
)
def test_a_bad_file_is_refused_in_a_sentence_and_the_former_text_stays(
    desk: CorpusTab, brought: Any, warnings: list[str], name: str, data: bytes
) -> None:
    chosen = brought("tale.txt", STORY, lowercase=True)[desk.shared.corpus]
    shown = brought(name, data, chosen)
    assert len(warnings) == 1 and "\n" not in warnings[0]
    assert desk.shared.corpus not in shown and desk.parts["head"] not in shown
    assert shown[desk.parts["picker"]]["value"] == chosen_value(chosen)
    assert option(desk, shown, "lowercase")["value"] is True


def test_no_network_leaves_the_former_text(
    desk: CorpusTab, brought: Any, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHARLM_CORPORA", raising=False)
    monkeypatch.setattr("charlm.data.catalog._download", refuse_download)
    chosen = brought("tale.txt", STORY)[desk.shared.corpus]
    shown = desk.pick(chosen, "anna", DEFAULTS)
    assert warnings == ["no connection"] and shown[desk.parts["picker"]]["value"] == chosen_value(chosen)


def test_picking_what_is_shown_changes_nothing(desk: CorpusTab, warnings: list[str]) -> None:
    assert desk.pick(None, "sherlock", DEFAULTS) == {desk.parts["picker"]: gr.skip()}
    assert not warnings


def refuse_download(*_: Any) -> Path:
    from charlm.errors import CorpusError

    raise CorpusError("no connection")


def test_fractions_out_of_range_go_back(desk: CorpusTab, brought: Any, warnings: list[str]) -> None:
    chosen = brought("tale.txt", STORY)[desk.shared.corpus]
    shown = desk.clean(chosen, with_options(val_fraction=0.9, test_fraction=0.9))
    assert "0.95 or less" in warnings[0]
    assert option(desk, shown, "val_fraction")["value"] == 0.1


def test_nothing_held_out_says_it_instead_of_costs(desk: CorpusTab, brought: Any) -> None:
    shown = brought("tale.txt", STORY, val_fraction=0.0)
    assert "Nothing is held out." in shown[desk.parts["baselines"]]
    assert "Nothing is held out." in desk.measure(shown[desk.shared.corpus])
    assert "Nothing held out" in shown[desk.parts["fold"]]["label"]


def test_bars_come_after_and_are_kept(desk: CorpusTab, brought: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = brought("tale.txt", STORY)
    chosen = shown[desk.shared.corpus]
    assert "Counting" in shown[desk.parts["baselines"]]
    bars = desk.measure(chosen)
    assert bars.index("Uniform") < bars.index("1-gram: letter frequencies") and "xz" in bars
    monkeypatch.setattr("charlm.analysis.baselines.measure", lambda *_: pytest.fail("counted twice"))
    assert desk.show(chosen)[desk.parts["baselines"]] == bars


def test_pasted_text_closes_its_panel_and_outlives_a_reload(desk: CorpusTab, warnings: list[str]) -> None:
    shown = desk.paste(None, STORY, DEFAULTS)
    assert shown[desk.parts["panel"]]["visible"] is False and shown[desk.parts["pasted"]] == ""
    again = CorpusTab(desk.parts, desk.options, desk.services, desk.shared)
    assert "A fox met" in again.show(shown[desk.shared.corpus])[desk.parts["begins"]]
    refused = desk.paste(shown[desk.shared.corpus], "   ", DEFAULTS)
    assert desk.parts["panel"] not in refused and len(warnings) == 1


def test_a_text_that_is_gone_gives_way_to_the_default(desk: CorpusTab, warnings: list[str]) -> None:
    shown = desk.show({"key": "", "source": "0" * 64, "sha256": "0" * 64, "name": "old", "config": {"nonsense": 1}})
    assert "Sherlock Holmes" in shown[desk.parts["head"]] and len(warnings) == 1


def test_own_texts_stay_in_the_pickers(desk: CorpusTab, brought: Any) -> None:
    chosen = brought("tale.txt", STORY)[desk.shared.corpus]
    moved = desk.pick(chosen, "sherlock", DEFAULTS)[desk.shared.corpus]
    assert (moved["key"], chosen_value(moved)) == ("sherlock", "sherlock")
    title, value = corpus_choices(moved, desk.services.texts.list())[0]
    assert title.startswith("tale.txt · 912 B · today ") and value == chosen_value(chosen)
    assert corpus_choices(None, desk.services.texts.list())[0] == (title, value)  # another browser, or a new one


CHANGES: list[dict[str, Any]] = [
    {},
    {"drop_newlines": True},
    {"lf": False},
    {"lowercase": True, "nfc": True},
    {"strip_gutenberg": False},
    {"separator": "space", "drop_newlines": True},
]
MARKED = "*** START OF THE PROJECT GUTENBERG EBOOK X ***\r" + "J\u030c\u0130 Fox\rHen. " * 30
MARKED_TWICE = MARKED + "\r\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\r\nmore of it"
TABLE = "Text\n" + "".join(f'"The fox\nnumber {row}"\n' for row in range(30))


@pytest.mark.parametrize("changed", CHANGES, ids=str)
@pytest.mark.parametrize(
    ("name", "data"), [("tale.txt", STORY), ("old.txt", MARKED), ("twice.txt", MARKED_TWICE), ("rows.csv", TABLE)]
)
def test_train_reads_the_very_text_that_was_shown(
    desk: CorpusTab, brought: Any, name: str, data: str, changed: dict[str, Any]
) -> None:
    chosen = brought(name, data, **changed)[desk.shared.corpus]
    left, tabs = desk.train(chosen)
    config = from_options(chosen_options(chosen), "quick").corpus
    assert open_corpus(chosen_value(chosen), config).sha256 == chosen["sha256"]
    assert config == CorpusConfig(**changed)
    assert tabs.selected == "train" and left == gr.skip()  # what was set since is not undone


def test_a_preset_cleans_an_upload_from_its_raw_rows(desk: CorpusTab, brought: Any) -> None:
    chosen = brought("rows.csv", TABLE)[desk.shared.corpus]
    config = from_options(chosen_options(chosen), "notebook").corpus
    assert open_corpus(chosen_value(chosen), config).text.startswith("The foxnumber 0 The foxnumber 1")


def test_an_upload_is_kept_raw_and_found_by_its_fingerprint_only(desk: CorpusTab, brought: Any) -> None:
    chosen = brought("tale.txt", STORY)[desk.shared.corpus]
    kept = open_upload(chosen["source"], data_dir())
    assert kept is not None and kept.data == STORY.encode() and kept.name == "tale.txt"
    for wrong in ("../" + chosen["source"], "", "0" * 64, "/etc/passwd"):
        assert open_upload(wrong, data_dir()) is None


def test_user_text_is_never_markup(desk: CorpusTab, brought: Any) -> None:
    hurt = "<img src=x onerror=alert(1)>&<script>${alert(1)}</script>\"' "
    shown = brought("<b>zz.txt", hurt * 40)
    shown[desk.parts["model"]] = desk.explain(shown[desk.shared.corpus])
    shown[desk.parts["baselines"]] = desk.measure(shown[desk.shared.corpus])
    for place in (
        desk.parts["head"],
        desk.parts["begins"],
        desk.parts["characters"],
        desk.parts["model"],
        desk.parts["baselines"],
    ):
        for piece in ("<img", "<script", "<b>zz"):
            assert piece not in shown[place]
    assert "&lt;img" in shown[desk.parts["begins"]]


def test_the_fold_states_the_options() -> None:
    assert corpus_view.options_title(CorpusConfig()) == "Held out 10 % · line ends LF · case kept"
    every = CorpusConfig(
        column="a", drop_newlines=True, nfc=True, lowercase=True, strip_gutenberg=False, test_fraction=0.05
    )
    assert corpus_view.options_title(every, table=True) == (
        "Held out 10 % · test tail 5 % · column a · rows joined by a blank line · line ends taken out · case lowered "
        "· Unicode NFC · Gutenberg header kept"
    )


def test_every_option_has_a_label_and_the_hint_of_its_field(desk: CorpusTab) -> None:
    for name, control in desk.options.items():
        config = CorpusConfig if name in CLEANING else ModelConfig
        assert control.label and control.info == config.field(name).metadata["hint"]
        assert control.elem_id == f"corpus-{name.replace('_', '-')}"


def test_the_tab_is_wired_in_a_page() -> None:
    from charlm.ui.corpus import tab

    services = Services(SimpleNamespace(list=lambda: []), None, None, Files())
    with gr.Blocks() as page, gr.Tabs() as tabs, gr.Tab("Corpus") as own:
        shared = Shared(page, tabs, own, gr.BrowserState(None), gr.Textbox(), gr.Textbox())
        tab.build(services, shared)
    assert {"pick", "upload", "paste", "clean", "show", "measure", "explain", "train"} <= {
        block.fn.__name__ for block in page.fns.values() if block.fn
    }


def test_the_tab_is_imported_without_torch_and_plotly() -> None:
    code = "import sys, charlm.ui.corpus.tab; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=patience(120)
    )
    assert not {"torch", "plotly", "pooch"} & set(done.stdout.split())


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_words_have_their_facts_and_their_settings(desk: CorpusTab, brought: Any, warnings: list[str]) -> None:
    chosen = brought("tale.txt", STORY)[desk.shared.corpus]
    shown = desk.clean(chosen, with_options(level="word"))
    facts = shown[desk.parts["facts"]]
    for said in ("tokens", "in the vocabulary", "characters a token", "of held-out tokens known", "&lt;unk&gt; in the"):
        assert said in facts
    assert all(option(desk, shown, name)["visible"] for name in TOKEN_SETTINGS)
    words = shown[desk.shared.corpus]
    assert words["tokens"]["level"] == "word" and words["sha256"] == chosen["sha256"]
    rare = desk.clean(words, with_options(level="word", min_count=13))
    assert "<b>17</b><span>in the vocabulary" in facts and "<b>17</b>" not in rare[desk.parts["facts"]]
    refused = desk.clean(words, with_options(level="word", min_count=10**6))
    assert "no word occurs 1000000 times" in warnings[0] and option(desk, refused, "min_count")["value"] == 2
    sees = desk.explain(words)
    assert "Each word is a number" in sees and "one word later" in sees and "<b>fox</b>" in sees


def test_subwords_have_no_unknown(desk: CorpusTab, brought: Any) -> None:
    chosen = brought("tale.txt", STORY)[desk.shared.corpus]
    shown = desk.clean(chosen, with_options(level="bpe", vocab_size=290))
    facts = shown[desk.parts["facts"]]
    assert "<b>290</b><span>in the vocabulary" in facts and "held out" in facts and "unk" not in facts
    seen = {name: option(desk, shown, name)["visible"] for name in TOKEN_SETTINGS}
    assert seen == {"level": True, "words": False, "min_count": False, "vocab_size": True}
    assert "Each subword is a number" in desk.explain(shown[desk.shared.corpus])
    back = desk.clean(shown[desk.shared.corpus], DEFAULTS)
    assert "distinct" in back[desk.parts["facts"]] and back[desk.shared.corpus]["tokens"]["level"] == "char"


def test_the_tokens_are_kept_with_the_text_and_go_to_train(desk: CorpusTab, brought: Any) -> None:
    chosen = brought("tale.txt", STORY, level="word", words="cased")[desk.shared.corpus]
    assert chosen_tokens(chosen) == {"level": "word", "words": "cased"}
    again = CorpusTab(desk.parts, desk.options, desk.services, desk.shared)
    assert "of held-out tokens known" in again.show(chosen)[desk.parts["facts"]]
    assert desk.train(chosen)[0] == gr.skip()


@pytest.mark.parametrize("tokens", [{"level": "letters"}, {"level": []}, {"min_count": -1}, "x", {"odd": 1}, None])
def test_forged_tokens_give_way(desk: CorpusTab, tokens: Any, warnings: list[str]) -> None:
    shown = desk.show({"key": "sherlock", "tokens": tokens})
    assert "561,676" in shown[desk.parts["facts"]]


def test_leaving_a_number_field_as_it_was_reads_nothing(desk: CorpusTab, brought: Any) -> None:
    chosen = brought("tale.txt", STORY, level="word")[desk.shared.corpus]
    assert desk.clean(chosen, with_options(level="word")) == {desk.parts["picker"]: gr.skip()}
    assert desk.shared.corpus in desk.clean(chosen, with_options(level="word", min_count=3))


@pytest.mark.parametrize("level", ["word", "bpe"])
def test_words_of_a_text_are_never_markup(desk: CorpusTab, brought: Any, level: str) -> None:
    hurt = "<img src=x onerror=alert(1)>&<script>${alert(1)}</script>\"' "
    shown = brought("<b>zz.txt", hurt * 40, level=level, words="spaces")
    shown[desk.parts["model"]] = desk.explain(shown[desk.shared.corpus])
    for place in (
        desk.parts["head"],
        desk.parts["facts"],
        desk.parts["begins"],
        desk.parts["characters"],
        desk.parts["model"],
    ):
        for piece in ("<img", "<script", "<b>zz"):
            assert piece not in shown[place]


def test_a_public_space_counts_no_words_of_a_long_text(desk: CorpusTab, warnings: list[str]) -> None:
    public = replace(desk, readings=Readings(Limits(corpus_bytes=1000)))
    assert "561,676" in public.show(None)[desk.parts["facts"]]
    shown = public.clean(None, with_options(level="word"))
    assert "the text has 561,676 bytes" in warnings[0] and desk.parts["facts"] not in shown
    public.clean(None, with_options(level="bpe", vocab_size=30_000))
    assert "vocab_size is 30,000" in warnings[1]


# --- your texts ------------------------------------------------------------------------------------------------------


def test_your_texts_say_size_and_date_and_the_bound(desk: CorpusTab, brought: Any) -> None:
    empty = desk.show(None)
    assert empty[desk.parts["own_fold"]]["label"] == "Your texts: none yet"
    assert "up to 200 texts and 2.0 GB" in empty[desk.parts["own"]] and "<ul" not in empty[desk.parts["own"]]
    brought("tale.txt", STORY)
    shown = desk.paste(None, STORY + "the end", DEFAULTS)
    assert shown[desk.parts["own_fold"]]["label"] == "Your texts: 2, 1.8 kB"
    listed = shown[desk.parts["own"]]
    assert "Pasted: A fox met a hen" in listed and '<b>tale.txt</b> <span class="grey">912 B, today' in listed
    assert listed.count('data-act="ask"') == listed.count('data-act="open"') == 2


def test_deletion_is_asked_for_and_says_what_stays(desk: CorpusTab, brought: Any) -> None:
    chosen = brought("tale.txt", STORY)[desk.shared.corpus]
    asking = desk.act(chosen, "ask", chosen["source"], DEFAULTS)[desk.parts["own"]]
    assert "Delete it for good?" in asking and "they can still be resumed" in asking and 'data-act="delete"' in asking
    assert "Delete it for good?" not in desk.act(chosen, "keep", "", DEFAULTS)[desk.parts["own"]]
    assert open_upload(chosen["source"], data_dir()) is not None
    shown = desk.act(chosen, "delete", chosen["source"], DEFAULTS)
    assert "Sherlock Holmes" in shown[desk.parts["head"]] and shown[desk.shared.corpus]["key"] == "sherlock"
    assert shown[desk.parts["own_fold"]]["label"] == "Your texts: none yet"
    assert own_choices(shown[desk.shared.corpus]) == [] and not list((data_dir() / "uploads").iterdir())


def test_a_run_trained_on_a_deleted_text_finds_its_copy(desk: CorpusTab, brought: Any) -> None:
    from charlm.data.text_store import recall, remember

    chosen = brought("tale.txt", STORY)[desk.shared.corpus]
    remember(open_corpus(chosen["source"], CorpusConfig()))  # what `create_runs` does
    desk.act(chosen, "delete", chosen["source"], DEFAULTS)
    again = recall(chosen["sha256"])
    assert again is not None and again.text == STORY.replace("\r\n", "\n")


def test_another_text_is_deleted_and_the_chosen_one_stays(desk: CorpusTab, brought: Any) -> None:
    other = brought("other.txt", STORY + "More.")[desk.shared.corpus]
    chosen = brought("tale.txt", STORY, other, lowercase=True)[desk.shared.corpus]
    shown = desk.act(chosen, "delete", other["source"], DEFAULTS)
    assert "tale.txt" in shown[desk.parts["head"]] and "a fox met" in shown[desk.parts["begins"]]
    kept = shown[desk.shared.corpus]
    assert kept["source"] == chosen["source"] and [one["name"] for one in kept["own"]] == ["tale.txt"]


def test_a_text_of_the_list_is_opened(desk: CorpusTab, brought: Any) -> None:
    chosen = brought("tale.txt", STORY)[desk.shared.corpus]
    shown = desk.act(None, "open", chosen["source"], DEFAULTS)
    assert "tale.txt" in shown[desk.parts["head"]] and shown[desk.parts["picker"]]["value"] == chosen["source"]


def test_a_damaged_text_is_a_sentence_and_the_rest_works(desk: CorpusTab, brought: Any, warnings: list[str]) -> None:
    bad = brought("bad.txt", STORY + "bad")[desk.shared.corpus]["source"]
    good = brought("good.txt", STORY)[desk.shared.corpus]
    (data_dir() / "uploads" / f"{bad}.bin").write_bytes(b"something else")
    desk.readings.forget()
    refused = desk.act(good, "open", bad, DEFAULTS)
    assert len(warnings) == 1 and "changed or damaged in the data folder; delete it under Your texts" in warnings[0]
    assert refused[desk.parts["picker"]]["value"] == good["source"]
    (data_dir() / "uploads" / f"{bad}.json").write_bytes(b"{")
    shown = desk.show(good)
    assert "good.txt" in shown[desk.parts["head"]] and "cannot be read; the other texts" in shown[desk.parts["own"]]
    assert [value for _, value in own_choices(good, desk.services.texts.list())][:1] == [good["source"]]
    assert f'data-text="{bad}"' in shown[desk.parts["own"]]


def test_a_hostile_name_is_never_markup_in_the_list(desk: CorpusTab, brought: Any) -> None:
    name = "<img src=x onerror=alert(1)>\"'${alert(1)}.txt"
    key = desk.services.texts.keep(Upload(name, STORY.encode()))
    listed = desk.act(None, "ask", key, DEFAULTS)[desk.parts["own"]]
    assert "<img" not in listed and "&lt;img" in listed and "\"'${" not in listed


def test_beyond_the_bound_the_text_is_refused_and_the_former_stays(
    desk: CorpusTab, brought: Any, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = brought("tale.txt", STORY)[desk.shared.corpus]
    monkeypatch.setattr(desk.services.texts, "most_files", 1)
    refused = brought("more.txt", STORY + "More.", chosen)
    assert (
        "as many texts are kept as may be, 1;" in warnings[0]
        and refused[desk.parts["picker"]]["value"] == chosen["source"]
    )


def test_several_uploads_are_one_text(desk: CorpusTab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    paths = []
    for number in (10, 2):
        path = tmp_path / f"chapter {number}.txt"
        path.write_text(f"Chapter {number}. A fox met a hen by the gate.\n" * 20, encoding="utf-8")
        paths.append(str(path))
    shown = desk.upload(None, paths, DEFAULTS)
    assert shown[desk.shared.corpus]["name"] == "chapter 2.txt and 1 more.zip"
    assert "natural order of their paths: chapter 2.txt, chapter 10.txt" in shown[desk.parts["head"]]
    assert "Chapter 2. A fox" in shown[desk.parts["begins"]]


def test_a_chat_shows_its_columns(desk: CorpusTab, brought: Any, warnings: list[str]) -> None:
    messages = [{"from": "Ana", "text": [{"type": "bold", "text": "hi"}, f" from fox {row}"]} for row in range(40)]
    shown = brought("chat.json", json.dumps({"name": "Chat", "messages": messages}))
    column = option(desk, shown, "column")
    assert column["visible"] and ("messages.text (by itself)", "") in column["choices"]
    assert ("messages.from", "messages.from") in column["choices"] and not warnings
    assert "hi from fox 0" in shown[desk.parts["begins"]]
    assert "column messages.text read" in shown[desk.parts["head"]]
    desk.clean(shown[desk.shared.corpus], with_options(column="name"))
    assert "column name only 4 of them" in warnings[-1]


def test_an_encoding_is_guessed_said_and_can_be_chosen(desk: CorpusTab, brought: Any, warnings: list[str]) -> None:
    names = "Łukasz Wąsik\nJędrzej Śliwa\nBożena Dąbrowska\n" * 30
    shown = brought("names.txt", names.encode("cp1250"))
    assert "read as cp1250, for example “Łukasz Wąsik”" in html.unescape(shown[desk.parts["head"]])
    other = desk.clean(shown[desk.shared.corpus], with_options(encoding="cp1252"))
    assert "£ukasz W¹sik" in other[desk.parts["begins"]] and "read as cp1252" in other[desk.parts["fold"]]["label"]
    desk.clean(other[desk.shared.corpus], with_options(encoding="klingon"))
    assert "encoding 'klingon' is not known" in warnings[-1]
    away = desk.pick(other[desk.shared.corpus], "sherlock", DEFAULTS)[desk.shared.corpus]
    assert away["config"]["encoding"] == ""


def test_markup_is_said_and_stripped(desk: CorpusTab, brought: Any) -> None:
    shown = brought("page.txt", "<p>A <b>fox</b> met a hen.</p>\n" * 40)
    assert "of this looks like HTML tags; the option strip_markup strips them" in shown[desk.parts["head"]]
    stripped = desk.clean(shown[desk.shared.corpus], with_options(strip_markup=True))
    assert (
        "A fox met a hen." in stripped[desk.parts["begins"]]
        and "markup stripped" in stripped[desk.parts["fold"]]["label"]
    )


def test_visitors_cannot_bring_what_is_parsed_in_c(
    desk: CorpusTab, brought: Any, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.data.sample_documents import native_documents, word

    monkeypatch.setattr(Services, "limits", property(lambda self: Limits()))
    for name, data in native_documents().items():
        brought(name, data)
        assert "which this public Space does not read" in warnings[-1]
    assert "f.docx" in brought("f.docx", word())[desk.parts["head"]]


def test_the_text_of_a_run_can_be_chosen_again(desk: CorpusTab, brought: Any, tmp_path: Path) -> None:
    chosen = brought("tale.txt", STORY, lowercase=True, level="word")[desk.shared.corpus]
    config = from_options(chosen_options(chosen) | chosen_tokens(chosen), "quick")
    corpus = open_corpus(chosen_value(chosen), config.corpus)
    remember(corpus, data_dir())
    facts = {"key": corpus.key, "sha256": corpus.sha256, "name": corpus.name}
    run = SimpleNamespace(corpus=facts, corpus_config=config.corpus, model_config=config.model)
    other = {"key": "sherlock", "own": chosen["own"], "handed_over": 3}
    back = choice_of_run(run, other)
    assert back is not None and back["handed_over"] == 4 and back["own"] == chosen["own"]
    assert chosen_options(back) == {"lowercase": True} and chosen_tokens(back) == {"level": "word"}
    again = open_corpus(chosen_value(back), from_options(chosen_options(back), "quick").corpus)
    assert again.sha256 == corpus.sha256 and again.text == corpus.text
    assert choice_of_run(run, chosen)["source"] == chosen["source"]  # it is chosen: still as it was uploaded
    assert handed_back(run, chosen, chosen_value(chosen)) == (None, "")
    assert handed_back(run, chosen, "sherlock")[1] == " It learns tale.txt, as the run did."
    assert handed_back(run, {**chosen, "config": {}}, chosen_value(chosen))[0] is not None  # read otherwise
    facts |= {"sha256": "0" * 64}
    text, told = handed_back(run, other, "sherlock")
    assert text is None and told == " But tale.txt, which the run learned, is not here; another text is picked."
    imported = SimpleNamespace(corpus={}, corpus_config=config.corpus, model_config=config.model)
    assert handed_back(imported, other, "sherlock")[1].startswith(" But the text, which the run learned, is not here")
    facts |= {"key": "sherlock", "name": "Sherlock Holmes"}
    assert chosen_value(choice_of_run(run, chosen)) == "sherlock"
