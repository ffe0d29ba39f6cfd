"""`compare --duel` and `inspect cross` on real, tiny trainings."""

import pytest

from charlm.cli import main
from tests.cli.test_cli import TINY, answer, book

__all__ = ["book"]  # a fixture


def trained(book: str, capsys: pytest.CaptureFixture[str], label: str, *more: str) -> str:
    run_id: str = answer(capsys, "train", book, *TINY, "--label", label, *more)["run_id"]
    return run_id


def test_a_duel_says_where_the_texts_part(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = trained(book, capsys, "one"), trained(book, capsys, "two", "--seed", "8")
    words = ("compare", one, two, "--prompt", "the ", "--length", "60", "--temperature", "1.5", "--duel")
    columns = answer(capsys, *words, "--samples", "2")
    for at in range(2):
        texts = [column["samples"][at]["text"] for column in columns]
        place = columns[0]["samples"][at]["parts_after"]
        assert place == columns[1]["samples"][at]["parts_after"] and texts[0][:place] == texts[1][:place]
        assert texts[0][place] != texts[1][place]
    assert [column["parts_after"] for column in columns] == [columns[0]["samples"][0]["parts_after"]] * 2
    assert main(list(words)) == 0
    shown = capsys.readouterr().out
    place = columns[0]["parts_after"]
    assert f"one and two part {f'after {place} character' if place else 'at once'}" in shown.splitlines()[-1]
    assert "parts_after" not in answer(capsys, *words[:-1])[0]
    words_run = trained(book, capsys, "words", "--level", "word")
    assert main(["compare", one, words_run, "--duel"]) == 2
    assert "words differs from one" in capsys.readouterr().err


def test_cross_perplexity_is_a_matrix(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = trained(book, capsys, "one"), trained(book, capsys, "two", "--arch", "ngram", "--order", "3")
    found = answer(capsys, "inspect", "cross", one, two, one, "--length", "50")
    assert found["readers"] == [one, two] and found["names"] == ["one", "two"]
    assert [row["writer"] for row in found["rows"]] == [one, two, ""]
    assert all(row["texts"] == 20 and row["characters"] == 1000 for row in found["rows"][:2])
    assert main(["inspect", "cross", one, two, "--length", "50"]) == 0
    shown = capsys.readouterr().out
    assert f"{found['rows'][0]['bits'][0]:.2f}" in shown.splitlines()[0] and "Held-out text" in shown
    assert main(["inspect", "cross", one, "--samples", "3"]) == 2
    assert "samples 3 is outside 20 to 64" in capsys.readouterr().err
