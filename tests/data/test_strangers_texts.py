"""Texts in shapes that people have, tried by hand once: the right text, or the question which one is meant."""

import io
import json
import tarfile
from typing import Any

import pytest

from charlm.config import CorpusConfig
from charlm.data import documents
from charlm.data.corpus import Corpus, read_corpus
from charlm.data.items import BORDER
from charlm.errors import CorpusError
from tests.data.sample_documents import MORE, WORDS, documents_of_people, zipped


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents are read here: starting a process for each takes longer than all else, and other tests do it."""
    monkeypatch.setattr(documents, "confined", lambda work, data, options, **_: work(data, dict(options)))


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
    songs = {f"song {number}": [one] * (1 + number % 3) for number, one in enumerate(SAID)}
    corpus = read(songs)
    assert corpus.text.startswith(f"{SAID[0]}\n\n{SAID[1]}\n{SAID[1]}\n\n{SAID[2]}\n")
    assert corpus.repairs[0] == "24 lists of lines under names of their own read"
    for table in ({f"question {number}": [one, one] for number, one in enumerate(SAID)}, {**songs, "x": [1]}):
        with pytest.raises(CorpusError, match="say which column to read: "):
            read(table)
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
    ("start", "what"), [(b"(\xb5/\xfd", "a Zstandard"), (b"Rar!\x1a\7\1", "a RAR"), (b"7z\xbc\xaf'\x1c", "a 7-Zip")]
)
def test_archives_that_are_not_unpacked_are_named(start: bytes, what: str) -> None:
    with pytest.raises(CorpusError, match=f"is {what} archive, not plain text"):
        read(start + b"\0" * 80, "a.txt")


@pytest.mark.parametrize(
    ("name", "left_out"),
    [("a.ass", "1 cue time"), ("a.vtt", "2 cue times, 2 comments"), ("a.sub", "2 cue times"),
     ("a.lrc", "2 headings, 2 times"), ("a.smi", "2 cue times")],
)  # fmt: skip
def test_of_subtitles_and_lyrics_the_words_are_read(name: str, left_out: str) -> None:
    corpus = read(documents_of_people()[name], name)
    assert corpus.text.strip() == f"{WORDS}\n{MORE}" and f"left out: {left_out}" in corpus.repairs


def test_other_files_with_their_names_are_text() -> None:
    assert read("One line.\nAnother one.", "a.lrc").text == read("One line.\nAnother one.", "a.sub").text


def test_of_mails_the_text_is_read() -> None:
    files = documents_of_people()
    one = read(files["a.eml"], "a.eml")
    assert one.text == f"Grüße!\n>From {WORDS}\n" and one.repairs == ("left out: 4 mail headers, 1 attachment",)
    box = read(files["a.mbox"], "a.mbox")
    assert box.text == f"Grüße!\nFrom {WORDS}\n\nThe hen ran home; größer.\n"
    assert box.repairs == ("left out: 6 mail headers, 1 attachment",)
    with pytest.raises(CorpusError, match=r"a\.mbox holds no text"):
        read("No mail at all.\n", "a.mbox")


def test_books_of_other_programs_are_read() -> None:
    files = documents_of_people()
    assert read(files["a.fb2"], "a.fb2").text == f"{WORDS}\n\n{MORE}\n"
    corpus = read(files["a.odt"], "a.odt")
    assert corpus.text == f"{WORDS}\n\n{MORE} It is so.\n" and corpus.repairs == ("left out: 1 note",)
    with pytest.raises(CorpusError, match=r"a\.ods is an OpenDocument file, but no text"):
        read(zipped({"mimetype": "", "content.xml": "<office:spreadsheet/>"}), "a.ods")


@pytest.mark.parametrize(
    "before",
    ["12.03.21, 14:02 - ", "3/12/21, 2:02\u202fPM - ", "\u200e[12/03/2021, 14:02:11] ", "[2021-03-12, 2:02:11 PM] ",
     "2021-03-12 14:02:11,123 ", "2021-03-12T14:02:11.5Z ", "12.3.2021 klo 14.02 - ", "2021/3/12 下午2:02 - "],
)  # fmt: skip
def test_dates_before_the_lines_of_a_chat_are_said_and_stripped_if_wanted(before: str) -> None:
    chat = "".join(f"{before}Ann: {one}\n" for one in SAID)
    kept, stripped = read(chat, "chat.txt"), read(chat, "chat.txt", strip_markup=True)
    assert kept.text == chat
    assert "are dates and times before lines; the option strip_markup strips them" in kept.repairs[0]
    assert stripped.text == "".join(f"Ann: {one}\n" for one in SAID)
    assert read(PLAIN + "\n12.03.21, 14:02 - noted", "a.txt").repairs == ()


def test_what_facebook_writes_is_undone() -> None:
    said = [f"Zoë: café {one}" for one in SAID]
    messages = [{"sender_name": "A", "content": one.encode().decode("latin-1")} for one in said]
    assert read({"participants": [{"name": "Zoë"}], "messages": messages}).text == "\n\n".join(said)


def test_an_archive_of_tweets_gives_their_texts() -> None:
    tweets = [{"tweet": {"id": "1", "full_text": one, "source": "<a>Web app</a>"}} for one in SAID]
    assert read(f"window.YTD.tweets.part0 = {json.dumps(tweets)}", "tweets.js").text == PLAIN
    assert read("window.open = [1, 2]\n", "a.js").text == "window.open = [1, 2]\n"


def test_titles_of_chats_are_not_taken_for_them() -> None:
    nodes = {str(number): {"message": {"content": {"parts": [PLAIN]}}} for number in range(6)}
    with pytest.raises(CorpusError, match=r"say which column to read: title, mapping\.message\.content\.parts"):
        read([{"title": "A title of it", "mapping": nodes}] * 12)


@pytest.mark.parametrize(
    ("row", "said"),
    [('{},"He said \\"so, yes\\", and {}"', "a backslash before quotation marks"), ("{},'He said, yes: {}'", "single")],
)
def test_other_quotation_marks_tear_no_cells(row: str, said: str) -> None:
    corpus = read("id,text\n" + "\n".join(row.format(*pair) for pair in enumerate(SAID)), "a.csv")
    cells = corpus.text.split("\n\n")
    assert len(cells) == len(SAID) and all(cell.endswith(one) for cell, one in zip(cells, SAID, strict=True))
    assert said in corpus.repairs[0] and "'" not in corpus.text and "\\" not in corpus.text


def test_some_nuls_in_a_text_are_no_binary() -> None:
    corpus = read(f"{PLAIN}\0\0\0ü".encode(), "a.log")
    assert corpus.text == f"{PLAIN}ü" and corpus.repairs == ("3 NUL characters removed",)
    with pytest.raises(CorpusError, match="binary"):
        read(b"\0" * 100, "a.txt")


@pytest.mark.parametrize("name", ["paper.tex", "notes.org", "chat.log", "tunes.abc", "games.pgn", "code.py", "de.po"])
def test_plain_text_has_many_names(name: str) -> None:
    assert read("Größe ist schön,\nsagt Jürgen.\n".encode("cp1252"), name).text == "Größe ist schön,\nsagt Jürgen.\n"


def test_archives_and_sheets_are_told_what_would_do() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("book.txt")
        member.size = len(PLAIN) * 900  # of which the NULs around it are few
        archive.addfile(member, io.BytesIO(PLAIN.encode() * 900))
    with pytest.raises(CorpusError, match=r"a\.tar\.gz is a tar archive, not plain text; unpack it and use its folder"):
        read(packed.getvalue(), "a.tar.gz")
    with pytest.raises(CorpusError, match=r"a\.xlsx is a zip archive.*save its text as \.csv"):
        read(zipped({"xl/workbook.xml": "<x/>"}), "a.xlsx")


def test_mac_cyrillic_is_told_from_the_page_of_windows() -> None:
    text = "Яна Щукина\nЮрий Жуков\nСъешь же ещё этих мягких булок\n"
    for codec in ("mac-cyrillic", "cp1251", "cp866", "koi8-r"):
        assert read(text.encode(codec), "a.txt").text == text


TUNES = "".join(f"X: {number}\nT:Tune {number}\nK:C\nABc {'d' * number}|\n" for number in range(12))


def test_tunes_and_games_are_recognised_as_items() -> None:
    hint = "this looks like a list of 12 tunes or games: take items blank, which shuffles them"
    assert read(f"%abc-2.1\n\n{TUNES}", "a.abc").repairs == (hint,)
    items = read(f"%abc-2.1\n\n{TUNES}", "a.abc", items="blank").text.split(BORDER)[:-1]
    assert len(items) == 12 and all(one.startswith("X: ") and one.endswith("|") for one in items)
    games = "\n".join(f'[Event "{number}"]\n[Site "x"]\n\n1. e4 {{a}} e5 2. Nf3 *\n' for number in range(12))
    assert read(games, "a.pgn").repairs == (hint,)
    assert read(f"X: the unknown\n{PLAIN}", "a.txt").repairs == ()


PROTEINS = ["MKVLAAGIVG" * 9, "MTTQAPTFTQ" * 7 + "LK", "MSS"] * 4
FASTA = "".join(
    f">sp|P{number}| Protein, number {number}\n" + "\n".join(one[at : at + 60] for at in range(0, len(one), 60)) + "\n"
    for number, one in enumerate(PROTEINS)
)


def test_sequences_in_fasta_are_items() -> None:
    corpus = read(FASTA, "a.fasta")
    assert corpus.text == "\n".join(PROTEINS)
    assert corpus.repairs == (
        "FASTA: 12 sequences, 12 header lines left out",
        "this looks like a list of 12 items, one a line: take items line, which shuffles them",
    )
    many = "".join(f">p{number}\nMK{'A' * number}\nL\n" for number in range(12))
    for kind, border in (("line", "\n"), ("blank", BORDER), ("record", BORDER)):
        items = read(many, "a.fa", items=kind).text.split(border)[:-1]
        assert sorted(items, key=len) == [f"MK{'A' * number}L" for number in range(12)]
    genome = read(">chr1\nACGT\nACGN\n", "a.fna")
    assert genome.text == "ACGTACGN" and genome.repairs == ("FASTA: 1 sequence, 1 header line left out",)
    named = read(FASTA, "a.txt")
    assert named.text == FASTA and "as a file named .fasta each of them is an item" in named.repairs[0]
    quoted = "> You said so.\nI did not, or did I?\n" * 12
    assert read(quoted, "a.fa").text == quoted and read(quoted, "a.txt").text == quoted


def test_molecules_in_smi_are_items_without_their_names() -> None:
    molecules = [f"{'C' * number}C(=O)O[C@@H]1c2cc/C=C/cc2" for number in range(12)]
    rows = "SMILES\tName\n" + "\n".join(f"{one}\tacid {number}" for number, one in enumerate(molecules))
    corpus = read(rows, "a.smi")
    assert corpus.text == "\n".join(molecules)
    assert corpus.repairs[0] == "SMILES: 12 molecules, header line and 12 names left out"
    assert sorted(read(rows, "a.smi", items="line").text.split(), key=len) == molecules
    assert read("Ein Wort, das keines ist.\n", "a.smi").text == "Ein Wort, das keines ist.\n"


def test_records_of_several_files_stay_apart() -> None:
    rows = "text\n" + "\n".join(f"item {number}" for number in range(12))
    corpus = read(zipped({"a.csv": rows, "b.csv": rows.replace("item", "one")}), "a.zip", items="record")
    assert len(corpus.text.split(BORDER)) == 25
