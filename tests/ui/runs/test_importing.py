"""Files from elsewhere: which is which, what the new run is called, what the page offers of a run without a past."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import gradio as gr
import pytest

from charlm.errors import CheckpointError, ConfigError
from charlm.formats.exports import FORMATS
from charlm.public import VisitorRuns
from charlm.public.services import Services
from charlm.ui import verdict
from charlm.ui.compare import ranking
from charlm.ui.runs import details, listing, tab
from charlm.ui.services import Files
from tests.ui.shown_runs import FakeRun, FakeStore, trio

FOREIGN = {"imported": {"format": "udacity", "file": "<b>anna.net"}, "best_val_loss": None, "step": 0, "trimmed": True,
           "corpus": {}}  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the importer is asked for, in its place."""
    calls: list[Any] = []

    def import_file(store: Any, path: Path, **options: Any) -> FakeRun:
        calls.append((store, path, options))
        return FakeRun("new")

    stand_in = ModuleType("charlm.formats.imports")
    stand_in.import_file = import_file  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "charlm.formats.imports", stand_in)
    return calls


def paths(*names: str) -> list[Path]:
    return [Path(name) for name in names]


def test_the_importer_gets_store_files_and_options(asked: list[Any]) -> None:
    store = FakeStore([])
    run = listing.bring_run(Services(store, None, None, None), Path("a.pt"), Path("a.json"), label="x")
    assert run.run_id == "new"
    assert asked == [(store, Path("a.pt"), {"characters": Path("a.json"), "label": "x"})]


def test_a_visitors_list_of_characters_comes_along() -> None:
    class Own(VisitorRuns):
        def __init__(self) -> None: ...

        def take_in(self, path: Path, *_: Any, **options: Any) -> Any:
            return path, options

    taken = listing.bring_run(Services(Own(), None, None, None), Path("a.safetensors"), Path("a.json"), label="x")
    assert taken == (Path("a.safetensors"), {"characters": Path("a.json"), "label": "x"})


@pytest.mark.parametrize(
    ("names", "found"),
    [(["a.zip"], ("a.zip", None)), (["a.json", "a.pt"], ("a.pt", "a.json")), (["A.NET", "a.TXT"], ("A.NET", "a.TXT")),
     (["a"], ("a", None)), (["m.json"], ("m.json", None)), (["chars.txt", "b.keras"], ("b.keras", "chars.txt"))],
)  # fmt: skip
def test_two_files_are_told_apart_in_any_order(names: list[str], found: tuple[str, str | None]) -> None:
    checkpoint, characters = listing.tell_apart(paths(*names))
    assert (str(checkpoint), characters and str(characters)) == found


@pytest.mark.parametrize(
    ("names", "said"),
    [([], "no file cannot"), (["a.json", "b.json"], "a.json and b.json cannot"),
     (["a.pt", "b.pt"], "a.pt and b.pt cannot"),
     (["a.pt", "b.txt", "c.json"], "a.pt, b.txt and c.json cannot"), (["x" * 999, "y"], "x" * 60 + " and y")],
)  # fmt: skip
def test_what_cannot_be_told_apart_is_refused(names: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        listing.tell_apart(paths(*names))


def test_a_new_run_says_what_it_is_and_what_comes_next() -> None:
    html = listing.imported_html(FakeRun("a", label="<b>anna"))
    assert "Imported &lt;b&gt;anna: LSTM, 2 layers of 128" in html and "<b>anna" not in html
    assert 'data-act="compare" data-run="a"' in html and "forked" in html and "scored on a text" in html


def test_an_imported_run_has_a_file_for_a_past() -> None:
    run = FakeRun("a", **FOREIGN)
    html = details.details(run)
    assert "&lt;b&gt;anna.net (udacity)" in html and "<b>anna" not in html
    assert "Trained" not in html and "Time" not in html and "score it on a text" in html
    assert "Weights alone" in html and "Only its best weights" not in html and "Best at step" not in html
    assert details.is_forkable(run) and ranking.comparable([run]) == [run]
    table = listing.runs_table([run])
    assert ">imported<" in table and 'data-act="compare"' in table and 'data-act="resume"' not in table
    assert listing.matching([run, FakeRun("b")], "imported") == [run]
    assert '<span class="grey">LSTM, 1.5 MB</span>' in listing.trash_html([run])


def test_compare_opens_with_what_was_measured() -> None:
    foreign = [FakeRun(f"new-{arch}", arch, **FOREIGN) for arch in ("lstm", "gru", "rnn")]
    assert ranking.default_runs([*foreign, *trio(shipped=True)]) == ["lstm", "gru", "rnn"]
    assert ranking.default_runs(foreign) == ["new-lstm"]


def test_a_run_that_came_with_its_past_keeps_it() -> None:
    run = FakeRun("a", imported={"format": "run", "file": "a.zip"})
    html = details.details(run)
    assert "a.zip (run)" in html and "Trained" in html and "Best at step 2,900" in html
    assert ">finished<" in listing.runs_table([run])


def test_a_verdict_leaves_out_what_was_not_measured() -> None:
    foreign = FakeRun("a", **FOREIGN)
    assert verdict.verdict([*trio(), foreign])[0].startswith("lstm wins, 0.039 bits per character ahead of GRU")
    title, sentence = verdict.verdict([foreign])
    assert title == "No loss has been measured yet." and "scored on a text in Runs" in sentence
    assert "within moments" in verdict.verdict([FakeRun("b", best_val_loss=None)])[1]


# --- taking a run along ----------------------------------------------------------------------------------------------


def test_every_format_is_offered_with_what_it_is_for() -> None:
    choices = tab.format_choices()
    assert [name for _, name in choices] == [one.name for one in FORMATS] and choices[0][1] == "zip"
    assert all(one.about in told for one, (told, _) in zip(FORMATS, choices, strict=True))


def pack_of(find: Any) -> Any:
    """The handler behind Download."""
    return lambda message, name: tab.export_file(Files(), find(message), name)


def test_a_format_that_does_not_fit_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Files, run: Any, kind: Any) -> str:
        raise CheckpointError(f"{run.label} does not fit <{kind.name}>")

    monkeypatch.setattr(Files, "run", refuse)
    pack = pack_of(lambda message: FakeRun("a"))
    with pytest.raises(gr.Error, match="a does not fit &lt;html&gt;"):
        pack("", "html")
    for wrong in ("nope", None, 5):
        with pytest.raises(gr.Error, match="a run can be exported as zip, "):
            pack("", wrong)


def test_the_file_has_the_formats_suffix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from charlm.runs.run import Run
    from charlm.runs.store import SHIPPED

    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    path = Path(pack_of(lambda message: Run(SHIPPED / "sherlock-rnn", True))("", "html8"))
    assert path.name == "sherlock-rnn-8bit.html" and path.is_relative_to(tmp_path) and path.stat().st_size > 100_000
