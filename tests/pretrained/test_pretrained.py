"""Pretrained models: exact scores, texts that are the same streamed and whole, and what is refused."""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from charlm.config import SampleConfig
from charlm.errors import CheckpointError, JobError, MeasurementError
from charlm.pretrained import Pretrained, Score, is_pretrained, load, loading, score
from charlm.pretrained.decoder import Reader
from charlm.tokenizers.base import END
from tests.pretrained.tiny_pretrained import UNSEEN, model_of, saved, tokenizer_of
from tests.tiny_runs import TEXT

for _needed in ("transformers", "gguf", "accelerate"):
    pytest.importorskip(_needed, reason="pip install -r requirements-pretrained.txt brings what pretrained models need")

LONG = (TEXT + UNSEEN) * 2
CONFIG = SampleConfig(length=120, seed=5, temperature=0.9)


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    return load(str(saved(tmp_path_factory.mktemp("models") / request.param, request.param)))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "tiny")


def scored(model: Pretrained, text: str) -> Score:
    *_, last = model.score(text)
    assert last.share == 1 and last.result is not None
    return last.result


def direct(model: Pretrained, ids: Sequence[int], given: int) -> float:
    """The bits of the ids behind the first `given`, read after BOS in one go, without a cache."""
    whole = torch.tensor([[model.tokenizer.begin, *ids]])
    with torch.inference_mode():
        logits = model.network(input_ids=whole, use_cache=False).logits[0].double()
    chances = torch.log_softmax(logits, 1)
    return -sum(float(chances[place, ids[place]]) for place in range(given, len(ids))) / math.log(2)


def test_a_score_is_the_sum_over_all_tokens_after_bos(model: Pretrained) -> None:
    ids = model.tokenizer.encode(UNSEEN).tolist()
    assert 40 < len(ids) < 64 and model.context == 64
    found = scored(model, UNSEEN)
    assert (found.tokens, found.characters) == (len(ids), len(UNSEEN))
    assert found.bits == pytest.approx(direct(model, ids, 0), rel=1e-5)
    assert found.bits_per_char == found.bits / len(UNSEEN)


def test_longer_texts_are_read_in_windows_that_overlap_by_half(model: Pretrained) -> None:
    ids = model.tokenizer.encode(LONG).tolist()
    expected, done = direct(model, ids[:63], 0), 63
    while done < len(ids):  # BOS, 31 tokens again, 32 that count
        part = ids[done - 31 : done + 32]
        expected, done = expected + direct(model, part, 31), done + len(part) - 31
    found = scored(model, LONG)
    assert len(ids) > 500 and (found.window, found.stride, found.tokens) == (64, 32, len(ids))
    assert found.bits == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("piece", [1, 7, 64])
def test_how_much_is_read_at_a_time_changes_nothing(llama: Path, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(str(llama))
    before = scored(model, LONG)
    monkeypatch.setattr(score, "PIECE", piece)
    after = scored(model, LONG)
    assert after.bits == pytest.approx(before.bits, rel=1e-5) and after.tokens == before.tokens


def test_the_score_so_far_is_of_the_beginning(model: Pretrained) -> None:
    found = [one.result for one in model.score(LONG)]
    tokens = [one.tokens for one in found if one]
    assert len(tokens) > 3 and tokens == sorted(tokens)
    assert found[0] is not None and found[0].characters == len(
        model.tokenizer.spelled(model.tokenizer.encode(LONG)[:63])
    )


def test_a_tokenizer_that_changes_the_text_is_refused(llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama, tmp_path / "lower")
    written = json.loads((folder / "tokenizer.json").read_text())
    written["normalizer"] = {"type": "Lowercase"}
    (folder / "tokenizer.json").write_text(json.dumps(written))
    model = load(str(folder))
    with pytest.raises(MeasurementError, match="'The cat sat' at character 6 comes back as 'the cat sat'"):
        scored(model, "then The cat sat")
    assert scored(model, "the cat sat").tokens


def test_special_tokens_in_a_text_are_text(model: Pretrained) -> None:
    text = "The cat <|end|> sat <|begin|>."
    ids = model.tokenizer.encode(text).tolist()
    assert not {0, 1} & set(ids) and scored(model, text).characters == len(text)


@pytest.mark.parametrize("prompt", ["The cat", "The cat ", "", "“naïve” 🙂", "  \n"])
def test_a_text_is_what_its_tokens_decode_to(model: Pretrained, prompt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    speller = type(model.tokenizer.speller())
    take = speller.take

    def noted(self: object, chosen: int) -> str:
        drawn.append(chosen)
        return take(self, chosen)  # type: ignore[arg-type]

    monkeypatch.setattr(speller, "take", noted)
    pieces = list(model.generate(prompt, CONFIG))
    read, words = model.tokenizer.read(prompt).tolist(), [one for one in drawn if one != model.tokenizer.end_id]
    whole = model.tokenizer.spelled([*read, *words])[len(model.tokenizer.spelled(read)) :]
    if prompt.endswith("t "):
        whole = whole.removeprefix(" ")
    assert len(pieces) > 5 and "".join(pieces) == whole[:120].rstrip("\ufffd" if len(whole) < 120 else "")
    assert len("".join(pieces)) == 120 or model.tokenizer.end_id in drawn
    assert not set(drawn) & set(model.tokenizer.silent_ids)


def test_the_same_seed_and_settings_give_the_same_text(model: Pretrained) -> None:
    def text(config: SampleConfig) -> str:
        return "".join(model.generate("The dog", config))

    assert text(CONFIG) == text(CONFIG) != text(replace(CONFIG, seed=6))
    assert text(replace(CONFIG, greedy=True)) == text(replace(CONFIG, greedy=True, seed=6))
    assert text(replace(CONFIG, top_k=1)) == text(replace(CONFIG, greedy=True))


def test_greedy_is_the_most_likely_token_over_and_over(llama: Path) -> None:
    model = load(str(llama))
    ids = model.tokenizer.encode("The cat").tolist()
    network, banned = model.network, list(model.tokenizer.silent_ids)
    for _ in range(20):
        with torch.inference_mode():
            logits = (
                network(input_ids=torch.tensor([[model.tokenizer.begin, *ids]]), use_cache=False).logits[0, -1].clone()
            )
            logits[banned] = -math.inf
        ids.append(int(logits.argmax()))
    text = model.tokenizer.spelled(ids).removeprefix("The cat").split(END)[0].rstrip("\ufffd")
    wanted = "".join(model.generate("The cat", SampleConfig(greedy=True, length=max(1, len(text)))))
    assert wanted == text


def test_a_text_longer_than_the_context_goes_on(model: Pretrained) -> None:
    text = "".join(model.generate("The cat sat on the mat. " * 30, replace(CONFIG, length=600, seed=8)))
    assert len(text) == 600


def test_stop_strings_end_a_text(model: Pretrained) -> None:
    whole = "".join(model.generate("The", CONFIG))
    stop = whole[30:33]
    assert "".join(model.generate("The", replace(CONFIG, stop=(stop,)))) == whole[: whole.index(stop)]


def test_beams_are_for_runs(llama: Path) -> None:
    with pytest.raises(JobError, match="tiny writes without beam search; set beams to 1"):
        list(load(str(llama)).generate("The", SampleConfig(beams=2)))


def test_what_is_read_in_pieces_is_what_is_read_at_once(model: Pretrained) -> None:
    ids = model.tokenizer.encode(UNSEEN).tolist()
    whole, reader = Reader(model.network).read(ids, len(ids)), Reader(model.network)
    parts = torch.cat([reader.read(ids[:9], 9), reader.read(ids[9:], len(ids) - 9)])
    torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-4)


def test_what_it_says_of_itself(llama: Path) -> None:
    model = load(f" {llama} ")
    assert model.label == "tiny" and model.shape == "2 × 16" and model.context == 64
    assert model.num_parameters == sum(one.numel() for one in model_of().parameters())
    assert model.bits_per_char() is None and "not scored" in model.note
    assert is_pretrained(str(llama)) and is_pretrained("hf:some/model") and is_pretrained("a/b.gguf")
    assert not is_pretrained("sherlock-lstm") and not is_pretrained(str(llama.parent))


def changed(folder: Path, name: str, **fields: object) -> None:
    known = json.loads((folder / name).read_text()) if (folder / name).exists() else {}
    (folder / name).write_text(json.dumps({**known, **fields}))


def test_pickles_are_refused_with_the_reason(llama: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(llama, tmp_path / "pickled", ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save(model_of().state_dict(), folder / "pytorch_model.bin")
    for source in (folder, folder / "pytorch_model.bin"):
        with pytest.raises(CheckpointError, match="is a pickle, which can run any code, and is not opened"):
            load(str(source))
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match="has no weights: neither"):
        load(str(folder))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_of_its_own_is_refused_and_never_run(llama: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(llama, tmp_path / "custom")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    changed(folder, name, auto_map={"AutoConfig": "own.Own", "AutoTokenizer": ["own.Own", None]})
    with pytest.raises(CheckpointError, match=f"asks for code of its own .auto_map in {name}., which is never run"):
        load(str(folder))
    assert not (tmp_path / "ran").exists()


def test_what_is_no_causal_language_model_is_refused(llama: Path, tmp_path: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM, BertLMHeadModel

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    sizes = {**small, "vocab_size": 310, "max_position_embeddings": 64, "initializer_range": 0.5}
    for name, cls, said in (
        ("masked", BertForMaskedLM, "masked is a BertForMaskedLM, no causal language model"),
        (
            "both-ways",
            BertLMHeadModel,
            "both-ways predicts otherwise when it has seen what comes after",
        ),  # a causal head on a network that looks at what comes after
    ):
        cls(BertConfig(**sizes)).save_pretrained(tmp_path / name)
        tokenizer_of().save_pretrained(tmp_path / name)
        with pytest.raises(CheckpointError, match=said):
            load(str(tmp_path / name))


def test_damaged_folders_are_refused_in_a_sentence(llama: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    def copy(name: str) -> Path:
        return shutil.copytree(llama, tmp_path / name)

    (short := copy("short") / "model.safetensors").write_bytes((llama / "model.safetensors").read_bytes()[:-100])
    weights = load_file(llama / "model.safetensors")
    save_file(
        {name: one for name, one in weights.items() if "layers.1" not in name},
        copy("few") / "model.safetensors",
        {"format": "pt"},
    )
    save_file(
        {name: one * math.nan for name, one in weights.items()}, copy("nan") / "model.safetensors", {"format": "pt"}
    )
    (copy("json") / "config.json").write_text("{")
    (copy("bare") / "tokenizer.json").unlink()
    changed(copy("wide"), "config.json", hidden_size=32)
    for name, said in (
        ("short", "short cannot be loaded"), ("few", "few lacks 9 of its weights, such as"), ("nan", "not finite"),
        ("json", "config.json in json cannot be read"), ("bare", "bare"), ("wide", "wide cannot be loaded"),
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match=said):
            load(str(tmp_path / name))
    assert short.exists()


def test_names_of_nothing_are_refused() -> None:
    with pytest.raises(CheckpointError, match="there is no model 'nowhere'; name a folder with safetensors"):
        load("nowhere")
    with pytest.raises(CheckpointError, match=r"is no \.gguf file"):
        load(__file__)


def test_a_model_that_memory_does_not_hold_is_refused(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "FLOAT", 10**9)
    with pytest.raises(CheckpointError, match=r"parameters, which take .* GB of memory; .* GB are free"):
        load(str(llama))


def test_several_gguf_files_are_asked_about(tmp_path: Path) -> None:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=r"has 2 \.gguf files; name one of them, such as a\.gguf"):
        load(str(tmp_path))
    with pytest.raises(CheckpointError, match=r"a\.gguf cannot be loaded"):
        load(str(tmp_path / "a.gguf"))
