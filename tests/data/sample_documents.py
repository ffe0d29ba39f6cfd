"""Small documents of every kind, each with the same words in it, written by hand or by the library that people use."""

import io
import json
import warnings
import zipfile
from collections.abc import Mapping

WORDS = "A fox met a hen."
MORE = "The hen ran home; größer."
HTML = (
    "<!DOCTYPE html><html><head><title>T</title><script>var a=1;</script></head><body><!-- x --><h1>Tale</h1>"
    f"<p>{WORDS} &amp; more</p><img src='a.png'><script>if (a<1) b();</script><ul><li>one</li><li>two</li></ul>"
    f"<table><tr><td>a</td><td>b</td></tr></table><pre>  x\n y</pre><p>{MORE}</p></body></html>"
)
RTF = (
    r"{\rtf1\ansi\ansicpg1252{\fonttbl\f0\fswiss Helvetica;}\f0\fs24 " + WORDS + "\\\n"
    r"The hen ran home; gr\'f6\'dfer.\par {\pict\pngblip 89504e47}}"
)
SRT = f"1\n00:00:01,000 --> 00:00:02,000\n<i>{WORDS}</i>\n\n2\n00:00:03,000 --> 00:00:04,000\n{MORE}\n"
_CUES = f"00:01.000 --> 00:02.000 align:start\n<v Bob>{WORDS}\n\n00:03.000 --> 00:04.000\n{MORE} &amp;\n"
VTT = f"WEBVTT\n\nNOTE none\n\n{_CUES}\nNOTE the\nend\n"
NOTEBOOK = json.dumps(
    {
        "nbformat": 4,
        "cells": [
            {"cell_type": "markdown", "source": [f"{WORDS}\n", MORE]},
            {"cell_type": "code", "source": "x = 1", "outputs": [{"output_type": "stream", "text": "1"}]},
        ],
    }
)
STYLED = (
    "[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name, Fontname\nStyle: Default,Arial\n\n[Events]\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    "Comment: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,a note\n"
    f"Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{{\\i1\\pos(1,2)}}{WORDS}\\N{MORE}\n"
)
CUES = (
    "WEBVTT - x\n\nSTYLE\n::cue {color: red}\n\nREGION\nid:a\n\nNOTE two\nlines of it\n\n"
    f"intro\n00:01.000 --> 00:02.000 line:0\n<v Ann><c.yellow>{WORDS}</c>\n\nNOTE a word\n\nsecond one\n"
    f"00:03.000 --> 00:04.000\n{MORE}\n"
)
SUNG = f"\ufeff[ti:A song]\n[length: 03:20]\n[00:01.50]{WORDS}\n[00:03.2][01:03.20]<00:03.2>{MORE}\n"
SAMI = f"<SAMI><HEAD><STYLE>P {{}}</STYLE></HEAD>\n<SYNC Start=1><P>{WORDS}\n<SYNC Start=9><P>{MORE}\n"
FRAMES = f"{{1}}{{20}}{WORDS}\n{{21}}{{40}}{MORE}\n"
MAIL = (
    "From: Ann <a@b.c>\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\nMIME-Version: 1.0\n"
    'Content-Type: multipart/mixed; boundary="X"\n\n--X\nContent-Type: text/plain; charset=utf-8\n'
    f"Content-Transfer-Encoding: quoted-printable\n\nGr=C3=BC=C3=9Fe!\n>From {WORDS}\n--X\n"
    "Content-Type: image/png\nContent-Disposition: attachment\nContent-Transfer-Encoding: base64\n\niVBORw==\n--X--\n"
)
PAGE_MAIL = f"Subject: b\nContent-Type: text/html; charset=x-none\n\n<html><body><p>{MORE}</p></body></html>\n"
_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def zipped(members: Mapping[str, str | bytes]) -> bytes:
    """A zip of some members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def word(body: str = "") -> bytes:
    """A Word file with a footnote."""
    paragraphs = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in (WORDS, MORE))
    note = '<w:p><w:r><w:t>Noted</w:t></w:r><w:r><w:footnoteReference w:id="1"/></w:r></w:p>'
    types = "application/vnd.openxmlformats-officedocument.wordprocessingml"
    relation = f'<Relationship Id="r1" Type="{_RELATIONS}'
    package = "http://schemas.openxmlformats.org/package/2006"
    return zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/word/document.xml" ContentType="{types}.document.main+xml"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{package}/relationships">{relation}/officeDocument" '
            'Target="word/document.xml"/></Relationships>',
            "word/_rels/document.xml.rels": f'<Relationships xmlns="{package}/relationships">{relation}/footnotes" '
            'Target="footnotes.xml"/></Relationships>',
            "word/document.xml": f"<w:document {_W}><w:body>{body or paragraphs + note}</w:body></w:document>",
            "word/footnotes.xml": f'<w:footnotes {_W}><w:footnote w:id="1"><w:p><w:r><w:t>A side remark.</w:t></w:r>'
            "</w:p></w:footnote></w:footnotes>",
        }
    )


def book(encryption: str = "") -> bytes:
    """An EPUB of two chapters, which its spine names in another order than the zip."""
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
        '<item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        '<item id="b" href="b.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="a" href="a%20x.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="n"/><itemref idref="a"/><itemref idref="b"/></spine></package>'
    )
    container = (
        '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="OEBPS/content.opf"/></rootfiles></container>'
    )
    page = "<html xmlns:epub='http://www.idpf.org/2007/ops'><body>{}</body></html>"
    return zipped(
        {
            "mimetype": "application/epub+zip", "META-INF/container.xml": container, "OEBPS/content.opf": opf,
            "OEBPS/b.xhtml": page.format(f"<p>{MORE}</p><img src='x'/>"),
            "OEBPS/a x.xhtml": page.format(
                f"<h2>One</h2><p>{WORDS}<a epub:type='noteref'>1</a></p><aside epub:type='footnote'>Note.</aside>"
            ),
            "OEBPS/nav.xhtml": page.format("<nav>Contents</nav>"),
            **({"META-INF/encryption.xml": encryption} if encryption else {}),
        }
    )  # fmt: skip


def pdf(lines: tuple[str, ...] = (WORDS, "The hen ran home."), more: str = "") -> bytes:
    """A PDF of one page."""
    shown = " ".join(f"({line}) Tj 0 -20 Td" for line in lines)
    content = f"BT /F1 12 Tf 72 700 Td {shown} ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, table)
    return out + b"trailer\n<< /Size %d /Root 1 0 R %s>>\nstartxref\n%d\n%%%%EOF\n" % (
        len(objects) + 1, more.encode(), start,
    )  # fmt: skip


def parquet(rows: int = 3, compression: str | None = "ZSTD") -> bytes:
    """A Parquet file, as fastparquet writes it."""
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pandas, about what fastparquet asks it for
        import fastparquet

    class Kept(io.BytesIO):
        def close(self) -> None:
            self.whole = self.getvalue()

    kept = Kept()
    frame = pd.DataFrame({"id": range(rows), "text": [WORDS, None, MORE][:rows] + [WORDS] * (rows - 3), "by": "Bob"})
    fastparquet.write("memory", frame, compression=compression, open_with=lambda *_: kept)
    return kept.whole


def plain_documents() -> dict[str, bytes]:
    """Those that any reader takes, by a file's name."""
    return {
        "a.html": HTML.encode(), "b.rtf": RTF.encode(), "c.srt": SRT.encode(), "d.vtt": VTT.encode(),
        "e.ipynb": NOTEBOOK.encode(), "f.docx": word(), "g.epub": book(),
    }  # fmt: skip


def documents_of_people() -> dict[str, bytes]:
    """Subtitles, lyrics, mails and books of other programs, by a file's name."""
    about, picture = "<description><p>No.</p></description>", "<binary id='a'>aGk=</binary>"
    note, began = "<text:note>No.</text:note>", "From a@b.c Mon Jan  4 10:00:00 2021\n"
    text = f"<text:h>{WORDS}{note}</text:h><text:p>{MORE}<text:s/>It<text:tab/>is so.</text:p>"
    office = {
        "mimetype": "application/vnd.oasis.opendocument.text",
        "content.xml": f"<office:text>{text}</office:text>",
    }
    texts = {
        "a.ass": STYLED, "a.vtt": CUES.replace("\n", "\r\n"), "a.sub": FRAMES, "a.lrc": SUNG, "a.smi": SAMI,
        "a.eml": MAIL, "a.mbox": f"{began}{MAIL}\n{began}{PAGE_MAIL}",
        "a.fb2": f"<FictionBook>{about}<body><p>{WORDS}</p><p>{MORE}</p></body>{picture}</FictionBook>",
    }  # fmt: skip
    return {**{name: text.encode() for name, text in texts.items()}, "a.odt": zipped(office)}


def native_documents() -> dict[str, bytes]:
    """Those that parsers in C take, by a file's name."""
    return {"h.pdf": pdf(), "i.parquet": parquet()}
