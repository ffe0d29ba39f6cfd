"""Texts in shapes that people have, tried by hand once: the right text, or the question which one is meant."""

import json
from typing import Any

import pytest

from charlm.config import CorpusConfig
from charlm.data.corpus import Corpus, read_corpus
from charlm.errors import CorpusError

SAID = [
    f"{one} Day {day}." for day in range(12) for one in ("The fox met a hen by the gate.", "It was late, so it ran.")
]
PLAIN = "\n\n".join(SAID)


def read(value: Any, name: str = "a.json", **options: Any) -> Corpus:
    data = (
        value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else json.dumps(value).encode()
    )
    return read_corpus(data, name, CorpusConfig(**options))


def test_a_passage_is_not_passed_over_for_the_answers_beside_it() -> None:
    answers = [{"question": "Who?", "answers": [{"text": "fox", "start": 4}]}]
    rows = {"data": [{"title": "T", "paragraphs": [{"context": one, "qas": answers}]} for one in SAID]}
    with pytest.raises(CorpusError, match=r"say which column to read: title, paragraphs\.context, .*answers\.text"):
        read(rows)
    assert read(rows, column="context").text == PLAIN


def test_lists_of_lines_are_text_and_tags_are_none() -> None:
    poems = [{"title": "A", "lines": [one, f"{one} Twice."], "tags": ["x", "y"]} for one in SAID]
    with pytest.raises(CorpusError, match=r"say which column to read: title, lines$"):
        read(poems)
    assert read(poems, column="lines").text.startswith(f"{SAID[0]}\n{SAID[0]} Twice.\n\n{SAID[1]}")
    chapters = [{"chapters": [[SAID[0], SAID[1]], [SAID[2]]]}] * 12
    assert read(chapters).text.startswith(f"{SAID[0]}\n{SAID[1]}\n{SAID[2]}\n\n")
    assert read([{"tokens": one.split()} for one in SAID]).text == PLAIN
    assert read([{"body of it": one, "tags": ["a", "b"]} for one in SAID]).text == PLAIN


def test_records_and_texts_under_names_of_their_own_are_rows() -> None:
    corpus = read({f"id{number}": one for number, one in enumerate(SAID)})
    assert corpus.text == PLAIN and corpus.repairs[0] == "24 texts under names of their own read"
    pages = {str(number): {"id": number, "extract": one} for number, one in enumerate(SAID)}
    assert read({"query": {"pages": pages}}).text == PLAIN
    messages = {f"n{number}": {"message": {"content": {"parts": [one]}}} for number, one in enumerate(SAID)}
    assert read([{"create_time": 1.5, "mapping": messages}]).text == PLAIN
    assert read({"title": "A", "text": PLAIN, **{f"k{n}": "v" for n in range(12)}}).text == PLAIN


@pytest.mark.parametrize(
    ("codec", "lines"),
    [
        ("iso8859-5", "Иван Петров\nМария Сидорова\nАлексей Кузнецов"), ("cp1125", "Іван Франко\nЛеся Українка\nЇжак"),
        ("iso8859-15", "Le cœur coûte 5 €\nUn œuf à 3 €\nL'été où naît Zoë"),
        ("iso8859-4", "Jānis Bērziņš\nLīga Šķēle"),
        ("cp866", "Иван Петров\nМария Сидорова"), ("cp1251", "Пётр Ёлкин\nЮлия Щукина\nИгорь Чехов"),
    ],
)  # fmt: skip
def test_more_code_pages(codec: str, lines: str) -> None:
    assert read(f"{lines}\n".encode(codec), "a.txt").text == f"{lines}\n"


def test_an_encoding_too_many_is_undone_and_said() -> None:
    text = "Zoë naïve “café” – déjà\n" * 20
    twice = "".join(bytes([one]).decode("cp1252", "ignore") or chr(one) for one in text.encode()).encode()
    corpus = read(twice, "a.txt")
    assert corpus.text == text and "“Zoë naïve" in corpus.repairs[0] and "saved as UTF-8 undone" in corpus.repairs[0]
    assert read(twice, "a.txt", encoding="utf-8").text == twice.decode()
    for own in ("AÇÃO E REAÇÃO; Ângela não. Ñandú\n", "Ärger, Åse, Zoë Â â\n", "Ваня Ñ\n"):
        assert read(own * 20, "a.txt").text == own * 20


def test_line_ends_that_were_converted_twice_are_one() -> None:
    assert read(b"one\r\r\ntwo\r\r\n", "a.txt").text == "one\ntwo\n"


def test_csv_without_a_header_loses_no_row() -> None:
    corpus = read(
        "\n".join(f"{number},{one}" for number, one in enumerate(one.replace(",", "") for one in SAID)), "a.csv"
    )
    assert corpus.text.count("\n\n") == len(SAID) - 1 and corpus.text.startswith(SAID[0])
    assert "no header found; the first row is text, too" in corpus.repairs
    lines = [one.replace(",", "") for one in SAID]
    assert read("\n".join(lines), "a.csv").text == "\n\n".join(lines)
    assert read("sep=;\nid;text\n" + "\n".join(f"1;{one}" for one in SAID), "a.csv").text == PLAIN
    assert read("name\nAnna\nBo\nCora", "a.csv").text == "Anna\n\nBo\n\nCora"
    assert read("2020,text\n1,one two\n2,three", "a.csv").text == "one two\n\nthree"


def test_captions_that_roll_up_say_each_line_once() -> None:
    cues = [f"00:{n:02}.000 --> 00:{n + 1:02}.000\n{SAID[n - 1] if n else ' '}\n{one}\n" for n, one in enumerate(SAID)]
    corpus = read("WEBVTT\n\n" + "\n".join(cues), "a.vtt")
    assert corpus.text == "\n".join(SAID) + "\n" and corpus.repairs == ("left out: 24 cue times, 23 repeated lines",)
    apart = "".join(f"{n}\n00:00:0{n},000 --> 00:00:0{n},900\nNo.\n\n" for n in range(1, 5))
    assert read(apart, "a.srt").text == "No.\n" * 4


def test_a_game_of_chess_is_one_item() -> None:
    games = "".join(f'[Event "E{n}"]\n[Site "x"]\n\n1. e4 e5 2. Nf3 {n} 1-0\n\n' for n in range(12))
    items = read(games, "a.pgn", items="blank").text.split("\x1e")[:-1]
    assert len(items) == 12 and all(one.startswith("[Event ") and one.endswith(" 1-0") for one in items)


@pytest.mark.parametrize(
    ("start", "what"), [(b"BZh91AY", "a bzip2"), (b"\xfd7zXZ\0", "an xz"), (b"7z\xbc\xaf'\x1c", "a 7-Zip")]
)
def test_archives_that_are_not_unpacked_are_named(start: bytes, what: str) -> None:
    with pytest.raises(CorpusError, match=f"is {what} archive, not plain text"):
        read(start + b"\0" * 80, "a.txt")
