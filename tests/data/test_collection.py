"""Several files as one text: their order, what is left out, and the bounds."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from charlm.__main__ import main
from charlm.cli.options import open_corpora, open_corpus
from charlm.config import CorpusConfig
from charlm.data.collection import natural, pack
from charlm.data.corpus import Corpus, read_corpus, read_corpus_file
from charlm.data.own_texts import OwnTexts, open_upload, uploaded_together
from charlm.errors import CorpusError
from tests.data.sample_documents import HTML, MORE, WORDS, native_documents, plain_documents, zipped

PLAIN = CorpusConfig()
FILES: dict[str, bytes] = {
    "10 end.txt": b"The end.\n", "2 middle.txt": "größer\r\n".encode(), "1 begin.md": b"# Begin",
    "b/chapter 1.txt": b"In b.", "a/x.txt": b"In a.",
}  # fmt: skip
JOINED = "# Begin\n\ngrößer\n\nThe end.\n\nIn a.\n\nIn b.\n"
ORDER = "5 files joined by a blank line, in natural order of their paths: 1 begin.md, 2 middle.txt, 10 end.txt, a/x.txt"


def laid_out(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def read(files: dict[str, bytes], most: int = 1 << 22, config: CorpusConfig = PLAIN, native: bool = True) -> Corpus:
    return read_corpus(zipped(files), "a.zip", config, most, native)


def refusal(data: bytes, most: int = 1 << 22) -> str:
    with pytest.raises(CorpusError) as caught:
        read_corpus(data, "a.zip", PLAIN, most)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500
    return str(caught.value)


def test_people_count_chapters() -> None:
    paths = ["ch 10.txt", "ch 9.txt", "Ch 1.txt", "a2/1", "a10/1", "ch 1b.txt"]
    assert sorted(paths, key=natural) == ["a2/1", "a10/1", "Ch 1.txt", "ch 1b.txt", "ch 9.txt", "ch 10.txt"]
    assert sorted(["²", "9" * 5000, "1"], key=natural)  # a digit that is no number, and a number without end


def test_a_folder_and_a_zip_give_the_same(tmp_path: Path) -> None:
    folder = laid_out(tmp_path / "mine", FILES)
    one, other = read_corpus_file(folder, PLAIN), read(FILES)
    assert one.text == other.text == JOINED and (one.name, other.name) == ("mine", "a.zip")
    for corpus in (one, other, open_corpus(str(folder), PLAIN)):
        assert corpus.repairs[0] == f"{ORDER}, b/chapter 1.txt"


def test_every_kind_of_file_is_read_and_the_rest_is_named(tmp_path: Path) -> None:
    table = json.dumps({"posts": [{"body": f"{WORDS} {number}"} for number in range(3)]}).encode()
    files = {
        **plain_documents(), **native_documents(), "j.json": table, "k.csv": b"n,text\n1,a fox\n2,a hen\n",
        "l.txt.gz": gzip.compress(b"packed"), "m.png": b"\x89PNG\r\n\x1a\n\0\0", "n.pt": b"PK\x03\x04", "o.txt": b" \n",
        "p.py": b"x = 1\n", "q.json": b"{", ".hidden.txt": b"no", "__MACOSX/a.txt": b"no",
    }  # fmt: skip
    corpus = read(files)
    for words in (WORDS, MORE, "Tale", "Noted", "A fox met a hen. 2", "a fox\n\na hen", "packed", "x = 1"):
        assert words in corpus.text
    assert "no\n" not in corpus.text and corpus.repairs[0].startswith("13 files joined")
    assert corpus.repairs[1] == "3 files left out: m.png, n.pt, q.json"
    assert any(one.startswith("q.json: is not valid JSON") for one in corpus.repairs)
    folder = laid_out(tmp_path / "mine", {name: data for name, data in files.items() if "__" not in name})
    assert read_corpus_file(folder, PLAIN).text == corpus.text
    strangers = read(files, native=False)
    assert strangers.repairs[1] == "5 files left out: m.png, n.pt, q.json, h.pdf, i.parquet"


def test_each_file_loses_its_own_gutenberg_frame() -> None:
    mark = "OF THE PROJECT GUTENBERG EBOOK {0} ***"
    book = f"*** START {mark}\n\n{{0}} is.\n\n*** END {mark}\n"
    files = {f"{name}.txt": book.format(name).encode() for name in ("One", "Two")}
    assert read(files).text == "One is.\n\nTwo is.\n"
    assert "EBOOK One" in read(files, config=CorpusConfig(strip_gutenberg=False)).text


def test_remarks_on_many_files_are_bounded() -> None:
    corpus = read({f"{number}.txt": f"a\rb {number}".encode() + b"\0" for number in range(40)} | {"z.txt": b"abc"})
    assert len(corpus.repairs) < 16 and corpus.text.endswith("abc\n")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (zipped({"a.png": b"\x89PNG\0"}), "a.zip holds no file with text: a.png: is a picture"),
        (zipped({}), "a.zip holds no file with text"),
        (zipped({"a.txt": b"abc"})[:-9], "a.zip is a damaged zip"),
        (zipped({f"{number}": b"a" for number in range(10_001)}), "a.zip has more than 10,000 files"),
        (zipped({"run.json": b"{}", "best.safetensors": b"x"}), "a.zip is an exported run, not a text; import it"),
        (zipped({"a.zip": zipped({"a.txt": b"abc"})}), "a.zip holds no file with text"),
    ],
)
def test_zips_that_hold_no_text_are_refused(data: bytes, said: str) -> None:
    assert refusal(data).startswith(said)


def test_a_zip_bomb_is_stopped() -> None:
    bomb = zipped({f"{number}.txt": b"ab" * (1 << 20) for number in range(40)})
    assert len(bomb) < 1 << 19 and "holds more than 4,194,304 bytes of text" in refusal(bomb)
    lies = bomb.replace((2 << 20).to_bytes(4, "little"), (9).to_bytes(4, "little"))
    assert "a.zip holds no file with text: 0.txt: it is damaged" in refusal(lies)
    assert "holds more than 1,000 bytes" in refusal(zipped({"a.html": HTML.encode() * 9}), 1000)


def test_several_arguments_are_joined_as_given(tmp_path: Path) -> None:
    laid_out(tmp_path, FILES)
    tokens = [str(tmp_path / name) for name in ("10 end.txt", "1 begin.md", "b")]
    corpus = open_corpora(tokens, PLAIN)
    assert corpus.text == "The end.\n\n# Begin\n\nIn b.\n"
    assert corpus.repairs[0] == "3 files joined by a blank line, in the order given: 10 end.txt, 1 begin.md, b"
    assert open_corpora(tokens[:1], PLAIN).text == "The end.\n"


@pytest.mark.slow
def test_the_command_line_trains_on_a_folder_and_on_several_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARLM_DATA", str(tmp_path / "data"))
    folder = laid_out(tmp_path / "mine", {f"{number}.txt": f"{WORDS}\n".encode() * 60 for number in range(3)})
    small = ["--steps", "1", "--hidden-size", "4", "--seq-len", "8", "--runs-dir", str(tmp_path / "runs"), "--json"]
    for words in ([str(folder)], [str(folder / "1.txt"), str(folder / "0.txt")]):
        assert main(["train", *words, "--arch", "gru", *small]) == 0
        shown = capfd.readouterr()
        assert json.loads(shown.out.splitlines()[-1])["steps"] == 1
        assert f"{3 if len(words) == 1 else 2} files joined by a blank line" in shown.err


def test_files_uploaded_together_are_one_text(tmp_path: Path) -> None:
    files = [("b.txt", b"second"), ("a.txt", b"first"), ("a.txt", b"again")]
    name, data = pack(files)
    assert (name, data) == pack(files[::-1]) and name == "a.txt and 2 more.zip"
    upload = uploaded_together(files)
    assert upload.read(PLAIN).text == "again\n\nfirst\n\nsecond\n"
    texts = OwnTexts(tmp_path)
    kept = open_upload(texts.keep(upload), tmp_path)
    assert kept is not None and kept.read(PLAIN).text == upload.read(PLAIN).text
    assert uploaded_together(files[:1]).name == "b.txt"


def test_a_strangers_kept_file_stays_a_strangers(tmp_path: Path) -> None:
    from charlm.data.own_texts import Upload

    files: dict[str, Any] = {**native_documents(), "a.txt": b"abc"}
    texts = OwnTexts(tmp_path)
    upload = Upload("a.zip", zipped(files), owner="somebody", native=False)
    kept = open_upload(texts.keep(upload), tmp_path)
    assert kept is not None and not kept.native and kept.read(PLAIN).text == "abc\n"
