"""Files made to run code, to fill the memory or to take forever are refused before torch sees them."""

import gzip
import io
import os
import pickle
import subprocess
import sys
import tarfile
import time
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from charlm.errors import CheckpointError
from charlm.formats import torch_files
from charlm.formats.detect import LEGACY, describe_pickle, is_pickle, kind_of
from charlm.formats.imports import import_file
from charlm.formats.torch_files import InertReader
from charlm.runs.store import SHIPPED, RunStore
from tests.formats.models import udacity_file
from tests.patience import patience

HUGE = 1 << 38  # floats: a terabyte


@pytest.fixture(autouse=True)
def torch_never_opens_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_files, "_load", lambda file, name: pytest.fail("a hostile file reached torch"))


class Canary:
    """Runs a command if it is ever unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch CANARY",)


class Stored:
    """A storage that is only named."""

    def __init__(self, numel: Any, key: Any = "0", kind: Any = torch.FloatStorage, more: tuple[Any, ...] = ()) -> None:
        self.id = ("storage", kind, key, "cpu", numel, *more)


class Made:
    """A tensor with whatever sizes are told."""

    def __init__(self, numel: Any, offset: Any, size: Any, stride: Any) -> None:
        self.told = (Stored(numel), offset, size, stride, False, OrderedDict())

    def __reduce__(self) -> Any:
        return torch._utils._rebuild_tensor_v2, self.told


class Naming(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.id if isinstance(obj, Stored) else None


def pickled(value: Any, protocol: int = 2) -> bytes:
    out = io.BytesIO()
    Naming(out, protocol).dump(value)
    return out.getvalue()


def zipped(data: bytes, floats: int = 4, method: int = zipfile.ZIP_STORED, **more: bytes) -> bytes:
    """A file as torch.save makes it, around a pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/data/0", bytes(4 * floats))
        for name, content in more.items():
            archive.writestr(f"archive/{name.replace('__', '.')}", content)
    return out.getvalue()


def old(value: Any, keys: Any = ("0",), floats: int = 4) -> bytes:
    """A file as torch.save made it before 1.6."""
    parts = [LEGACY, pickled(1001), pickled({"little_endian": True}), pickled(value), pickled(list(keys))]
    return b"".join(parts) + floats.to_bytes(8, "little") + bytes(4 * floats)


def tarred(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def laughing() -> bytes:
    """Tuples of tuples: hashing it as a key takes 2^200 steps."""
    value: Any = ()
    for _ in range(200):
        value = (value, value)
    return b"\x80\x02}" + pickle.dumps(value, 2)[2:-1] + b"K\x00s."


def doubled() -> bytes:
    """A zip with two members of one name, the second one hostile."""
    out = io.BytesIO(zipped(pickled({})))
    with zipfile.ZipFile(out, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data.pkl", pickled(Canary()))
    return out.getvalue()


def overlaid() -> bytes:
    """A zip whose second member is said to begin where the first one does."""
    data = bytearray(zipped(pickled({})))
    second = data.rfind(b"PK\x01\x02")
    data[second + 42 : second + 46] = bytes(4)
    return bytes(data)


def crowded() -> bytes:
    """A zip that says it lists a gigabyte of members."""
    data = bytearray(zipped(pickled({})))
    data[-10:-6] = (1 << 30).to_bytes(4, "little")
    return bytes(data)


def keyed(value: Any) -> bytes:
    """An OrderedDict with an attribute over one of its methods."""
    found = OrderedDict(a=1)
    found.keys = value  # type: ignore[method-assign]
    return pickled(found)


CODE: dict[str, Callable[[], bytes]] = {
    **{f"pickle {protocol}": lambda protocol=protocol: pickle.dumps(Canary(), protocol) for protocol in range(6)},
    "a text that runs": lambda: b"cos\nsystem\n(S'touch CANARY'\ntR.",
    "an instance": lambda: b"(S'touch CANARY'\nios\nsystem\n.",
    "in a torch zip": lambda: zipped(pickled({"a": Canary()})),
    "in an old torch file": lambda: old({"a": Canary()}),
    "by a stack of names": lambda: zipped(pickle.dumps({"a": Canary()}, 4)),
    "instead of the protocol": lambda: LEGACY + pickle.dumps(Canary(), 2) * 4,
    "a TorchScript program": lambda: zipped(pickled({}), constants__pkl=b"", code=b"x"),
    "gzip": lambda: gzip.compress(pickle.dumps(Canary())),
    "tar": lambda: tarred("model", pickle.dumps(Canary())),
    "zip in gzip in zip": lambda: zipped(b"", x=gzip.compress(zipped(b"", y=pickle.dumps(Canary())))),
    "as a run": lambda: zipped(b"", run__json=b"{}", best__safetensors=pickle.dumps(Canary())),
    "two of one name": doubled,
}
BOMBS: dict[str, Callable[[], bytes]] = {
    "a huge storage": lambda: zipped(pickled(Made(HUGE, 0, (2, 2), (2, 1)))),
    "a huge old storage": lambda: old(Made(HUGE, 0, (2, 2), (2, 1))),
    "a storage without end": lambda: zipped(pickled(Made(1 << 400, 0, (2,), (1,)))),
    "many old storages": lambda: old([Stored(4, str(key)) for key in range(9)], map(str, range(9))),
    "a tensor beyond its storage": lambda: zipped(pickled(Made(4, 0, (HUGE,), (1,)))),
    "a repeated tensor": lambda: zipped(pickled(Made(4, 0, (1 << 20, 1 << 19), (0, 0)))),
    "an offset beyond": lambda: zipped(pickled(Made(4, 4, (1,), (1,)))),
    "a negative offset": lambda: zipped(pickled(Made(4, -1, (1,), (1,)))),
    "a negative size": lambda: zipped(pickled(Made(4, 0, (-1, -1), (1, 1)))),
    "a broken size": lambda: zipped(pickled(Made(4, 0, (1.5,), (1,)))),
    "a text as size": lambda: zipped(pickled(Made(4, 0, "12", (1, 1)))),
    "too little stored": lambda: zipped(pickled(Made(4, 0, (2, 2), (2, 1))), floats=3),
    "a storage of two sizes": lambda: zipped(pickled([Made(4, 0, (1,), (1,)), Made(3, 0, (1,), (1,))])),
    "an unknown storage": lambda: zipped(pickled(Stored(4, kind=torch.QInt8Storage))),
    "a view of a storage": lambda: old(Stored(4, more=(("1", 0, 2),))),
    "a storage by number": lambda: zipped(pickled(Stored(4, key=7))),
    "nested tuples as a key": lambda: zipped(laughing()),
    "a million values": lambda: zipped(pickled([None] * 1_000_000)),
    "compressed zeros": lambda: zipped(bytes(50 << 20), method=zipfile.ZIP_DEFLATED),
    "members over each other": overlaid,
    "too many members": crowded,
    "a method as attribute": lambda: zipped(keyed(1)),
    "marks only": lambda: zipped(b"\x80\x02" + b"(" * 1000 + b"."),
    "bytes without end": lambda: LEGACY + b"\x80\x05\x96" + bytes(7) + b"\x7f.",
    "two of one name but for the case": lambda: zipped(pickled({}), DATA__PKL=pickled(Made(HUGE, 0, (2,), (1,)))),
    "nothing": lambda: b"",
    "an empty zip": lambda: b"PK\x05\x06" + bytes(18),
    "half a file": lambda: zipped(pickled(Made(4, 0, (2, 2), (2, 1))))[:200],
    "half an old file": lambda: old(Made(4, 0, (2, 2), (2, 1)))[:-8],
    "a long safetensors header": lambda: (1 << 60).to_bytes(8, "little") + b"{}",
}
ATTACKS = CODE | BOMBS


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_in_a_sentence_within_a_second(
    name: str, store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pt"
    path.write_bytes(ATTACKS[name]())
    began = time.thread_time()
    with pytest.raises(CheckpointError, match=r"model\.pt") as refused:
        import_file(store, path)
    assert time.thread_time() - began < 1.0
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400
    assert store.list() == [] and not Path("CANARY").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".zip", ".txt", ""])
@pytest.mark.parametrize("name", CODE)
def test_a_public_server_opens_no_pickle_whatever_its_name(
    name: str, suffix: str, store: RunStore, tmp_path: Path
) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(CODE[name]())
    with pytest.raises(CheckpointError, match=r"a pickle can run programs.*on your own machine.*export the run as zip"):
        import_file(store, path, pickles=False)


def test_a_public_server_refuses_good_pickles_too_and_nothing_else(store: RunStore, tmp_path: Path) -> None:
    for legacy in (False, True):
        udacity_file(tmp_path / "good.net", legacy=legacy)
        assert describe_pickle(tmp_path / "good.net") == "a pickle of torch.save"
        with pytest.raises(CheckpointError, match=r"good\.net is a pickle of torch\.save, and a pickle can run"):
            import_file(store, tmp_path / "good.net", pickles=False)
    shipped = SHIPPED / "sherlock-rnn" / "best.safetensors"
    assert describe_pickle(shipped) == "" and kind_of(shipped) == "safetensors"
    assert import_file(store, shipped, pickles=False).arch == "rnn"


def test_a_model_of_gguf_is_told_where_it_belongs(store: RunStore, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"GGUF" + (3).to_bytes(4, "little") + bytes(99))
    with pytest.raises(
        CheckpointError, match=r"model\.bin is a pretrained model \(GGUF\).* load it beside your own in"
    ):
        import_file(store, tmp_path / "model.bin")


@pytest.mark.parametrize("content", [b'{"a": 1}\n{"b": 2}\n', b"Es war einmal.", b"\xff" * 99, b"N.", bytes(99)])
def test_what_is_no_pickle(content: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as archive:
        archive.writestr("run/run.json", b"{}")
        archive.writestr("run/metrics.jsonl", content if content != b"N." else b"[]")
    assert describe_pickle(tmp_path / "run.zip") == "" and kind_of(tmp_path / "run.zip") == "run"


def test_dicts_that_hold_each_other_are_looked_into_once() -> None:
    ring: dict[str, Any] = {"w": torch.ones(2)}
    ring |= {str(place): ring for place in range(1000)}
    wide: Any = {"chars": "ab"}
    for _ in range(4):
        wide = {"chars": "ab"} | dict.fromkeys(map(str, range(5000)), wide)
    began = time.thread_time()
    assert torch_files.found_tensors(ring).keys() == {"w"} and torch_files.found_facts(wide)["chars"] == "ab"
    assert time.thread_time() - began < 1.0


def test_size_and_place_are_looked_at_first(store: RunStore, tmp_path: Path) -> None:
    udacity_file(tmp_path / "a.net")
    with pytest.raises(CheckpointError, match=r"a\.net has 0\.0 MB; at most 0\.0 MB"):
        import_file(store, tmp_path / "a.net", most_bytes=100)
    with pytest.raises(CheckpointError, match=r"there is no file .*nobody\.pt"):
        import_file(store, tmp_path / "nobody.pt")
    with pytest.raises(CheckpointError, match="is no file"):
        import_file(store, tmp_path)


def test_a_refusal_does_not_even_load_torch(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "model.pt").write_bytes(zipped(pickled({"a": Canary()})))
    code = """if True:
        import sys
        from charlm.cli import main
        sys.exit(main(["import", sys.argv[1]]) + 5 * ("torch" in sys.modules))"""
    command = [sys.executable, "-c", code, str(tmp_path / "model.pt")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=patience(120))
    assert (done.returncode, done.stdout) == (2, "") and "posix.system" in done.stderr and done.stderr.count("\n") == 1


def test_the_length_of_a_header_is_no_pickle() -> None:
    """Protocol 2 begins as the length of a safetensors' header of 640 bytes does."""
    for length in range(8, 1 << 12, 8):
        assert not is_pickle(length.to_bytes(8, "little") + b'{"a":')
    assert is_pickle(pickle.dumps([1], 2)[:3]) and is_pickle(pickle.dumps(None, 2))


def test_a_strangers_name_is_said_in_one_line(tmp_path: Path, store: RunStore) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(LEGACY + b"\x80\x02cos\x0b\nsy\x1bst\x85em\n)R.")
    with pytest.raises(CheckpointError) as refused:
        import_file(store, path)
    assert str(refused.value).isprintable()


def test_escapes_in_a_hostile_pickle_warn_nobody(tmp_path: Path) -> None:
    path = tmp_path / "odd.pkl"
    path.write_bytes(b"S'\\d\\q'\n.")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert kind_of(path) == "pickle"
        with path.open("rb") as file, pytest.raises(CheckpointError, match="opcode STRING"):
            InertReader("odd.pkl").read(file)
