"""The WikiText program: trainings that go on after an interruption, their tables, the command that does the same."""

import json
from pathlib import Path

import pytest

from bench import resumable, wikitext
from charlm.cli import main as charlm
from charlm.runs.store import RunStore
from tests.tiny_runs import lines_of

WORDS = ["hidden_size=8", "embed_dim=8", "batch_size=4", "seq_len=5", "epochs=2", "softmax_samples=0"]


@pytest.fixture
def corpus(tmp_path: Path) -> str:
    path = tmp_path / "pets.txt"
    path.write_text("the cat sat on the mat \n a dog ran from the hen \n" * 20)
    return str(path)


def test_epochs_are_logged_with_both_perplexities(
    corpus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["words", *WORDS, "test_fraction=0.2", "--work", str(tmp_path / "work"), "--corpus", corpus]
    wikitext.main(given)
    out = capsys.readouterr().out
    head, _, *rows = lines_of(out)
    assert head == list(wikitext.HEAD) and [row[0] for row in rows] == ["1.00", "2.00"]
    assert all(float(cell) > 0 for row in rows for cell in row[2:])
    wikitext.main(given)  # nothing is trained twice
    assert lines_of(capsys.readouterr().out) == lines_of(out)
    assert (
        len(RunStore(tmp_path / "work").list()) - len([r for r in RunStore(tmp_path / "work").list() if r.shipped]) == 1
    )


def test_an_interrupted_training_goes_on(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], single_steps: None
) -> None:
    given = ["words", *WORDS, "--work", str(tmp_path / "work"), "--corpus", corpus]
    tell = resumable.Reporter._tell

    def once(self: resumable.Reporter, row: dict) -> None:
        tell(self, row)
        raise KeyboardInterrupt

    monkeypatch.setattr(resumable.Reporter, "_tell", once)
    with pytest.raises(KeyboardInterrupt):
        wikitext.main(given)
    monkeypatch.setattr(resumable.Reporter, "_tell", tell)
    wikitext.main(given)
    rows = lines_of(capsys.readouterr().out)[2:]
    assert [row[0] for row in rows] == ["1.00", "2.00"]


def test_the_command_it_prints_is_one(corpus: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = resumable.settings_of([*WORDS, "steps=1", "epochs=0", "locked_dropout=false", "init=tuned"])
    said = resumable.command(corpus, "words", options)
    assert "--no-locked-dropout" in said and "--init tuned" in said
    assert charlm([*said.split()[3:], "--json"]) == 0
    run = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert run["steps"] == 1


@pytest.mark.parametrize("name", wikitext.RECIPES)
def test_recipes_are_legal(name: str) -> None:
    from charlm.presets import from_options

    preset, options = wikitext.RECIPES[name]
    assert from_options(options, preset).model.level == "word"
