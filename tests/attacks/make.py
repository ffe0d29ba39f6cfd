"""Hostile files, for whoever wants to try a reader on them: `python -m tests.attacks.make FOLDER`.

Code that is hidden in them makes the folder FOLDER/canary, and nothing else. The name of a file says what it is, and
its suffix who would meet it: .zip an uploaded run, .safetensors weights or a training state, the rest a text or a
checkpoint.
"""

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import stat
import struct
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save

from charlm.formats.run_zip import members
from charlm.runs.run import Run
from charlm.runs.tensor_file import UNSEALED
from tests.data.sample_documents import pdf, word
from tests.sealing import sealed
from tests.tiny_runs import store_in, trained

Members = dict[str, bytes]


class Payload:
    """What is made where a pickle of it is loaded: a folder."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.canary),)


def real_run(home: Path) -> Run:
    """A small trained run in a store of its own."""
    return trained(store_in(home), "lstm", hidden_size=4, num_layers=1, steps=6, eval_every=2, record_gradient=True)[0]


def real_members(run: Run) -> Members:
    """The members of its zip, by their own names."""
    return {path.relative_to(run.folder).as_posix(): path.read_bytes() for path in members(run.folder)}


# --- pickles ---------------------------------------------------------------------------------------------------------


def pickles(canary: Path) -> Members:
    """Pickles of every sort, under their own names and under others."""
    plain = {f"pickle-protocol-{number}.pkl": pickle.dumps(Payload(canary), number) for number in range(6)}
    whole = plain["pickle-protocol-4.pkl"]
    hidden = {"n_hidden": 4, "n_layers": 1, "tokens": ("a", "b"), "state_dict": {"fc.bias": Payload(canary)}}
    array = io.BytesIO()
    np.save(array, np.array([Payload(canary)], dtype=object), allow_pickle=True)
    new, old = _torch_file(hidden), _torch_file(hidden, _use_new_zipfile_serialization=False)
    renamed = {
        f"pickle-renamed{suffix}": whole for suffix in (".txt", ".csv", ".json", ".jsonl", ".zip", ".safetensors")
    }
    return {
        **plain, **renamed, "torch-zip.pt": new, "torch-legacy.net": old, "torch-tar.pt": _tar({"pickle": whole}),
        "torch-zip-renamed.zip": new, "torch-zip-renamed.safetensors": new, "torch-legacy-renamed.txt": old,
        "numpy-objects.npy": array.getvalue(), "numpy-objects-renamed.safetensors": array.getvalue(),
        "joblib-like.joblib": zlib.compress(pickle.dumps({"model": Payload(canary)}, 5)),
        "pickle-in-gzip.txt.gz": gzip.compress(whole),
        "torch-huge-shape.pt": _torch_file({"state_dict": {"fc.bias": torch.zeros(1).expand(1 << 20, 1 << 20)}}),
    }  # fmt: skip


def _torch_file(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def _tar(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


# --- safetensors -----------------------------------------------------------------------------------------------------


def rebuilt(data: bytes, change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A safetensors file whose header was changed, of the right length and sealed."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"]["sha256"] = UNSEALED
    change(header)
    text = json.dumps(header, separators=(",", ":")).encode()
    return sealed(len(text).to_bytes(8, "little") + text + data[end:])


def _with(data: bytes, **tensors: torch.Tensor) -> bytes:
    """A safetensors file with other tensors, and what was told beside them."""
    told = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    names = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return sealed(save({**load(data), **names}, {**told, "sha256": UNSEALED}))


def weights(real: Members) -> Members:
    """Files of weights that are not those of the model, or not even that."""
    best = real["best.safetensors"]
    bias = load(best)["fc.bias"]
    last = sorted(json.loads(best[8 : 8 + int.from_bytes(best[:8], "little")]).keys())[-1]

    def entry(**fields: Any) -> bytes:
        return rebuilt(best, lambda header: header[last].update(fields))

    odd = bias.clone()
    odd[0] = float("nan")
    return {
        "header-of-10-gb.safetensors": (10**10).to_bytes(8, "little") + best[8:],
        "header-deep.safetensors": (100_000).to_bytes(8, "little") + b"[" * 100_000,
        "header-of-many-names.safetensors": _many_names(),
        "shape-wrong.safetensors": _with(best, fc__bias=bias[:-1]),
        "shape-of-petabytes.safetensors": entry(shape=[1 << 25, 1 << 25], data_offsets=[0, 1 << 52]),
        "shape-negative.safetensors": entry(shape=[-1, -4]),
        "dtype-double.safetensors": _with(best, fc__bias=bias.double()),
        "dtype-unknown.safetensors": entry(dtype="OBJECT"),
        "values-nan.safetensors": _with(best, fc__bias=odd),
        "values-inf.safetensors": _with(best, fc__bias=bias / 0),
        "offsets-overlapping.safetensors": rebuilt(best, _overlap),
        "offsets-gapped.safetensors": rebuilt(best, lambda header: _shift(header, last)) + bytes(16),
        "offsets-beyond-the-end.safetensors": rebuilt(best, lambda header: _shift(header, last)),
        "names-too-many.safetensors": _with(best, evil=bias),
        "names-missing.safetensors": sealed(save({"fc.bias": bias}, {"charlm": "{}", "sha256": UNSEALED})),
        "name-of-a-path.safetensors": rebuilt(best, lambda header: header.update({"../../x\n": header.pop(last)})),
        "seal-broken.safetensors": best[:-1] + bytes([best[-1] ^ 1]),
        "cut-off.safetensors": best[:-5],
        "data-behind-the-end.safetensors": best + pickle.dumps("more"),
    }  # fmt: skip


def _many_names() -> bytes:
    names = b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % number for number in range(30_000))
    return (len(names) + 2).to_bytes(8, "little") + b"{" + names + b"}"


def _overlap(header: dict[str, Any]) -> None:
    """Two tensors in one place."""
    header["rnn.bias_hh_l0"]["data_offsets"] = header["rnn.bias_ih_l0"]["data_offsets"]


def _shift(header: dict[str, Any], name: str) -> None:
    header[name]["data_offsets"] = [offset + 16 for offset in header[name]["data_offsets"]]


def states(real: Members) -> Members:
    """Training states that lead nowhere."""
    resume = real["resume.safetensors"]
    tensors = load(resume)

    def told(**numbers: Any) -> bytes:
        def change(header: dict[str, Any]) -> None:
            about = header["__metadata__"]
            about["charlm"] = json.dumps({**json.loads(about["charlm"]), **numbers})

        return rebuilt(resume, change)

    moment = "optimizer.0.exp_avg"
    return {
        "state-step-negative.safetensors": told(step=-1), "state-step-of-text.safetensors": told(step="1"),
        "state-loss-endless.safetensors": told(loss_sum=float("inf")),
        "state-unjudged-odd.safetensors": told(unjudged={}),
        "state-moments-inf.safetensors": _with(resume, **{moment: tensors[moment] / 0}),
        "state-hidden-nan.safetensors": _with(resume, **{"hidden.0": tensors["hidden.0"] * float("nan")}),
        "state-hidden-of-many-rows.safetensors": _with(resume, **{"hidden.0": torch.zeros(1, 5000, 4)}),
        "state-generator-odd.safetensors": _with(resume, generator=torch.full_like(tensors["generator"], 255)),
    }  # fmt: skip


# --- zips ------------------------------------------------------------------------------------------------------------


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, mode: int = 0o100644) -> bytes:
    """A zip; `mode` is that of the members beyond the real ones."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (mode if name.startswith("odd") else 0o100644) << 16
            archive.writestr(info, data, method)
    return file.getvalue()


def zips(real: Members, canary: Path) -> Members:
    """Zips that lead elsewhere, unpack without end, or hide something."""
    evil = pickle.dumps(Payload(canary), 2)
    names = {
        "absolute": "/run.json", "parent": "../run.json", "parent-inside": "a/../../run.json",
        "backslash": "..\\run.json",
        "drive": "C:/run.json", "long": "x" * 5000, "line-end": "a\nb", "hidden-code": "conftest.py",
        "surprise": "resume.pkl", "empty-part": "a//b", "dot": "./x",
    }  # fmt: skip
    led = {f"zip-name-{what}.zip": zipped({**real, name: b"x"}) for what, name in names.items()}
    kinds = {"link": stat.S_IFLNK, "device": stat.S_IFCHR, "pipe": stat.S_IFIFO, "socket": stat.S_IFSOCK}
    special = {f"zip-{what}.zip": zipped({**real, "odd": b"/etc/passwd"}, mode=kind) for what, kind in kinds.items()}
    whole = zipped(real)
    return {
        **led, **special,
        "zip-pickle-as-weights.zip": zipped({**real, "best.safetensors": evil}),
        "zip-pickle-as-state.zip": zipped({**real, "resume.safetensors": evil}),
        "zip-torch-as-weights.zip": zipped({**real, "best.safetensors": _torch_file({"a": Payload(canary)})}),
        "zip-pickle-as-run-json.zip": zipped({**real, "run.json": evil}),
        "zip-pickle-as-tokenizer.zip": zipped({**real, "tokenizer.json": evil}),
        "zip-bomb-of-zeros.zip": zipped({**real, "samples.jsonl": bytes(100 << 20)}),
        "zip-bomb-of-rows.zip": zipped({**real, "metrics.jsonl": b'{"step":1}\n' * (8 << 20)}),
        "zip-bomb-quoted-overlap.zip": quoted_overlap(200), "zip-small-quoted-overlap.zip": quoted_overlap(4, 1_000),
        "zip-size-lied.zip": _size_lied(real),
        "zip-of-many-members.zip": zipped(real | {f"{number}": b"" for number in range(2_000)}),
        "zip-name-with-nul.zip": whole.replace(b"metrics.jsonl", b"metrics.json\0"),
        "zip-duplicate.zip": zipped({**real, "run.jso_": b"{}"}).replace(b"run.jso_", b"run.json"),
        "zip-encrypted.zip": _flagged(whole, 0x1), "zip-lzma.zip": zipped(real, zipfile.ZIP_LZMA),
        "zip-behind-a-program.zip": b"#!/bin/sh\nmkdir canary\n" + whole, "zip-with-a-comment.zip": _commented(whole),
        "zip-in-zip.zip": zipped({"run.zip": whole}), "zip-cut-off.zip": whole[:-30], "zip-empty.zip": zipped({}),
    }  # fmt: skip


def quoted_overlap(count: int, kernel: int = 1 << 20) -> bytes:
    """One kernel of zeros in every member: each quotes the header of the next as a stored block (Fifield 2019)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    plain, packed = bytes(kernel), packer.compress(bytes(kernel)) + packer.flush()
    whole, listed = b"", b""
    for number in reversed(range(count)):
        fields = (0, 8, 0, 0, zlib.crc32(plain), len(packed), len(plain), 4, 0)
        head = struct.pack("<4s5H3L2H", b"PK\3\4", 20, *fields) + b"%04d" % number
        at = number * (len(head) + 5)
        listed = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, *fields, 0, 0, 0, 0, at) + b"%04d" % number + listed
        whole = head + packed
        packed, plain = struct.pack("<BHH", 0, len(head), len(head) ^ 0xFFFF) + whole, head + plain
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, len(listed), len(whole), 0)
    return whole + listed + end


def _size_lied(real: Members) -> bytes:
    """A member of 50 MB of which both headers say that it is ten bytes long."""
    size = 50 << 20
    data = zipped({**real, "samples.jsonl": bytes(size)})
    return data.replace(struct.pack("<L", size), struct.pack("<L", 10))


def _flagged(data: bytes, flag: int) -> bytes:
    """All members of a zip marked, in both headers."""
    changed = bytearray(data)
    for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = changed.find(mark)
        while at >= 0:
            changed[at + place] |= flag
            at = changed.find(mark, at + 4)
    return bytes(changed)


def _commented(data: bytes) -> bytes:
    return data[:-2] + struct.pack("<H", 30) + b"PK\5\6" + bytes(26)


def descriptions(real: Members) -> Members:
    """Zips whose JSON says what no run says."""
    info, tokens = json.loads(real["run.json"]), json.loads(real["tokenizer.json"])["tokens"]

    def said(**changes: Any) -> bytes:
        return zipped({**real, "run.json": json.dumps({**info, **changes}).encode()})

    def spelled(*tokens: str) -> bytes:
        return zipped({**real, "tokenizer.json": json.dumps({"level": "char", "tokens": tokens}).encode()})

    def listed(tokens: list[str], merges: list[list[str]], level: str, regex: bool = False) -> bytes:
        model = {"type": "BPE" if level == "bpe" else "WordLevel", "unk_token": "<unk>", "merges": merges}
        held: dict[str, Any] = {"model": {**model, "vocab": {token: place for place, token in enumerate(tokens)}}}
        if regex:  # which would take forever, if it were used; the weights are of other sizes
            held["normalizer"] = {"type": "Replace", "pattern": {"Regex": "(a|a|aa)+$"}, "content": "a" * 10**4}
        other = {**info, "model": {**info["model"], "level": level, "embed_dim": 3}}
        told = {"run.json": json.dumps(other).encode(), "tokenizer.json": json.dumps(held).encode()}
        return zipped({**real, **told})

    deep = b'{"label":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    absurd = {**info["model"], "hidden_size": 4096, "num_layers": 8}
    return {
        "run-json-deep.zip": zipped({**real, "run.json": deep}),
        "run-json-twice.zip": zipped({**real, "run.json": b'{"run_id": 1,' + real["run.json"][1:]}),
        "run-json-unknown-setting.zip": said(model={**info["model"], "__class__": "os.system"}),
        "run-json-setting-of-code.zip": said(train={**info["train"], "learning_rate": "__import__('os')"}),
        "run-json-absurd-model.zip": said(model=absurd), "run-json-endless-number.zip": said(num_parameters=10**4000),
        "run-json-nan.zip": said(num_parameters=float("nan")), "run-json-corpus-a-list.zip": said(corpus=[1]),
        "run-json-label-of-2-mb.zip": said(label="<img src=x onerror=alert(1)>" * 75_000),
        "run-json-step-negative.zip": said(progress={**info["progress"], "step": -5}),
        "tokens-of-two-characters.zip": spelled(*tokens[:-1], "ab"),
        "tokens-twice.zip": spelled(*tokens[:-1], tokens[0]),
        "tokens-half.zip": spelled(*tokens[:-1], "\ud800"), "tokens-too-few.zip": spelled(*tokens[:-1]),
        "tokens-too-many.zip": spelled(*tokens, "\u0416"),
        "tokens-of-10-mb.zip": spelled(*(chr(256 + n) for n in range(50_000))),
        "words-with-a-regex.zip": listed(["<unk>", *map(str, range(len(tokens) - 1))], [], "word", regex=True),
        "words-without-unknown.zip": listed(tokens, [], "word"),
        "words-too-long.zip": listed(["<unk>", *(str(n) * 99 for n in range(len(tokens) - 1))], [], "word"),
        "merges-of-nothing.zip": listed(tokens, [["ab", "c"]], "bpe"),
        "merges-that-grow.zip": listed(tokens, [["a" * 2**n, "a" * 2**n] for n in range(8)], "bpe"),
    }  # fmt: skip


# --- texts -----------------------------------------------------------------------------------------------------------


def texts() -> Members:
    """Texts that unpack without end, or are no texts."""
    bomb = gzip.compress(bytes(200 << 20), 9)
    return {
        "gzip-bomb.txt.gz": gzip.compress(b"ab" * (100 << 20), 9), "gzip-in-gzip.txt.gz": gzip.compress(bomb),
        "bzip2-bomb.txt.bz2": bz2.compress(b"a" * (8 << 20)), "xz-bomb.txt.xz": lzma.compress(b"ab" * (8 << 20)),
        "gzip-cut-off.csv.gz": bomb[: len(bomb) // 2], "gzip-renamed.txt": bomb,
        "json-deep.json": b'[{"text":' + b"[" * 500_000 + b"]" * 500_000 + b"}]",
        "json-deep-lines.jsonl": (b'{"text":' + b'{"a":' * 900 + b"1" + b"}" * 901 + b"\n") * 9,
        "json-long-list.json": b"[" + b"{}," * 600_000 + b"{}]", "json-open-string.json": b'["' + b'\\"' * 900_000,
        "csv-of-cells.csv": b"text,n\n" + b",\n" * 900_000, "tsv-of-cells.tsv": b"text\tn\n" + b"\t\n" * 900_000,
        "json-of-strings.json": b"[" + b'"",' * 600_000 + b'""]', "jsonl-of-strings.jsonl": b'""\n' * 600_000,
        "csv-of-columns.csv": b"," * 1_900_000, "nul-bytes.txt": bytes(100_000),
        "zip-renamed.txt": zipped({"a.txt": b"a"}), "program.txt": b"\x7fELF" + bytes(range(256)) * 40,
    }  # fmt: skip


def frameworks() -> Members:
    """Files of other programs that lead elsewhere, lie about sizes, or hold code."""
    from tests.fuzz.frameworks import RECORDED, zip_of

    ml5, checkpoint = RECORDED / "ml5", RECORDED / "tensorflow"
    manifest = json.loads((ml5 / "manifest.json").read_text())
    index = (checkpoint / "model.ckpt-7.index").read_bytes()
    data = (checkpoint / "model.ckpt-7.data-00000-of-00001").read_bytes()

    def folder(**fields: Any) -> bytes:
        changed = {**manifest, "embedding": {**manifest["embedding"], **fields}}
        return zip_of(ml5, **{"manifest.json": json.dumps(changed).encode()})

    huge = {"n": 1 << 40, "d": 1 << 40, "w": {}}
    letters = json.loads((RECORDED / "recurrentjs-lstm" / "model.json").read_text())
    letters["model"]["Wil"] = huge
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999, 9), }\n"
    lying = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(16)
    code = b"{'descr': __import__('os'), 'fortran_order': False, 'shape': (3,), }\n"
    coded = b"\x93NUMPY\x01\x00" + len(code).to_bytes(2, "little") + code + bytes(12)
    return {
        "ml5-file-of-the-system.zip": folder(filename="/etc/passwd"), "ml5-file-above.zip": folder(filename="../a"),
        "ml5-shape-of-petabytes.zip": folder(shape=[1 << 40, 1 << 40]), "ml5-shape-of-text.zip": folder(shape="12"),
        "recurrentjs-of-petabytes.zip": zipped({"model.json": json.dumps(letters).encode()}),
        "recurrentjs-deep.zip": zipped({"model.json": b'{"model": {}, "hidden_sizes": ' + b"[" * 90_000}),
        "npz-of-petabytes.zip": zipped({"a.npy": lying}), "npz-header-that-runs.zip": zipped({"a.npy": coded}),
        "tensorflow-half.zip": zipped({"model.index": index, "model.data-00000-of-00001": data[:200]}),
        "tensorflow-index-cut.zip": zipped({"model.index": index[60:], "model.data-00000-of-00001": data}),
        "hdf5-alone.zip": zipped({"model.h5": b"\x89HDF\r\n\x1a\n" + bytes(600)}),
    }  # fmt: skip


def documents() -> Members:
    """Documents that unpack or expand without end, lead elsewhere, or take their readers for ever."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "ha" * 50}">' for n in range(9))
    laughs = f"<!DOCTYPE x [{entities}]>"
    outside = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
    container = "<container><rootfiles><rootfile full-path='{}'/></rootfiles></container>"
    start = "META-INF/container.xml"
    huge = (0x7FFFFFFF).to_bytes(4, "little")
    return {
        "docx-bomb.docx": word("<w:p/>" * 12_000_000), "docx-laughs.docx": _before(word("<w:p>&e8;</w:p>"), laughs),
        "docx-outside.docx": _before(word("<w:p><w:r><w:t>&e;</w:t></w:r></w:p>"), outside),
        "docx-deep.docx": word("<w:p>" * 90_000 + "</w:p>" * 90_000),
        "epub-laughs.epub": zipped({start: f"{laughs}<x>&e8;</x>".encode()}),
        "epub-elsewhere.epub": zipped({start: container.format("../../etc/passwd").encode()}),
        "epub-of-itself.epub": zipped({start: container.format(start).encode()}),
        "html-of-tags.html": b"<b>" * 200_000, "html-scripts.html": b"<script>" * 200_000,
        "rtf-deep.rtf": b"{\\rtf1" + b"{" * 1_900_000, "rtf-groups.rtf": b"{\\rtf1" + b"{\\pict}" * 200_000 + b"}",
        "notebook-deep.ipynb": b"[" * 1_000_000, "notebook-of-cells.ipynb": b'{"cells":[' + b"{}," * 500_000 + b"{}]}",
        "subtitles-of-times.srt": b"00:00:00,000 --> 00:00:01,000\n" * 60_000,
        "sami-of-tags.smi": b"<SAMI>" + b"<SYNC Start=1><P>" * 90_000, "fb2-of-binaries.fb2": b"<binary>" * 200_000,
        "cues-of-names.vtt": b"WEBVTT\n\n" + b"NOTE a\n\n" * 90_000, "odt-bomb.odt": _office(b"<text:p/>" * 12_000_000),
        "mail-deep.eml": b"".join(_part % (number, number) for number in range(5000)),
        "mails-of-nothing.mbox": b"From a 2021\n\n" * 90_000,
        "pdf-cut-off.pdf": pdf()[:200], "pdf-encrypted.pdf": pdf(more="/Encrypt 1 0 R "),
        "pdf-pages-of-itself.pdf": pdf().replace(b"/Kids [3 0 R]", b"/Kids [2 0 R]"),
        "parquet-huge-footer.parquet": b"PAR1" + bytes(99) + huge + b"PAR1",
        "parquet-of-noise.parquet": b"PAR1" + bytes(range(256)) * 40 + (9000).to_bytes(4, "little") + b"PAR1",
        "zip-of-bombs.zip": zipped({f"{number}.txt": b"ab" * (1 << 20) for number in range(30)}),
        "zip-of-zips.zip": zipped({"a.zip": zipped({"a.txt": b"ab"})}),
    }  # fmt: skip


_part = b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n'


def _office(text: bytes) -> bytes:
    """An OpenDocument text."""
    return zipped({"mimetype": b"", "content.xml": b"<office:text>" + text + b"</office:text>"})


def _before(document: bytes, declared: str) -> bytes:
    """A Word file with a declaration before its text."""
    with zipfile.ZipFile(io.BytesIO(document)) as archive:
        members = {one: archive.read(one) for one in archive.namelist()}
    members["word/document.xml"] = declared.encode() + members["word/document.xml"]
    return zipped(members)


def attacks(run: Run, canary: Path) -> Members:
    """All hostile files, by name; made from the files of a real run."""
    real = real_members(run)
    made = {**pickles(canary), **weights(real), **states(real), **zips(real, canary), **descriptions(real)}
    return {**made, **texts(), **frameworks(), **documents()}


def main() -> None:
    """Write them into the folder that the command line names."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ["CHARLM_DATA"] = f"{home}/data"
        made = attacks(real_run(Path(home)), folder / "canary")
    for name, data in made.items():
        (folder / name).write_bytes(data)
    print(f"{len(made)} hostile files in {folder}")


if __name__ == "__main__":
    main()
