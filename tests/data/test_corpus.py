"""Reading corpora: encodings, tables, cleaning, and every refusal."""

import bz2
import gzip
import hashlib
import json
import lzma
import os
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charlm.config import CorpusConfig
from charlm.data.corpus import Corpus, corpus_from_text, read_corpus, read_corpus_file, table_columns
from charlm.data.decoding import _count_intended
from charlm.errors import CorpusError

PLAIN = CorpusConfig()
SPACED = CorpusConfig(separator="space")
GUTENBERG = (
    "The Project Gutenberg EBook of Tale\n\n*** START OF THIS PROJECT GUTENBERG EBOOK TALE ***\n\n"
    "Produced by Somebody and\nOthers\n\n\nOnce upon a time.\n\n"
    "End of the Project Gutenberg EBook of Tale\n\n*** END OF THIS PROJECT GUTENBERG EBOOK TALE ***\nlicence\n"
)


def read(data: bytes | str, name: str = "a.txt", config: CorpusConfig = PLAIN) -> Corpus:
    return read_corpus(data.encode() if isinstance(data, str) else data, name, config)


def refusal(data: bytes | str, name: str = "a.txt", config: CorpusConfig = PLAIN) -> str:
    with pytest.raises(CorpusError) as caught:
        read(data, name, config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_clean_text_passes_untouched() -> None:
    corpus = read("Grüße, Welt\n", "/tmp/up/aunt.txt")
    assert (corpus.name, corpus.text, corpus.repairs) == ("aunt.txt", "Grüße, Welt\n", ())
    assert corpus.sha256 == hashlib.sha256("Grüße, Welt\n".encode()).hexdigest()
    assert "Grüße" not in repr(corpus)


@pytest.mark.parametrize(
    ("codec", "mark", "note"),
    [
        ("utf-8", b"\xef\xbb\xbf", "byte order mark removed"),
        ("utf-16-le", b"\xff\xfe", "UTF-16 read"),
        ("utf-16-be", b"\xfe\xff", "UTF-16 read"),
        ("utf-32-le", b"\xff\xfe\0\0", "UTF-32 read"),
        ("utf-16-le", b"", "UTF-16 read"),
        ("utf-16-be", b"", "UTF-16 read"),
    ],
)
@pytest.mark.parametrize(
    "text", ["Plain words, and a line.\n", "Всё смешалось в доме. Wörter\n", "日本語 の文。\n😀 end"]
)
def test_unicode_is_read_with_and_without_a_mark(codec: str, mark: bytes, note: str, text: str) -> None:
    corpus = read(mark + text.encode(codec))
    assert (corpus.text, corpus.repairs) == (text, (note,))


@pytest.mark.parametrize(
    ("codec", "text"),
    [
        ("cp1252", "Le café était fermé; l'élève naïf s'en alla où bon lui semblait, déçu."),
        ("cp1252", "He said “it’s fine” — and left."),
        ("cp1252", "Über den Wäldern läuft die Straße, schön und grün."),
        ("cp1251", "Все счастливые семьи похожи друг на друга, каждая несчастлива по-своему."),
        ("koi8-r", "Все счастливые семьи похожи друг на друга, каждая несчастлива по-своему."),
        (
            "cp1250",
            "Litwo! Ojczyzno moja! ty jesteś jak zdrowie. Ile cię trzeba cenić, ten tylko się dowie, "
            "kto cię stracił. Dziś piękność twą w całej ozdobie widzę i opisuję, bo tęsknię po tobie.",
        ),
        ("cp932", "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"),
    ],
)
def test_code_pages_are_recognised(codec: str, text: str) -> None:
    corpus = read(text.encode(codec))
    shown = re.search(f"read as {codec}, for example “(.+)”", corpus.repairs[0])
    assert corpus.text == text and shown and shown[1] in text and not shown[1].isascii()


def test_damaged_utf8_is_mended_and_counted() -> None:
    text = "Grüße aus Köln, schöne Städte. " * 5
    corpus = read(text.encode() + b"\xff\xfe!" + "\ufffd".encode())
    assert corpus.text == text + "\ufffd\ufffd!\ufffd"
    assert corpus.repairs == ("2 invalid UTF-8 sequences replaced by \ufffd",)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([b"\xef", b"\xbf", b"\xbd", b"\xef\xbf\xbd", b"\xe2\x82", b"\xf0\x9f", b"ab", "é".encode()])
    )
)
def test_what_was_replaced_is_told_from_what_was_there(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    there = data.decode("utf-8", "ignore").count("\ufffd")
    assert _count_intended(data, "utf-8") == _count_intended(memoryview(data), "utf-8") == there


def test_a_download_cut_inside_a_character_is_still_utf8() -> None:
    assert read("abc €".encode()[:-1]).text == "abc \ufffd"


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF\2\1\1\0" + bytes(range(256)) * 9,
        bytes(range(1, 256)) * 40,
        b"\0" * 99,
        b"text with one \0 in it..",
        b"a\0b",
    ],
)
def test_binary_files_are_refused(data: bytes) -> None:
    assert "a.txt is a binary file" in refusal(data)


def test_formats_people_upload_by_mistake_are_named() -> None:
    assert "book.txt is a PDF" in refusal(b"%PDF-1.7 ...", "book.txt")
    assert "Word" in refusal(b"PK\x03\x04....", "book.docx")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "a.txt is empty"),
        ("\ufeff", "a.txt is empty"),
        ("x", "one character, 'x'"),
        ("zzzz" * 3000, "is 'z' 12,000 times"),
        (" \n \n", "only white space"),
    ],
)
def test_too_little_is_refused(data: str, said: str) -> None:
    assert said in refusal(data)
    assert "at least two different characters" in refusal(data)


def test_bytes_of_no_encoding_are_refused() -> None:
    assert "could not be recognised; name it (encoding), or save the file as UTF-8" in refusal(b"\x80\x81\xfe\xff" * 50)


def test_other_suffixes_are_read_if_they_are_clean_unicode() -> None:
    assert read("def f(): ...\n", "code.py").text == "def f(): ...\n"
    assert "use .txt, .md, .csv" in refusal("café".encode("latin-1"), "notes.xyz")


def test_gzip_is_unpacked_by_its_content() -> None:
    packed = gzip.compress(b"Text\nabc\ndef\n")
    assert read(packed, "t.csv.gz").text == "abc\n\ndef"
    assert read(packed, "t.csv").repairs == ("gzip unpacked",)
    assert "damaged gzip" in refusal(packed[:-9], "t.csv.gz")
    assert "damaged gzip" in refusal(b"\x1f\x8bnonsense", "t.txt.gz")


@pytest.mark.parametrize(("pack", "name", "suffix"), [(bz2.compress, "bzip2", ".bz2"), (lzma.compress, "xz", ".xz")])
def test_bzip2_and_xz_are_unpacked_within_bounds(pack: Callable[[bytes], bytes], name: str, suffix: str) -> None:
    packed = pack(b"Text\nabc\ndef\n")
    assert read(packed, f"t.csv{suffix}").text == "abc\n\ndef"
    assert read(packed, "t.csv").repairs == (f"{name} unpacked",)
    assert read(pack(b"abc") + pack(b"def"), f"t.txt{suffix.upper()}").text == "abcdef"
    for damaged in (packed[:-9], packed[:8] + b"nonsense"):
        assert f"damaged {name}" in refusal(damaged, f"t.csv{suffix}")
    bomb = pack(b"a" * (32 << 20))
    tracemalloc.start()
    with pytest.raises(CorpusError, match=f"bomb.txt{suffix} holds more than 1,048,576 bytes"):
        read_corpus(bomb, f"bomb.txt{suffix}", PLAIN, most_bytes=1 << 20)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20  # xz has a dictionary of 8 MiB
    tracemalloc.stop()


def test_a_gzip_bomb_is_stopped() -> None:
    bomb = gzip.compress(b"ab" * (50 << 20))
    tracemalloc.start()
    with pytest.raises(CorpusError, match=r"bomb.txt.gz holds more than 4,194,304 bytes"):
        read_corpus(bomb, "bomb.txt.gz", PLAIN, most_bytes=4 << 20)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
    assert table_columns(bomb, "bomb.csv.gz", most_bytes=4 << 20) == []
    assert read_corpus(gzip.compress(b"ab\n" * 300), "a.txt.gz", PLAIN, most_bytes=900).text == "ab\n" * 300
    with pytest.raises(CorpusError, match="more than 899 bytes"):
        read_corpus(gzip.compress(b"ab\n" * 300), "a.txt.gz", PLAIN, most_bytes=899)


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"ab" * 100)
    assert read_corpus_file(tmp_path / "a.txt", PLAIN, most_bytes=200).text == "ab" * 100
    with pytest.raises(CorpusError, match="more than 199 bytes"):
        read_corpus_file(tmp_path / "a.txt", PLAIN, most_bytes=199)


def test_deep_json_is_no_table_and_no_traceback() -> None:
    deep = "[" * 900 + "]" * 900
    assert "not valid JSON (nested too deeply)" in refusal(f'[{{"text": {deep}}}]', "a.json")
    assert "no line that is a JSON object" in refusal(f'{{"text": {deep}}}', "a.jsonl")
    assert "not valid JSON (Exceeds the limit (4300 digits)" in refusal("[" + "9" * 5000 + "]", "a.json")


def test_files_are_read_and_what_is_wrong_with_them_said(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Title\n")
    assert read_corpus_file(tmp_path / "a.md", PLAIN).name == "a.md"
    (tmp_path / "none").mkdir()
    for path, said in (
        (tmp_path / "none", "holds no file with text"),
        (tmp_path / "no.txt", "there is no file"),
        (Path("\0"), "cannot be"),
    ):
        with pytest.raises(CorpusError, match=said):
            read_corpus_file(path, PLAIN)


def test_line_ends_become_lf_unless_not_wanted() -> None:
    corpus = read("a\r\nb\rc\n")
    assert (corpus.text, corpus.repairs) == ("a\nb\nc\n", ("2 line endings converted to LF",))
    assert read("a\r\nb", config=CorpusConfig(lf=False)).text == "a\r\nb"
    assert read("a\r\nb\rc\n", config=CorpusConfig(drop_newlines=True)).text == "abc"


def test_capitals_and_unicode_form() -> None:
    corpus = read("CAFE\u0301", config=CorpusConfig(nfc=True, lowercase=True))
    assert corpus.text == "café"
    assert corpus.repairs == ("converted to Unicode NFC, 1 characters fewer", "converted to lower case")


def test_gutenbergs_frame_is_taken_off() -> None:
    corpus = read(GUTENBERG.replace("\n", "\r\n"))
    assert corpus.text == "Once upon a time.\n"
    assert corpus.repairs[0] == "Project Gutenberg header and footer removed"
    assert read(GUTENBERG, config=CorpusConfig(strip_gutenberg=False)).text == GUTENBERG


def test_other_forms_of_the_frame() -> None:
    assert read(GUTENBERG + GUTENBERG).text == "Once upon a time.\n\nOnce upon a time.\n"
    old = (
        "*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\nTale.\nEnd of The Project Gutenberg Etext\n"
    )
    assert read(old).text == "Tale.\n"
    assert read("Tale.\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\nno").text == "Tale.\n"
    assert read("I like Project Gutenberg.\n").repairs == ()


def test_pasted_text_with_broken_characters_fits_utf8() -> None:
    corpus = corpus_from_text("\ufeffa\ud83d\ude00b\udc00\0c", "AC/DC\n", PLAIN)
    assert (corpus.name, corpus.text) == ("AC/DC", "a😀b\ufffdc")
    assert len(corpus.repairs) == 2


CSV = 'id,Title,Text\n1,One,"first, with\nnewline"\n2,Two,"said ""so"""\n'


def test_a_csv_gives_its_text_column() -> None:
    assert read(CSV, "t.csv").text == 'first, with\nnewline\n\nsaid "so"'
    assert read(CSV, "t.csv", SPACED).text == 'first, with\nnewline said "so"'
    assert read(CSV, "t.csv", CorpusConfig(column="title")).text == "One\n\nTwo"


def test_dropped_line_ends_leave_the_separator() -> None:
    config = CorpusConfig(drop_newlines=True)
    assert read(CSV, "t.csv", config).text == 'first, withnewline\n\nsaid "so"'
    assert read(CSV, "t.csv", config).repairs == ("1 line endings removed",)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("n;Text\n1;a, b\n2;c\n", "t.csv"),
        ("n\tText\n1\ta, b\n2\tc\n", "t.csv"),
        ("n\tText\n1\ta, b\n2\tc\n", "t.tsv"),
        ("Text\na, b\nc\n", "t.csv"),
        ("n,Text\r1,'a, b'\r2,c\r".replace("'", '"'), "t.csv"),
        ('n,story\n1,"a, b"\n2,c\n', "t.csv"),
        ('n,x\n1,"a, b"\n2,c\n', "t.csv"),
    ],
)
def test_separators_and_columns_are_found(data: str, name: str) -> None:
    assert read(data, name).text == "a, b\n\nc"


def test_a_column_chosen_for_want_of_others_is_said() -> None:
    corpus = read("name,age\nBob,3\nAl,4\n", "t.csv")
    assert (corpus.text, corpus.repairs) == ("Bob\n\nAl", ("column name read, the only one with text",))


def test_tsv_quotes_that_are_just_quotes() -> None:
    assert read('n\tText\n1\t"Oh\n2\tno" he\n', "t.tsv").text == '"Oh\n\nno" he'


def test_odd_rows_are_named() -> None:
    corpus = read("n,Text\n1,a,b\n2\n3,c\n", "t.csv")
    assert corpus.text == "a\n\nc"
    assert corpus.repairs == (
        "row 1 has 3 cells for 2 columns",
        "row 2 has 1 cell for 2 columns",
        "1 row without Text left out",
    )


def test_cells_larger_than_the_csv_modules_limit() -> None:
    assert len(read('n,Text\n1,"' + "ab" * 200_000 + '"\n', "t.csv").text) == 400_000


@pytest.mark.parametrize(
    "value",
    [
        [{"id": 1, "text": "a b"}, {"id": 2, "text": "c"}],
        ["a b", "c"],
        {"text": ["a b", "c"], "n": [1, 2]},
        {"text": {"0": "a b", "1": "c"}},
        {"rows": [{"text": "a b"}, {"text": "c"}], "version": 1},
        {"data": ["a b", "c"]},
        {"columns": ["n", "text"], "index": [0, 1], "data": [[1, "a b"], [2, "c"]]},
        [{"text": "a b"}, {"text": None}, {"text": ""}, "c"],
    ],
)
def test_json_in_the_shapes_tools_write(value: object) -> None:
    assert read(json.dumps(value), "t.json").text == "a b\n\nc"


def test_json_lines_and_their_broken_lines() -> None:
    corpus = read('{"text": "a b"}\n\nnonsense\n"c"\n', "t.jsonl")
    assert (corpus.text, corpus.repairs) == ("a b\n\nc", ("line 3 is not a JSON object and was left out",))
    assert read('{"text": "a b"}\n{"text": "c"}\n', "t.json").repairs == ("read as JSON Lines",)


def test_surrogates_out_of_json_fit_utf8() -> None:
    assert read('["\\ud800x\\u0000", "y"]', "t.json").text == "\ufffdx\n\ny"


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        ("a,b\nx,y\n", "t.csv", "say which column to read: a, b"),
        ("a,b\n", "t.csv", "has a header but no rows; its columns: a, b"),
        ("n,Text\n1,\n", "t.csv", "no text in column Text"),
        ("\n\n", "t.csv", "t.csv is empty"),
        ('{"text": ', "t.json", "not valid JSON"),
        ("[1, 2]", "t.json", "holds no rows"),
        ("[" * 200_000, "t.json", "nested too deeply"),
        ("1\n2\n", "t.jsonl", "no line that is a JSON object"),
    ],
)
def test_tables_without_text_are_refused(data: str, name: str, said: str) -> None:
    assert said in refusal(data, name)


def test_a_missing_column_is_refused_with_those_there_are() -> None:
    said = refusal(CSV, "t.csv", CorpusConfig(column="Story"))
    assert said == "t.csv has no column 'Story'; it has: id, Title, Text"


def test_columns_to_choose_from() -> None:
    assert table_columns(CSV.encode(), "t.csv") == ["id", "Title", "Text"]
    assert table_columns(gzip.compress(b"\xef\xbb\xbf,Text\r\n0,a\r\n"), "t.csv.gz") == ["column 1", "Text"]
    assert table_columns(b'[{"a": "x"}, {"b": 1}]', "t.json") == ["a", "b"]
    assert table_columns(b'{"a": "x"}\n{"b": 1}', "t.jsonl") == ["a", "b"]
    assert table_columns(b"a,b", "t.txt") == table_columns(b"[", "t.json") == table_columns(b"\0", "t.csv") == []


@settings(deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200), st.text(st.characters(), max_size=99).map(lambda t: t.encode("utf-16", "ignore"))
    ),
    st.sampled_from(["a.txt", "a.csv", "a.tsv", "a.json", "a.jsonl", "a.txt.gz", "a.bin", ""]),
    st.builds(CorpusConfig, lf=st.booleans(), drop_newlines=st.booleans(), nfc=st.booleans(), lowercase=st.booleans()),
)
def test_any_bytes_give_a_corpus_or_a_sentence(data: bytes, name: str, config: CorpusConfig) -> None:
    assert isinstance(table_columns(data, name), list)
    try:
        corpus = read_corpus(data, name, config)
    except CorpusError as error:
        assert str(error).count("\n") == 0
    else:
        assert len(set(corpus.text)) > 1
        assert corpus.sha256 == hashlib.sha256(corpus.text.encode()).hexdigest()


CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip)


@settings(deadline=None)
@given(st.lists(st.one_of(CELLS, CELLS.map(lambda cell: f'{cell}\n",;\t{cell}')), min_size=2, max_size=6))
def test_what_csv_and_json_hold_comes_out(cells: list[str]) -> None:
    import csv
    import io

    file = io.StringIO(newline="")
    csv.writer(file).writerows([["Text", "n"], *([cell, "1"] for cell in cells)])
    expected = "\n\n".join(cells)
    if len(set(expected)) > 1:
        assert read(file.getvalue(), "t.csv").text == expected
        assert read(json.dumps({"Text": cells}), "t.json").text == expected


@pytest.mark.skipif("CHARLM_CORPORA" not in os.environ, reason="needs the folder CHARLM_CORPORA")
def test_the_notebooks_way_of_reading_grimm() -> None:
    config = CorpusConfig(column="Text", separator="space", drop_newlines=True)
    corpus = read_corpus_file(Path(os.environ["CHARLM_CORPORA"]) / "grimms_fairytales.csv", config)
    assert (len(corpus.text), len(set(corpus.text))) == (508_476, 77)
    assert corpus.repairs == ("8,644 line endings removed",)


def test_a_table_of_too_many_columns_is_refused() -> None:
    assert "has 10,001 columns; at most 10,000 are read" in refusal("," * 10_000 + "\na", "a.csv")
    assert "has 10,001 columns" in refusal("\t" * 10_000 + '\n"a', "a.tsv")
    assert len(table_columns(b"," * 100_000, "a.csv")) == 10_000


def test_weights_are_no_text(tmp_path: Path) -> None:
    for name in ("a.pkl", "run.PT", "best.safetensors"):
        assert "is a file of weights, not a text" in refusal("cos\nsystem\n(S'x'\ntR.", name)


def test_whatever_columns_are_called_a_refusal_is_one_line() -> None:
    names = ",".join(f'"n\n{number}\u202e{"x" * 90}"' for number in range(40))
    for body, column in (("", ""), ("\n1,2", ""), ("\n1,2", "y\n" * 60)):
        said = refusal(names + body, f"{'b' * 300}\n.csv", CorpusConfig(column=column))
        assert said.isprintable() and len(said) < 600 and "n 0" in said and "and 30 more" in said
    corpus = read_corpus(b'"te\nxt",n\na b,1\n,2\n', "a.csv", PLAIN)
    assert all(repair.isprintable() for repair in corpus.repairs) and "column te xt read" in corpus.repairs[0]
