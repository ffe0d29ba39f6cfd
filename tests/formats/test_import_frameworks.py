"""Models of other programs compute here what they computed there: of each a small file of ours, and its own logits."""

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from charlm.config import SampleConfig
from charlm.errors import CheckpointError
from charlm.formats.detect import kind_of
from charlm.formats.frameworks.hdf5 import read_hdf5
from charlm.formats.frameworks.tensorflow import read_index
from charlm.formats.imports import import_file
from charlm.generation.generate import generate
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from charlm.tokenizers import CharTokenizer
from tests.formats.models import TOKENS, Foreign
from tests.formats.recorded.make import IDS, MAKERS

RECORDED, REPOSITORY = Path(__file__).parent / "recorded", Path(__file__).parents[2]
HAS_H5PY = importlib.util.find_spec("h5py") is not None
NAMES = sorted(MAKERS)
IN_HDF5 = [name for name in NAMES if name.startswith("keras")]
# What a name does not end with, and who says of itself to use relu.
ARCHS = {
    "keras-h5": "lstm", "keras-h5-functional": "lstm", "keras-weights": "gru", "keras-subclass": "gru",
    "tensorflow": "lstm", "tensorflow-keras": "gru", "ml5": "lstm",
}  # fmt: skip
RELU = {name: "relu" for name in ("keras-rnn", "recurrentjs-rnn", "recurrentjs-lstm")}
TOKEN_IDS = torch.tensor([[1, 4, 2, 1], [3, 5, 7, 2]])


def needs_h5py(name: str = "keras") -> None:
    if name in IN_HDF5 and not HAS_H5PY:
        pytest.skip("h5py is not installed")


def assert_computes(run: Run, expected: Any) -> None:
    """The run's model gives these logits, up to what softmax takes away."""
    tokenizer = run.tokenizer()
    ids = torch.tensor(IDS) + tokenizer.tokens.index(TOKENS[0])  # recurrentjs' ids begin at 1
    with torch.no_grad():
        own = torch.log_softmax(run.load_model()(ids)[0], -1)
    torch.testing.assert_close(own, torch.log_softmax(torch.tensor(expected), -1).float(), atol=1e-4, rtol=0)
    assert tokenizer.tokens[-len(TOKENS) :] == list(TOKENS)


def recorded(name: str) -> tuple[Path, Any]:
    """A file that was written by its own program, and the logits."""
    about = json.loads((RECORDED / name / "expected.json").read_text())
    return RECORDED / name / about["file"], about["logits"]


@pytest.mark.parametrize("name", NAMES)
def test_what_another_program_wrote_computes_the_same(name: str, store: RunStore) -> None:
    needs_h5py(name)
    path, logits = recorded(name)
    run = import_file(store, path, label="theirs")
    assert (run.label, run.arch) == ("theirs", ARCHS.get(name) or name.rpartition("-")[2])
    assert run.model_config.nonlinearity == (RELU.get(name, "tanh"))
    assert_computes(run, logits)


@pytest.mark.parametrize("name", NAMES)
def test_a_zip_of_its_folder_will_do(name: str, store: RunStore, tmp_path: Path) -> None:
    needs_h5py(name)
    path, logits = recorded(name)
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for member in path.parent.iterdir():
            if member.name != "expected.json":
                archive.write(member, f"inside/{member.name}")
    run = import_file(store, tmp_path / "bundle.zip")
    assert run.label == "bundle" and run.imported["file"] == "bundle.zip"
    assert_computes(run, logits)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_what_the_program_itself_writes_now_computes_the_same(name: str, store: RunStore, tmp_path: Path) -> None:
    for package in MAKERS[name][1]:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    if name.startswith("recurrentjs") and "RECURRENTJS" not in os.environ:
        pytest.skip("RECURRENTJS names no source of recurrentjs")
    subprocess.run(
        [sys.executable, "-m", "tests.formats.recorded.make", str(tmp_path), name],
        check=True,
        timeout=600,
        cwd=REPOSITORY,
    )  # in a process of its own: these do not stand beside each other
    about = json.loads((tmp_path / name / "expected.json").read_text())
    assert_computes(import_file(store, tmp_path / name / about["file"]), about["logits"])


def test_data_stand_for_their_index(store: RunStore) -> None:
    path, logits = recorded("tensorflow")
    assert_computes(import_file(store, path.with_name("model.ckpt-7.data-00000-of-00001")), logits)


def test_recurrentjs_letters_end_a_text_where_it_ends(store: RunStore) -> None:
    run = import_file(store, recorded("recurrentjs-lstm")[0])
    tokenizer = run.tokenizer()
    assert isinstance(tokenizer, CharTokenizer)
    assert (tokenizer.tokens[0], tokenizer.begin_id, tokenizer.end_id) == ("<START/END>", 0, 0)
    lengths = set()
    for seed in range(6):
        text = "".join(generate(run.load_model(), tokenizer, "", SampleConfig(length=500, seed=seed, temperature=2.0)))
        assert set(text) <= set(TOKENS)
        lengths.add(len(text))
    assert min(lengths) < 500


# --- safetensors and npz of others ------------------------------------------------------------------------------------


def net() -> Foreign:
    return Foreign(torch.nn.GRU, ("embedding", "gru", "fc"))


def same(run: Run, model: Foreign) -> None:
    with torch.no_grad():
        torch.testing.assert_close(run.load_model()(TOKEN_IDS)[0], model(TOKEN_IDS), atol=1e-5, rtol=1e-4)
    assert run.tokenizer().tokens == list(TOKENS)


@pytest.mark.parametrize(
    "about",
    [{"chars": json.dumps(list(TOKENS))}, {"stoi": json.dumps({one: at for at, one in enumerate(TOKENS)})},
     {"format": "pt", "vocab": "".join(TOKENS)}, {"config": json.dumps({"arch": 1, "itos": dict(enumerate(TOKENS))})}],
    ids=["list", "table", "text", "nested"],
)  # fmt: skip
def test_safetensors_with_characters_in_its_metadata(about: dict[str, str], store: RunStore, tmp_path: Path) -> None:
    model = net()
    save_file(model.state_dict(), tmp_path / "model.safetensors", metadata=about)
    same(import_file(store, tmp_path / "model.safetensors"), model)
    same(import_file(store, tmp_path / "model.safetensors", pickles=False), model)


@pytest.mark.parametrize("name", ["model.json", "vocab.json", "chars.txt", "elsewhere.json", "lines.txt", "zip"])
@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_arrays_with_characters_beside_them(kind: str, name: str, store: RunStore, tmp_path: Path) -> None:
    model, path = net(), tmp_path / f"model.{kind}"
    if kind == "npz":
        np.savez(path, **{key: part.numpy() for key, part in model.state_dict().items()})  # type: ignore[arg-type]
    else:
        save_file(model.state_dict(), path)
    with pytest.raises(CheckpointError, match=rf"model\.{kind} does not say which characters its 12 ids.*--characters"):
        import_file(store, path)
    listed = tmp_path / ("vocab.json" if name == "zip" else name)
    listed.write_text("".join(TOKENS) if name == "chars.txt" else json.dumps(list(TOKENS)), encoding="utf-8")
    if name == "zip":
        with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
            archive.write(path, path.name)
            archive.write(listed, listed.name)
        same(import_file(store, tmp_path / "both.zip", pickles=False), model)
        return
    given = listed if name in ("elsewhere.json", "lines.txt") else None
    same(import_file(store, path, characters=given), model)


@pytest.mark.parametrize("name", ["charset_of_mine.json", "config.json", "deep/letters.txt"])
def test_in_a_zip_the_list_may_have_any_name(name: str, store: RunStore, tmp_path: Path) -> None:
    model = net()
    torch.save({"model": model.state_dict()}, tmp_path / "model.pt")
    listed = "".join(TOKENS) if name.endswith(".txt") else json.dumps({"hidden": 8, "chars": list(TOKENS)})
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        archive.write(tmp_path / "model.pt", "model.pt")
        archive.writestr("README.txt", "How it was trained, in 12 lines.")
        archive.writestr(name, listed)
    same(import_file(store, tmp_path / "both.zip"), model)
    with pytest.raises(CheckpointError, match=r"both\.zip is an archive with a pickle inside"):
        import_file(store, tmp_path / "both.zip", pickles=False)


def test_characters_in_an_array_of_texts(store: RunStore, tmp_path: Path) -> None:
    model = net()
    arrays = {key: part.numpy() for key, part in model.state_dict().items()}
    np.savez(tmp_path / "model.npz", chars=np.array(TOKENS), **arrays)  # type: ignore[arg-type]
    same(import_file(store, tmp_path / "model.npz"), model)


def npz_of(*arrays: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for place, data in enumerate(arrays):
            archive.writestr(f"a{place}.npy", data)
    return out.getvalue()


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "said"),
    [(npz_of(npy(np.array([{"a": 1}], dtype=object))), "Python objects"), (npz_of(npy(np.zeros(3))[:-4]), "cut off"),
     (npz_of(b"\x93NUMPY"), "cannot be read"), (npz_of(npy(np.array([1j]))), "complex"),
     (npz_of(npy(np.zeros(3))), "does not fit"),
     (npz_of(npy(np.zeros(3)).replace(b"(3,)", b"(9,)")), "longer than it says")],
    ids=["objects", "short", "nothing", "complex", "no model", "lies"],
)  # fmt: skip
def test_arrays_that_are_no_model_are_refused(data: bytes, said: str, store: RunStore, tmp_path: Path) -> None:
    (tmp_path / "odd.npz").write_bytes(data)
    with pytest.raises(CheckpointError, match=said):
        import_file(store, tmp_path / "odd.npz")


# --- what is refused, and why -----------------------------------------------------------------------------------------


def keras_config(change: Callable[[list[Any]], Any], folder: Path, name: str = "keras-lstm") -> Path:
    """A recorded .keras file with another configuration."""
    path = folder / "other.keras"
    with zipfile.ZipFile(recorded(name)[0]) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.namelist():
            data = old.read(member)
            if member == "config.json":
                config = json.loads(data)
                change(config["config"]["layers"])
                data = json.dumps(config).encode()
            new.writestr(member, data)
    (folder / "vocab.json").write_text(json.dumps(list(TOKENS)))
    return path


def setting(kind: str, **changes: Any) -> Callable[[list[Any]], None]:
    def change(layers: list[Any]) -> None:
        next(layer for layer in layers if layer["class_name"] == kind)["config"].update(changes)

    return change


def renamed(old: str, new: str) -> Callable[[list[Any]], None]:
    def change(layers: list[Any]) -> None:
        next(layer for layer in layers if layer["class_name"] == old)["class_name"] = new

    return change


KERAS_REFUSALS: dict[str, tuple[Callable[[list[Any]], None], str, str]] = {
    "reset": (setting("GRU", reset_after=False), "keras-gru", "has reset_after=False: it multiplies the state by"),
    "hard": (setting("LSTM", recurrent_activation="hard_sigmoid"), "keras-lstm", "recurrent_activation 'hard_sigmoid'"),
    "relu": (setting("LSTM", activation="relu"), "keras-lstm", "activation 'relu'"),
    "backwards": (setting("LSTM", go_backwards=True), "keras-lstm", "reads the text backwards"),
    "both ways": (renamed("LSTM", "Bidirectional"), "keras-lstm", "another layer, 'l9' .Bidirectional"),
    "norm": (renamed("Dropout", "LayerNormalization"), "keras-lstm", "LayerNormalization"),
    "masked": (setting("Embedding", mask_zero=True), "keras-gru", r"pass over .*, the character with id 0"),
    "attention": (renamed("Dropout", "Attention"), "keras-lstm", "a layer of attention"),
    "sigmoid": (setting("Dense", activation="sigmoid"), "keras-lstm", "'aaa' has the activation 'sigmoid'"),
    "order": (lambda layers: layers.insert(2, layers.pop(1)), "keras-gru", "does not follow"),
}


@pytest.mark.parametrize("name", KERAS_REFUSALS)
def test_keras_layers_that_compute_otherwise_are_refused(name: str, store: RunStore, tmp_path: Path) -> None:
    needs_h5py()
    change, base, said = KERAS_REFUSALS[name]
    with pytest.raises(CheckpointError, match=said):
        import_file(store, keras_config(change, tmp_path, base))
    assert store.list() == []


def test_padding_that_is_masked_is_no_character(store: RunStore, tmp_path: Path) -> None:
    needs_h5py()
    path = keras_config(setting("Embedding", mask_zero=True), tmp_path, "keras-gru")
    (tmp_path / "vocab.json").write_text(json.dumps(["<PAD>", *TOKENS[1:]]))
    assert import_file(store, path).tokenizer().silent_ids == (0,)


def test_textgenrnn_is_told_why_not(store: RunStore, tmp_path: Path) -> None:
    needs_h5py()
    import h5py

    with h5py.File(tmp_path / "textgenrnn_weights.hdf5", "w") as file:
        for path in ("embedding/embedding/embeddings:0", "rnn_1/rnn_1/kernel:0", "attention/attention/attention_W:0"):
            file[path] = np.zeros((4, 4), np.float32)
    with pytest.raises(CheckpointError, match="it is textgenrnn's: its output reads an attention"):
        import_file(store, tmp_path / "textgenrnn_weights.hdf5")


def test_hdf5_is_not_opened_for_visitors(store: RunStore) -> None:
    for name in ("keras-lstm", "keras-h5"):
        with pytest.raises(CheckpointError, match=r"whose parser is not run on strangers' files here.*own machine"):
            import_file(store, recorded(name)[0], pickles=False)


def test_without_h5py_it_is_said_what_to_install(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "h5py.py").write_text("raise ImportError('none here')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CheckpointError, match=r"h5py, which is not installed: pip install h5py"):
        import_file(store, recorded("keras-h5")[0])


def test_an_hdf5_file_reads_no_other(tmp_path: Path) -> None:
    """Links, virtual datasets and external storage lead to other files of this machine."""
    needs_h5py()
    import h5py

    secret = tmp_path / "secret"
    secret.write_bytes(np.arange(8, dtype=np.float32).tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.ones(3)
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["good"] = np.arange(3.0)
        file["soft"], file["far"] = h5py.SoftLink("/good"), h5py.ExternalLink(str(tmp_path / "other.h5"), "/x")
        file.create_dataset("outside", (8,), np.float32, external=[(str(secret), 0, 32)])
        layout = h5py.VirtualLayout((3,), np.float64)
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (3,))
        file.create_virtual_dataset("virtual", layout)
    assert read_hdf5(tmp_path / "model.h5", 1 << 20).arrays.keys() == {"good"}


def test_an_hdf5_file_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    needs_h5py()
    import h5py

    with h5py.File(tmp_path / "bomb.h5", "w") as file:
        file.create_dataset("zeros", (1 << 27,), np.float32, chunks=(1 << 20,), compression="gzip")
    with pytest.raises(CheckpointError, match="unpacks to more than 1,000,000 bytes"):
        read_hdf5(tmp_path / "bomb.h5", 1_000_000)


def test_the_child_is_told_nothing_secret(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_h5py()
    told: list[dict[str, str]] = []
    begin = subprocess.Popen

    def watched(*words: Any, env: dict[str, str], **options: Any) -> Any:
        told.append(env)
        return begin(*words, env=env, **options)

    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr("charlm.data.confined.subprocess.Popen", watched)
    import_file(store, recorded("keras-h5")[0])
    assert told and all("HF_TOKEN" not in env and "PATH" in env for env in told)


def test_a_manifest_names_no_file_elsewhere(store: RunStore, tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "ml5", tmp_path / "ml5")
    manifest = json.loads((tmp_path / "ml5" / "manifest.json").read_text())
    for name in ("../secret", "/etc/passwd", "..", "nobody", ""):
        changed = {**manifest, "embedding": {**manifest["embedding"], "filename": name}}
        (tmp_path / "ml5" / "manifest.json").write_text(json.dumps(changed))
        with pytest.raises(CheckpointError, match=r"no name of a file beside it|is not beside it"):
            import_file(store, tmp_path / "ml5" / "manifest.json")
    changed = {**manifest, "embedding": {**manifest["embedding"], "shape": [12, 5]}}
    (tmp_path / "ml5" / "manifest.json").write_text(json.dumps(changed))
    with pytest.raises(CheckpointError, match="is not 240 bytes long"):
        import_file(store, tmp_path / "ml5" / "manifest.json")


def test_a_checkpoint_without_its_data_is_refused(store: RunStore, tmp_path: Path) -> None:
    path, _ = recorded("tensorflow")
    shutil.copy(path, tmp_path)
    with pytest.raises(CheckpointError, match=r"model\.ckpt-7\.data-00000-of-\.\. is not beside it"):
        import_file(store, tmp_path / path.name)
    names = {name for name, _ in read_index(path) if name}
    assert {"embedding", "rnnlm/softmax_w"} <= names and kind_of(path) == "tensorflow"


def test_a_tensorflow_gru_is_refused_with_the_reason(store: RunStore) -> None:
    from charlm.formats.frameworks.char_rnn import from_char_rnn

    cells = {"rnnlm/multi_rnn_cell/cell_0/gru_cell/gates/kernel": torch.zeros(8, 8), "embedding": torch.zeros(12, 4)}
    with pytest.raises(ValueError, match="of another cell, which multiplies the state by the reset gate before"):
        from_char_rnn(cells)


@pytest.mark.parametrize(
    "text",
    ["{}", '{"a": 1}', '{"model": {}, "hidden_sizes": [4]}', '{"a": {"filename": "x", "shape": []}}', "{",
     '{"a": {"filename": 1}}'],
)  # fmt: skip
def test_other_json_is_refused_in_a_sentence(text: str, store: RunStore, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"model\.json") as refused:
        import_file(store, tmp_path / "model.json")
    assert "\n" not in str(refused.value)


def test_a_zip_of_several_models_is_refused(store: RunStore, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for name in ("a.safetensors", "b.safetensors"):
            archive.writestr(name, b"x")
    with pytest.raises(CheckpointError, match=r"many\.zip holds 2 files of weights .a\.safetensors, b.*; pack one"):
        import_file(store, tmp_path / "many.zip")


def test_the_command_line_takes_them_with_a_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from charlm.cli import main

    model = net()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    (tmp_path / "mine.json").write_text(json.dumps({"stoi": {one: at for at, one in enumerate(TOKENS)}}))
    asked = ["import", str(tmp_path / "model.safetensors"), "--vocab", str(tmp_path / "mine.json"), "--json"]
    assert main([*asked, "--runs-dir", str(tmp_path / "runs")]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["arch"] == "gru" and facts["vocab_size"] == len(TOKENS)
    same(RunStore(tmp_path / "runs").get(facts["run_id"]), model)


@pytest.mark.slow
def test_no_damaged_hdf5_does_harm(store: RunStore, tmp_path: Path) -> None:
    """h5py meets it in its own process: whatever that does, one sentence comes back."""
    needs_h5py()
    random, whole = np.random.default_rng(7), recorded("keras-h5")[0].read_bytes()
    (tmp_path / "vocab.json").write_text(json.dumps(list(TOKENS)))
    answers = []
    for _ in range(60):
        damaged = bytearray(whole)
        for place in random.integers(8, len(whole), random.choice([1, 4, 40])):
            damaged[place] = random.integers(256)
        (tmp_path / "model.h5").write_bytes(damaged[: int(random.choice([len(whole), len(whole) // 2]))])
        try:
            answers.append(import_file(store, tmp_path / "model.h5").arch)
        except CheckpointError as error:
            assert "\n" not in str(error) and len(str(error)) < 600
            answers.append("refused")
    assert {"refused", "lstm"} <= set(answers)
