"""Documents as text: each kind with what is left out of it, and every refusal."""

import time

import pytest

from charlm.config import CorpusConfig
from charlm.data import documents
from charlm.data.confined import ConfinedError, confined
from charlm.data.corpus import Corpus, read_corpus, table_columns
from charlm.data.documents import Document, read_documents
from charlm.data.markup import html_text, markup_share
from charlm.errors import CharLMError, CorpusError
from tests.data.sample_documents import (
    HTML,
    MORE,
    RTF,
    WORDS,
    book,
    native_documents,
    parquet,
    pdf,
    plain_documents,
    word,
    zipped,
)
from tests.patience import patience

PLAIN = CorpusConfig()


def read(data: bytes, name: str, config: CorpusConfig = PLAIN, native: bool = True) -> Corpus:
    return read_corpus(data, name, config, 1 << 22, native)


def refusal(data: bytes, name: str, native: bool = True) -> str:
    with pytest.raises(CorpusError) as caught:
        read(data, name, native=native)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400
    return str(caught.value)


TABLE = "Tale\n\nA fox met a hen. & more\n\none\ntwo\n\na\tb\n\n  x\n y\n\nThe hen ran home; größer.\n"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.html", TABLE, "left out: 2 scripts, 1 comment, 1 picture"),
        ("b.rtf", f"{WORDS}\n{MORE}\n", "left out: 1 picture"),
        ("c.srt", f"{WORDS}\n{MORE}\n", "left out: 2 cue times"),
        ("d.vtt", f"{WORDS}\n{MORE} &\n", "left out: 2 cue times, 2 comments"),
        ("e.ipynb", f"{WORDS}\n{MORE}\n", "left out: 1 code cell, 1 output"),
        ("f.docx", f"{WORDS}\n\n{MORE}\n\nNoted\n", "left out: 1 note"),
        ("g.epub", f"One\n\n{WORDS}\n\n{MORE}\n", "left out: 1 note, 1 picture"),
    ],
)
def test_a_document_gives_its_text_and_says_what_it_left_out(name: str, text: str, said: str) -> None:
    corpus = read(plain_documents()[name], name, native=False)
    assert corpus.text == text
    assert corpus.repairs == (said,)


def test_comments_and_names_of_subtitles_are_no_speech() -> None:
    cues = "00:01.000 --> 00:02.000\nOne.\n\nNOTE Bob\n\nid/2-0\n00:03.000 --> 00:04.000\nNOTE this.\n\nNOTE\nthe end"
    corpus = read(f"WEBVTT\n\n{cues}".replace("\n", "\r\n").encode(), "a.vtt")
    assert corpus.text == "One.\nNOTE this.\n" and corpus.repairs == ("left out: 2 cue times, 2 comments",)


@pytest.mark.parametrize("name", ["a.srt", "a.vtt", "a.ass"])
def test_braces_in_subtitles_are_speech_unless_they_set_a_style(name: str) -> None:
    said = r"{\an8}<i>Oh</i> {sighs} no"
    cue = f"00:00:01.000 --> 00:00:02.000\n{said}\n"
    given = {
        "a.srt": f"1\n{cue.replace('.', ',')}",
        "a.vtt": f"WEBVTT\n\n{cue}",
        "a.ass": f"[Script Info]\nScriptType: v4.00+\n\n[Events]\nFormat: Layer, Start, End, Style, Name, MarginL, "
        f"MarginR, MarginV, Effect, Text\nDialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{said}\n",
    }
    words = "Oh  no" if name == "a.ass" else "Oh {sighs} no"  # there braces are a comment
    assert read(given[name].encode(), name).text == f"{words}\n"


def test_a_character_that_rtf_has_in_two_halves_is_one() -> None:
    assert read(rb"{\rtf1\ansi a \u-10188?\u-8930? b\par}", "a.rtf").text == "a \U0001d11e b\n"


def test_words_under_readings_and_of_fields_are_kept() -> None:
    base, reading = (f"<w:r><w:t>{one}</w:t></w:r>" for one in ("\u6f22\u5b57", "\u304b\u3093\u3058"))
    ruby = f'<w:rubyPr><w:hps w:val="9"/></w:rubyPr><w:rt>{reading}</w:rt><w:rubyBase>{base}</w:rubyBase>'
    field = '<w:fldSimple w:instr=" DATE "><w:r><w:t>May 1</w:t></w:r></w:fldSimple>'
    data = word(f"<w:p><w:r><w:ruby>{ruby}</w:ruby></w:r><w:r><w:t> of </w:t></w:r>{field}</w:p>")
    assert "\u6f22\u5b57 of May 1\n" in read(data, "a.docx").text


def test_pdf_and_parquet_give_their_text() -> None:
    given = native_documents()
    assert read(given["h.pdf"], "h.pdf").text == f"{WORDS}\nThe hen ran home.\n"
    corpus = read(given["i.parquet"], "i.parquet")
    assert corpus.text == f"{WORDS}\n\n{MORE}"
    assert corpus.repairs == ("left out: 1 other column", "1 row without text left out")
    assert read(given["i.parquet"], "i.parquet", CorpusConfig(column="by")).text == "Bob\n\nBob\n\nBob"
    assert table_columns(given["i.parquet"], "i.parquet") == ["text", "by"]
    assert "has no column 'story'; it has: text, by" in refusal_of_column(given["i.parquet"])


def refusal_of_column(data: bytes) -> str:
    with pytest.raises(CorpusError) as caught:
        read(data, "i.parquet", CorpusConfig(column="story"))
    return str(caught.value)


@pytest.mark.parametrize("compression", ["SNAPPY", "GZIP", "ZSTD", None])
def test_parquet_of_every_compression(compression: str | None) -> None:
    assert read(parquet(50, compression), "a.parquet").text.startswith(f"{WORDS}\n\n{MORE}\n\n{WORDS}")


def test_strangers_files_do_not_reach_parsers_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "confined", lambda *_, **__: pytest.fail("it was parsed"))
    for name, data in native_documents().items():
        assert "which this public Space does not read" in refusal(data, name, native=False)
        assert "which this public Space does not read" in refusal(data, "a.txt", native=False)
        assert table_columns(data, name, native=False) == []


def test_the_content_says_what_a_document_is() -> None:
    assert read(word(), "a.txt").text.startswith(WORDS) and read(book(), "a.zip").text.startswith("One")
    assert read(b"No rtf at all, a fox.", "a.rtf").text == "No rtf at all, a fox."


def test_a_page_may_name_its_encoding() -> None:
    page = '<html><head><meta charset="windows-1251"></head><body><p>Все счастливые семьи</p></body></html>'
    assert read(page.encode("cp1251"), "a.html").text == "Все счастливые семьи\n"


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.docx", b"PK\x03\x04....", "a.docx is a zip archive, as Word and Excel files are"),
        ("a.docx", word()[:-30], "a.docx is a zip archive"),
        ("a.docx", word("<w:p><w:r><w:t>un"), "a.docx is damaged, or no docx file"),
        ("a.docx", word("<w:p/>"), "a.docx holds no text"),
        ("a.epub", zipped({"META-INF/container.xml": "<x/>"}), "a.epub is damaged"),
        ("a.epub", book("<EncryptedKey/>"), "a.epub is protected against copying (DRM)"),
        ("a.ipynb", b'{"cells": 7}', "a.ipynb is no Jupyter notebook"),
        ("a.html", b"<script>x</script>", "a.html holds no text"),
        ("a.srt", b"nothing here", "a.srt holds no text"),
        ("a.pdf", b"%PDF-1.7 ...", "a.pdf is a PDF that is damaged"),
        ("a.pdf", pdf(()), "a.pdf holds no text"),
        ("a.parquet", b"PAR1" + bytes(40) + b"PAR1", "a.parquet is damaged, or no parquet file"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(name: str, data: bytes, said: str) -> None:
    assert refusal(data, name).startswith(said)


def test_a_bomb_is_refused() -> None:
    bomb = word("<w:p/>" * 12_000_000)
    assert len(bomb) < 1 << 20
    assert "unpacks to more than 67,108,864 bytes" in refusal(bomb, "a.docx")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(*_: object) -> None:
        raise ModuleNotFoundError("no", name="pypdfium2.raw")

    monkeypatch.setitem(documents.KINDS_OF_BYTES, ".pdf", convert)
    asked = {"names": ["a.pdf"], "kinds": [".pdf"], "sizes": [9], "most_bytes": 100}
    assert documents.convert(b"%PDF-1.7 ", asked)[1] == [
        [0, [], "a.pdf needs the package pypdfium2: pip install pypdfium2"]
    ]


# --- markup that came as text ----------------------------------------------------------------------------------------


def test_markup_in_a_text_is_said_and_stripped_if_wanted() -> None:
    strip = CorpusConfig(strip_markup=True)
    for data, kind in ((HTML.encode(), "HTML tags"), (RTF.encode(), "RTF codes")):
        assert any(f"of this looks like {kind}; the option strip_markup" in one for one in read(data, "a.txt").repairs)
        stripped = read(data, "a.txt", strip)
        assert stripped.text == read(data, "a.html" if kind[0] == "H" else "a.rtf").text
        assert stripped.repairs[0].startswith(f"{kind} stripped, ")
    poem = "A <i>fox</i> met\n  a <b>hen</b> by the <u>gate</u>.\n\nThe end.\n" * 4
    assert read(poem.encode(), "a.txt", strip).text.startswith("A fox met\n  a hen by the gate.\n\nThe end.\n")
    xml = "<doc>" + "<line n='1'>A fox met a hen.</line>\n" * 9 + "</doc>"
    assert markup_share(xml)[0] == "XML tags" and markup_share(poem)[0] == "HTML tags"


def test_json_that_came_as_text_is_said() -> None:
    for data in (b'{"a": "x", "b": ["y", "z"]}\n' * 9, b'[{"text": "a b", "by": "c", "n": 1}, {"text": "d"}]'):
        assert read(data, "a.txt").repairs == (
            "this looks like JSON; as a file named .json or .jsonl its texts alone are read",
        )


@pytest.mark.parametrize(
    "text",
    [
        '["Stay," said she.]\n' * 20,
        "{a}\n" * 20,
        "a < b and c > d\n" * 9,
        "<START>\nA fox met a hen.\n" * 20,
        "I <3 you\n" * 20,
    ],
)
def test_what_is_no_markup_is_left_alone(text: str) -> None:
    assert read(text.encode(), "a.txt").repairs == ()
    assert read(text.encode(), "a.txt", CorpusConfig(strip_markup=True)).text == text


def test_what_is_open_to_the_end_is_no_trouble() -> None:
    assert html_text("<p>a<script>b")[0] == "a\n" and html_text("a</p></p></script>b<br/>c")[0] == "a\n\nb\nc\n"
    assert html_text("<svg><path/><p>x</p></svg>y")[0] == "y\n"


# --- the process that reads ------------------------------------------------------------------------------------------


def double(data: bytes, options: dict[str, int]) -> tuple[bytes, dict[str, int]]:
    return data * options["times"], {"length": len(data)}


def misbehave(data: bytes, options: dict[str, str]) -> tuple[bytes, object]:
    kind = options["kind"]
    if kind == "memory":
        return bytes(1 << 30), 0
    if kind == "crash":
        import ctypes

        ctypes.string_at(0)
    if kind == "time":
        while True:
            pass
    if kind == "refuse":
        raise CorpusError("a.txt is nothing")
    if kind == "secrets":
        import os

        return ",".join(os.environ).encode(), 0
    if kind == "noise":
        print("noise", flush=True)
        return b"ok", 0
    raise ValueError("odd\nthing")


def test_a_process_of_its_own_answers_with_bytes_and_json() -> None:
    assert confined(double, b"ab", {"times": 3}) == (b"ababab", {"length": 2})
    assert confined(misbehave, b"", {"kind": "noise"}) == (b"ok", 0)


def test_it_has_limits_and_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert b"HF_TOKEN" not in confined(misbehave, b"", {"kind": "secrets"})[0]
    for kind, error, said in (
        ("memory", ConfinedError, "memory"), ("crash", ConfinedError, "crashed"), ("refuse", CharLMError, "a.txt is"),
        ("other", ConfinedError, r"it cannot be read \(ValueError: odd thing\)"),
    ):  # fmt: skip
        with pytest.raises(error, match=said):
            confined(misbehave, b"", {"kind": kind}, memory=1 << 27)
    with pytest.raises(ConfinedError, match="it holds more than 5 bytes"):
        confined(double, b"ab", {"times": 3}, most_answer=5)
    began = time.monotonic()
    with pytest.raises(ConfinedError, match="takes more than 1 seconds"):
        confined(misbehave, b"", {"kind": "time"}, seconds=1)
    assert time.monotonic() - began < patience(30)


def test_several_documents_share_a_process_and_one_bad_one_spoils_none() -> None:
    good, bad = Document("a.html", ".html", HTML.encode()), Document("b.docx", ".docx", b"no")
    first, second, third = read_documents([good, bad, good], 1 << 20, False)
    assert isinstance(second, CorpusError) and first == third
    assert not isinstance(first, CorpusError) and first[0] == TABLE
