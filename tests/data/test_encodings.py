"""Encodings: short lists of many languages are guessed, what else they may be is said, and mixed files are mended."""

import random
from pathlib import Path

import pytest

from charlm.cli.options import open_corpus
from charlm.config import CorpusConfig
from charlm.data.corpus import Corpus, read_corpus, table_columns
from charlm.errors import ConfigError, CorpusError

# Names as lists have them; what is plain ASCII is among them.
NAMES = {
    "cp1250": "Łukasz Paweł Jędrzej Stanisław Wąsik Żaneta Jabłoński Król Wójcik Dąbrowski Zieliński Szymański Woźniak "
    "Nowak Anna Błażej Bożena Łucja Grażyna Wieczorek",
    "iso8859-2": "Jiří Tomáš Lukáš Ondřej Matěj Štěpán Zdeněk Božena Věra Růžena Žofie Černý Dvořák Kučera Horák Němec "
    "Marek Růžička Beneš Fiala Sedláček Doležal Zeman Kolář Čermák Vaněk Urban",
    "cp1254": "Ayşe Fatma Emine Zeynep Elif Şerife Yılmaz Kaya Demir Çelik Şahin Yıldız Öztürk Aydın Özdemir Arslan "
    "Doğan Kılıç Çetin Kara Koç Özkan Şimşek Mustafa İbrahim İsmail Ömer Uğur Işık Gökhan Çağlar",
    "cp1257": "Jonas Žydrūnas Vytautas Šarūnas Giedrė Rūta Eglė Agnė Živilė Kęstutis Mindaugas Kazlauskas Petrauskas "
    "Žukauskas Butkus Čepaitė Šimkus Ąžuolas Jūratė Eimantė Rėda Žemaitė",
    "cp1252": "François Hélène Chloé Gérard Frédéric Stéphane Jérôme Benoît Maël Noël Loïc Anaïs Aimée Lefèvre "
    "Béranger Michèle Agnès Thérèse Solène Mélanie Étienne Émile",
    "cp1251": "Александр Сергей Дмитрий Андрей Максим Евгений Иван Артём Иванов Смирнов Кузнецов Попов Васильев Петров",
    "gb18030": "王伟 李娜 张敏 刘洋 陈静 杨丽 赵强 黄磊 周杰 吴勇 徐艳 孙涛 马超 朱明 胡军 郭平 何刚 高峰 林霞 罗建",
    "cp932": "佐藤 鈴木 高橋 田中 伊藤 渡辺 山本 中村 小林 加藤 吉田 山田 佐々木 さくら ゆい ひなた タロウ ハナコ",
}


def read(data: bytes, encoding: str = "", name: str = "a.txt") -> Corpus:
    return read_corpus(data, name, CorpusConfig(encoding=encoding))


@pytest.mark.parametrize("codec", NAMES)
def test_short_lists_of_names_are_guessed(codec: str) -> None:
    right = tried = 0
    for seed in range(20):
        text = "\n".join(random.Random(seed).sample(NAMES[codec].split(), 12)) + "\n"
        tried += 1
        right += read(text.encode(codec)).text == text
    assert right >= 0.9 * tried, f"{right} of {tried}"


def test_a_line_of_the_text_stands_beside_the_guess() -> None:
    corpus = read("Anna\nŁukasz Wąsik\nJędrzej Śliwa\n".encode("cp1250"))
    assert corpus.repairs[0] == "read as cp1250, for example “Łukasz Wąsik”"


def test_a_close_second_guess_is_said() -> None:
    text = "Lőrinc\nGergő\n"  # in the Western page these are Lõrinc and Gergõ
    corpus = read(text.encode("cp1250"))
    assert corpus.repairs == (
        "read as cp1252, for example “Lõrinc”",
        "cp1250 is nearly as likely: “Lőrinc”; the option encoding chooses",
    )
    assert read(text.encode("cp1250"), "cp1250").text == text
    clear = read(("Все счастливые семьи похожи друг на друга. " * 3).encode("cp1251"))
    assert len(clear.repairs) == 1


@pytest.mark.parametrize("codec", ["cp1252", "cp1250", "cp1251"])
def test_a_mixed_file_is_read_line_by_line(codec: str) -> None:
    lines = NAMES[codec].split() * 2
    data = b"\n".join(one.encode("utf-8" if number % 3 else codec) for number, one in enumerate(lines))
    corpus = read(data)
    assert corpus.text == "\n".join(lines)
    foreign = sum(not one.isascii() for number, one in enumerate(lines) if number % 3 == 0)
    assert corpus.repairs[0].startswith(
        f"{foreign} of {len(lines)} lines are not UTF-8 and were read as {codec}, for example “"
    )


def test_mostly_utf8_with_few_lines_of_another_page() -> None:
    text = "Grüße aus Köln, schöne Städte.\n" * 200
    corpus = read(text.encode() + "Straße in Öhringen\n".encode("cp1252"))
    assert corpus.text == text + "Straße in Öhringen\n"


def test_an_encoding_that_is_given_is_used(tmp_path: Path) -> None:
    data = "Łódź,1\nWąż,2\n".encode("cp852")
    assert read(data, "cp852").text == "Łódź,1\nWąż,2\n" and read(data, "cp852").repairs == ()
    assert read("\ufeffab\n".encode("utf-16-le"), "utf-16-le").text == "ab\n"
    assert read("żółw\n".encode("cp1250"), "CP1250", "a.xyz").text == "żółw\n"
    table = "imię,tekst\nŁ,ą ę\nŚ,ł\n".encode("cp1250")
    assert table_columns(table, "a.csv", encoding="cp1250") == ["imię", "tekst"]
    (tmp_path / "a.txt").write_bytes(data)
    assert open_corpus(str(tmp_path / "a.txt"), CorpusConfig(encoding="cp852")).text.startswith("Łódź")


def test_a_wrong_encoding_is_refused_in_a_sentence() -> None:
    with pytest.raises(CorpusError, match=r"a.txt is not in the encoding utf-8: \d+ invalid UTF-8 sequences"):
        read("Łódź ąęśćżź\n".encode("cp1250"), "utf-8")
    for name in ("klingon", "hex", "punycode", "unicode_escape", "x\0"):
        with pytest.raises(ConfigError, match="is not known; use a name such as utf-8"):
            CorpusConfig(encoding=name)


def test_the_command_line_takes_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from charlm.__main__ import main

    (tmp_path / "a.txt").write_bytes(("Łódź i Wąż. " * 40).encode("cp852"))
    words = ["train", str(tmp_path / "a.txt"), "--encoding", "nope", "--steps", "1", "--runs-dir", str(tmp_path)]
    assert main(words) == 2
    assert "encoding 'nope' is not known" in capfd.readouterr().err
