"""The command line on real, tiny trainings; a user's mistake is exit code 2 and exactly one line on stderr."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from charlm.cli import main
from charlm.config import CorpusConfig, ModelConfig, SampleConfig, TrainConfig, escape
from charlm.errors import JobError
from charlm.presets import RESUMABLE
from tests.patience import patience
from tests.tiny_runs import spoil

ROOT = Path(__file__).resolve().parents[2]
PICTURES = str(ROOT / "tests" / "e2e" / "pictures")
TINY = ("--hidden-size", "8", "--num-layers", "1", "--steps", "4", "--seq-len", "10", "--batch-size", "2")
TEXT = "the cat sat on the mat; the dog lay in the fog. " * 20


@pytest.fixture
def book(tmp_path: Path) -> str:
    path = tmp_path / "book.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


@pytest.fixture
def run_id(book: str, capsys: pytest.CaptureFixture[str]) -> str:
    """A trained LSTM."""
    return answer(capsys, "train", book, *TINY, "--label", "tiny")["run_id"]


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    """What `--json` prints as the last line; the command must succeed."""
    code = main([*words, "--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return json.loads(out.splitlines()[-1], parse_constant=pytest.fail)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that says why the command was refused."""
    code = main(list(words))
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), (code, out, err)
    assert len(err.splitlines()) == 1 and err.endswith("\n"), err
    assert not set(err) & set("╭│╰─"), err
    return err


def run_program(*words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    """The command line as a process of its own."""
    command = [sys.executable, "-m", "charlm", *words]
    return subprocess.run(command, capture_output=True, cwd=ROOT, timeout=patience(120), check=False, **more)


# --- help ------------------------------------------------------------------------------------------------------------


def test_without_words_it_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(
        name in shown for name in ("train", "race", "resume", "evaluate", "generate", "compare", "runs", "corpora")
    )


@pytest.mark.parametrize(
    ("command", "classes"),
    [
        ("train", (ModelConfig, TrainConfig, CorpusConfig)),
        ("race", (TrainConfig, CorpusConfig)),
        ("generate", (SampleConfig,)),
        ("compare", (SampleConfig,)),
    ],
)
def test_every_setting_is_an_option(
    command: str, classes: tuple[type, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "240")
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    for cls in classes:
        chosen = [name for name in cls.names() if name != "counted"]  # type: ignore[attr-defined]  # by the program
        assert all(f"--{name.replace('_', '-')}" in shown for name in chosen)


# --- train, race, resume ---------------------------------------------------------------------------------------------


def test_train_prints_one_object_and_leaves_a_run(
    book: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = answer(capsys, "train", book, *TINY, "--arch", "gru", "--label", "my gru")
    promised = {"run_id", "label", "best_val_loss", "best_step", "steps", "chars_per_second", "seconds"}
    assert promised <= result.keys()
    assert result["label"] == "my gru" and result["steps"] == 4 and 0 < result["best_val_loss"] < 10
    assert {"run.json", "tokenizer.json", "metrics.jsonl", "best.safetensors", "last.safetensors"} <= {
        path.name for path in (tmp_path / "runs" / result["run_id"]).iterdir()
    }


def test_words_are_told_in_perplexity_and_the_test_part_too(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*TINY, "--level", "word", "--test-fraction", "0.2", "--steps", "0", "--epochs", "5", "--json"]
    assert main(["train", book, *words]) == 0
    out, err = capsys.readouterr()
    assert len(re.findall(r", perplexity [\d.,]+, test perplexity [\d.,]+", err)) == 5
    assert json.loads(out.splitlines()[-1])["test_loss"] > 0


def test_a_given_option_wins_over_the_preset_and_the_rest_stays(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = answer(capsys, "train", book, *TINY, "--preset", "notebook", "--no-lf", "--tie-weights", "--embed-dim", "8")
    shown = answer(capsys, "runs", "show", made["run_id"])
    assert shown["model"]["dropout"] == 0.3 and shown["model"]["hidden_size"] == 8 and shown["model"]["tie_weights"]
    assert shown["corpus_settings"]["lf"] is False and shown["preset"] == "notebook"


def test_what_to_try_next_is_told_with_its_options(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    slow = ("--learning-rate", "1e-6", "--steps", "120", "--warmup-steps", "10")
    assert main(["train", book, *TINY, *slow]) == 0
    _, err = capsys.readouterr()
    assert "After the first 110 steps the loss was" in err and "Try --learning-rate 5e-06." in err
    assert main(["train", book, *TINY, *slow, "--json"]) == 0
    assert "Try --" not in capsys.readouterr().err


def test_same_seed_same_run(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    losses = [answer(capsys, "train", book, *TINY, "--seed", seed)["best_val_loss"] for seed in ("3", "3", "4")]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("options", [(), ("--batch-size", "1", "--seq-len", "20")])
def test_seventy_six_characters_train(
    options: tuple[str, ...], lstm_text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(os.environ["CHARLM_DATA"]).parent / "short.txt"
    path.write_text(lstm_text, encoding="utf-8")
    assert answer(capsys, "train", str(path), *options, "--steps", "5")["steps"] == 5


def test_standard_input_is_a_corpus() -> None:
    done = run_program("train", "-", *TINY, "--json", input=TEXT.encode())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["steps"] == 4


def test_a_catalog_name_is_a_corpus(capsys: pytest.CaptureFixture[str]) -> None:
    tiny = (*TINY, "--steps", "1", "--val-fraction", "0.001")
    assert answer(capsys, "train", "sherlock", *tiny)["steps"] == 1


def test_race_trains_each_on_the_same_text(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    results = answer(capsys, "race", book, *TINY, "--archs", "rnn,lstm")
    assert [one["arch"] for one in results] == ["rnn", "lstm"] and {one["steps"] for one in results} == {4}
    groups = {answer(capsys, "runs", "show", one["run_id"])["group"] for one in results}
    assert len(groups) == 1 and groups != {""}


def test_race_prints_a_ranking(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["race", book, *TINY, "--archs", "gru,rnn"]) == 0
    out, _ = capsys.readouterr()
    assert len(out.splitlines()) == 3 and "gru" in out.lower() and "rnn" in out.lower()


def test_resume_goes_on(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "resume", run_id, "--steps", "5")["steps"] == 9


def test_resume_tells_only_what_is_new(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", book, *TINY, "--eval-every", "2", "--label", "longer"]) == 0
    capsys.readouterr()
    assert main(["resume", "longer", "--steps", "4"]) == 0
    told = re.findall(r"longer: step (\d+) of 8, ", capsys.readouterr().err)
    assert told == ["6", "8"]


def test_resume_tells_again_what_a_killed_process_had_not_saved(
    book: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = answer(capsys, "train", book, *TINY, "--eval-every", "2")["run_id"]
    spoil(tmp_path / "runs" / made / "run.json", step=7)  # noted after the last save
    assert main(["resume", made, "--steps", "4"]) == 0
    assert re.findall(r": step (\d+) of ", capsys.readouterr().err)[:2] == ["6", "8"]


def test_what_resume_takes_is_what_a_run_can_change(capsys: pytest.CaptureFixture[str]) -> None:
    main(["resume", "--help"])
    shown = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in shown for name in RESUMABLE)


def test_progress_goes_to_stderr(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", book, *TINY, "--eval-every", "2"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2 and "generate" in out
    assert "step 2" in err and "step 4" in err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pty")
@pytest.mark.slow
def test_a_terminal_gets_bars(book: str) -> None:
    import pty

    ours, theirs = pty.openpty()
    words = ["race", book, *TINY, "--archs", "gru,rnn", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "charlm", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
    )
    os.close(theirs)
    shown = b""
    while chunk := read_terminal(ours):
        shown += chunk
    out, _ = process.communicate(timeout=patience(60))
    os.close(ours)
    assert process.returncode == 0, shown.decode()
    assert len(json.loads(out)) == 2 and "━".encode() in shown and b"step 4" in shown


def read_terminal(side: int) -> bytes:
    """What the other side wrote; nothing once it is closed, which Linux reports as an error."""
    try:
        return os.read(side, 4096)
    except OSError:
        return b""


# --- evaluate, generate, compare -------------------------------------------------------------------------------------


def test_inspect_shows_the_ladder_that_a_run_stands_on(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    [facts] = answer(capsys, "inspect", "ladder", run_id)
    assert facts["run_id"] == run_id and len(facts["ladder"]["orders"]) == 12 and 0 <= facts["worth"] <= 12
    assert main(["inspect", "ladder", run_id]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("uniform", "12-gram", "xz", "ppmd, adapting", "ppmd, frozen"))
    assert "gzip" not in shown
    assert {"uniform", "gzip", "xz", "orders", "tokens_per_char", "whole", "ppmd"} <= set(facts["ladder"])
    assert set(facts["ladder"]["ppmd"]) == {"adapting", "frozen", "rows", "all_rows", "megabytes"}
    assert "No such command 'nothing'" in refusal(capsys, "inspect", "nothing", run_id)


def test_inspect_measures_runs(run_id: str, book: str, capsys: pytest.CaptureFixture[str]) -> None:
    [found] = answer(capsys, "inspect", "surprise", run_id, "--characters", "40")
    assert found["run_id"] == run_id and len(found["pieces"]) == found["tokens"] + 1 <= 40
    [other] = answer(capsys, "inspect", "surprise", run_id, "--text", book)
    assert other["tokens"] > found["tokens"]
    assert main(["inspect", "surprise", run_id]) == 0
    shown = capsys.readouterr().out
    assert "bits per character" in shown and "start of a word" in shown
    assert len(answer(capsys, "inspect", "surprise", run_id, run_id)) == 1
    assert main(["inspect", "gradient", run_id, "--lags", "4", "--positions", "2", "--warmup", "4"]) == 0
    assert "log10_norm" in capsys.readouterr().out.replace(" ", "_")
    assert "characters 5 is outside" in refusal(capsys, "inspect", "surprise", run_id, "--characters", "5")
    assert "at least 400 tokens" in refusal(capsys, "inspect", "memory", run_id)


def test_inspect_goes_on_where_one_run_cannot_be_measured(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    ngram = answer(capsys, "train", "sherlock", "--arch", "ngram", "--order", "2", "--json")["run_id"]
    assert main(["inspect", "dynamics", run_id, ngram, "--json"]) in (0, 2)
    capsys.readouterr()
    assert "n-gram" in refusal(capsys, "inspect", "dynamics", ngram)


def test_evaluate_scores_the_held_out_part(run_id: str, book: str, capsys: pytest.CaptureFixture[str]) -> None:
    scores = answer(capsys, "evaluate", run_id)
    shown = answer(capsys, "runs", "show", run_id)
    assert scores["split"] == "val" and scores["nats_per_token"] == pytest.approx(shown["best_val_loss"], abs=1e-4)
    assert scores["tokens"] == shown["corpus"]["val_chars"] - 1
    whole = answer(capsys, "evaluate", run_id, "--corpus", book)
    assert whole["split"] == "all" and whole["tokens"] == len(TEXT) - 1
    assert {"nats_per_token", "bits_per_char", "perplexity", "tokens", "split"} <= whole.keys()


def test_generate_prints_prompt_and_text_and_nothing_else(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    outs = []
    for _ in range(2):
        assert main(["generate", run_id, "--prompt", "the cat", "--length", "30", "--seed", "5"]) == 0
        out, err = capsys.readouterr()
        outs.append(out)
        assert out.startswith("the cat") and len(out) == len("the cat") + 30 and err == ""
    assert outs[0] == outs[1]


def test_several_samples_have_a_rule_between_them(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("--prompt", "the", "--length", "20", "--seed", "5")
    listed = answer(capsys, "generate", run_id, *settings, "--samples", "3")
    alone = [answer(capsys, "generate", run_id, *settings[:-1], str(seed))["text"] for seed in (5, 6, 7)]
    assert [one["text"] for one in listed] == alone and [one["seed"] for one in listed] == [5, 6, 7]
    capsys.readouterr()
    assert main(["generate", run_id, *settings, "--samples", "3"]) == 0
    assert capsys.readouterr().out == f"\n\n{'-' * 40}\n\n".join(f"the{text}" for text in alone) + "\n"
    [column] = answer(capsys, "compare", run_id, *settings, "--samples", "2")
    assert column["text"] == alone[0] and [one["text"] for one in column["samples"]] == alone[:2]
    assert main(["compare", run_id, *settings, "--samples", "2"]) == 0
    assert f"{alone[0]}\n\n{'-' * 40}\n\nthe{alone[1]}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_text_ends_before_what_it_is_to_stop_at(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    whole = answer(capsys, "generate", run_id, "--length", "60")["text"]
    shown = answer(capsys, "generate", run_id, "--length", "60", "--stop", "never", "--stop", escape(whole[20:23]))
    assert shown["text"] == whole.partition(whole[20:23])[0]
    searched = answer(capsys, "generate", run_id, "--length", "60", "--beams", "3", "--repetition-penalty", "1.5")
    assert len(searched["text"]) == 60


def test_generate_names_what_it_skipped(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", run_id, "--prompt", "théX cat", "--length", "5"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("th cat") and "é" in err and "X" in err


def test_a_prompt_is_read_as_the_model_knows_it(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", run_id, "--prompt", r"The\ncat", "--length", "5"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("the cat") and r"reads: 'T' as 't', '\n' as ' '" in err  # it has seen no line end
    said = answer(capsys, "generate", run_id, "--prompt", "A cat", "--length", "5", "--temperature", "0")
    assert said["prompt"] == "a cat" and said["replaced"] == {"A": "a"}
    assert said["text"] == answer(capsys, "generate", run_id, "--prompt", "a cat", "--length", "5", "--greedy")["text"]
    assert main(["generate", run_id, "--temperature", "0.001"]) == 2
    assert "temperature 0.001 is below 0.01; 0 takes the most likely token" in capsys.readouterr().err


def test_generate_needs_no_prompt(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = answer(capsys, "generate", run_id, "--length", "12", "--greedy")
    assert said["prompt"] == "" and len(said["text"]) == 12 and said["run_id"] == run_id


def test_compare_writes_one_text_a_run(book: str, run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = answer(capsys, "train", book, *TINY, "--arch", "rnn", "--label", "other")["run_id"]
    words = ("compare", run_id, "other", "--prompt", "the ", "--length", "20")
    both = answer(capsys, *words)
    assert [one["run_id"] for one in both] == [run_id, other]
    assert all(one["prompt"] == "the " and len(one["text"]) == 20 for one in both)
    assert main(list(words)) == 0
    assert capsys.readouterr().out.count("== ") == 2


def test_compare_and_generate_write_the_same(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("--prompt", "the ", "--length", "25", "--seed", "11", "--top-k", "5")
    [column] = answer(capsys, "compare", run_id, *settings)
    assert column["text"] == answer(capsys, "generate", run_id, *settings)["text"]


def test_a_run_without_weights_is_one_line(run_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runs" / run_id / "best.safetensors").unlink()
    assert "best.safetensors" in refusal(capsys, "compare", run_id)
    assert "best.safetensors" in refusal(capsys, "generate", run_id)


# --- runs, corpora ---------------------------------------------------------------------------------------------------


def test_runs_are_listed_shown_renamed_and_deleted(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "runs", "list")[0]["run_id"] == run_id
    assert answer(capsys, "runs", "rename", "tiny", "small")["label"] == "small"
    assert answer(capsys, "runs", "show", "small")["run_id"] == run_id
    assert answer(capsys, "runs", "delete", "small", "--yes") == {"deleted": [run_id]}
    assert run_id not in [run["run_id"] for run in answer(capsys, "runs", "list")]


def test_what_is_deleted_comes_back_until_the_trash_is_emptied(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer(capsys, "runs", "delete", run_id, "--yes")
    assert [run["run_id"] for run in answer(capsys, "runs", "trash")] == [run_id]
    assert answer(capsys, "runs", "restore", run_id) == {"restored": run_id}
    assert answer(capsys, "runs", "trash") == [] and answer(capsys, "runs", "show", run_id)["status"] == "finished"
    assert "in the trash" in refusal(capsys, "runs", "restore", run_id)
    answer(capsys, "runs", "delete", run_id, "--yes")
    assert answer(capsys, "runs", "empty-trash", "--yes")["freed_bytes"] > 1000
    assert answer(capsys, "runs", "trash") == []


def test_a_run_is_forked_trimmed_and_forked_again(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    child = answer(capsys, "fork", run_id, "--learning-rate", "0.001", "--steps", "2", "--label", "branch")
    parent = answer(capsys, "runs", "show", run_id)
    shown = answer(capsys, "runs", "show", "branch")
    assert child["steps"] == parent["steps"] + 2 and shown["train"]["learning_rate"] == 0.001
    assert [(one["run_id"], one["step"], one["why"]) for one in shown["ancestry"]] == [
        (run_id, parent["steps"], "fork")
    ]
    assert answer(capsys, "runs", "trim", "branch")["freed_bytes"] > 1000
    assert "fork it to go on" in refusal(capsys, "resume", "branch", "--steps", "1")
    assert answer(capsys, "fork", "branch", "--steps", "1")["label"] == "branch-fork"
    assert "learning_rate" in refusal(capsys, "fork", run_id, "--learning-rate", "-1")
    assert "nothing to fix" in refusal(capsys, "retry", run_id)


def test_a_failed_run_is_tried_again_with_its_fix(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(Path(os.environ["CHARLM_RUNS"]) / run_id / "run.json", status="failed", mend={"learning_rate": 0.004})
    assert answer(capsys, "runs", "show", run_id)["mend"] == {"learning_rate": 0.004}
    assert main(["retry", run_id]) == 0
    assert "tiny-retry: learning_rate 0.004" in capsys.readouterr().err
    again = answer(capsys, "runs", "show", "tiny-retry")
    assert again["train"]["learning_rate"] == 0.004 and again["ancestry"][0]["why"] == "retry"


def test_another_text_is_refused_by_its_sha256(book: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The text that a run was trained on is gone, or was changed; only the very same will do."""
    made = answer(capsys, "train", book, *TINY)["run_id"]
    [kept] = (tmp_path / "data" / "texts").glob("*.txt")
    sha256 = kept.stem
    kept.write_text(kept.read_text(encoding="utf-8") + "!", encoding="utf-8")
    said = refusal(capsys, "resume", made, "--steps", "1")
    assert "was changed" in said and sha256[:12] in said and "give that very text" in said
    other = tmp_path / "other.txt"
    other.write_text(Path(book).read_text(encoding="utf-8").upper(), encoding="utf-8")
    said = refusal(capsys, "resume", made, "--steps", "1", "--corpus", str(other))
    assert "other.txt is not the text of" in said and sha256[:12] in said
    kept.unlink()
    assert "no longer here" in refusal(capsys, "resume", made, "--steps", "1")
    done = answer(capsys, "resume", made, "--steps", "1", "--corpus", book)
    assert done["status"] == "finished" and kept.exists(), "the text is kept again"


def test_a_label_is_1_to_80_characters(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "80" in refusal(capsys, "runs", "rename", run_id, " ")
    assert "81" in refusal(capsys, "runs", "rename", run_id, "x" * 81)
    assert answer(capsys, "runs", "rename", run_id, "caf\udce9")["label"] == "caf\ufffd"


def test_tables_are_plain_text(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["runs", "list"], ["runs"], ["runs", "show", run_id], ["corpora"]):
        assert main(words) == 0
        out = capsys.readouterr().out
        assert out and "╭" not in out and (words == ["corpora"] or run_id in out)


def test_runs_dir_is_another_place(book: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = answer(capsys, "train", book, *TINY, "--runs-dir", str(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere" / made["run_id"] / "run.json").exists()
    assert answer(capsys, "runs", "show", made["run_id"], "--runs-dir", str(tmp_path / "elsewhere"))


def test_a_folder_is_a_run(run_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer(capsys, "runs", "show", str(tmp_path / "runs" / run_id))["run_id"] == run_id


def test_corpora_names_what_train_takes(capsys: pytest.CaptureFixture[str]) -> None:
    names = {entry["name"]: entry for entry in answer(capsys, "corpora")}
    assert names["sherlock"]["at_hand"] is True


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "trian"),
        (["train"], "CORPUS"),
        (["train", "no-such-file.txt"], "no-such-file.txt"),
        (["train", PICTURES], "holds no file with text"),
        (["train", "{book}", "--hiden-size", "3"], "--hiden-size"),
        (["train", "{book}", "--hidden-size", "eight"], "eight"),
        (["train", "{book}", "--hidden-size", "8.5"], "hidden_size must be a whole number, not 8.5"),
        (["train", "{book}", "--hidden-size", "1e400"], "hidden_size"),
        (["train", "{book}", "--hidden-size", "9" * 500], "hidden_size"),
        (["train", "{book}", "--hidden-size", "0"], "hidden_size 0 is outside 1 to 4,096"),
        (["train", "{book}", "--hidden-size"], "--hidden-size"),
        (["train", "{book}", "--dropout", "nan"], "dropout"),
        (["train", "{book}", "--arch", "gpt"], "lstm, gru, rnn"),
        (["train", "{book}", "--preset", "quik"], "quick, balanced"),
        (["train", "{book}", "--steps", "0"], "would never end"),
        (["train", "{book}", "--tie-weights"], "embed_dim"),
        (["train", "{book}", "more"], "more"),
        (["train", "{empty}"], "empty"),
        (["train", "{one}"], "one.txt"),
        (["train", "{binary}"], "binary"),
        (["train", "{book}", "--column", "x", "--val-fraction", "0.9", "--test-fraction", "0.9"], "0.9"),
        (["race", "{book}", "--archs", "lstm,gpt"], "gpt"),
        (["race", "{book}", "--archs", ","], "archs"),
        (["race", "{book}", "--arch", "gru"], "--arch"),
        (["resume", "nobody"], "nobody"),
        (["evaluate", "nobody"], "nobody"),
        (["generate", "nobody"], "nobody"),
        (["generate", "x", "--temperature", "-1"], "temperature"),
        (["generate", "x", "--length", "-3"], "length"),
        (["generate", "x", "--stop", "x" * 81], "stop"),
        (["generate", "x", "--beams", "2", "--samples", "2"], "ask for 1 sample"),
        (["compare"], "RUN"),
        (["compare", "nobody"], "nobody"),
        (["runs", "lst"], "lst"),
        (["runs", "show", "nobody"], "nobody"),
        (["runs", "rename", "nobody", "x"], "nobody"),
        (["runs", "delete", "nobody"], "nobody"),
        (["corpora", "x"], "x"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(
    words: list[str], said: str, book: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "one.txt").write_bytes(b"a")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 20)
    places = {name: str(tmp_path / f"{name}.txt") for name in ("book", "empty", "one", "binary")}
    assert said in refusal(capsys, *(word.format(**places) for word in words))


def test_an_ambiguous_run_lists_the_ids(book: str, run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = answer(capsys, "train", book, *TINY, "--label", "tiny")["run_id"]
    said = refusal(capsys, "generate", "tiny")
    assert run_id in said and other in said
    assert run_id in refusal(capsys, "runs", "show", run_id[:4])


def test_a_run_that_is_too_large_is_refused_with_the_estimate(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    huge = ("--hidden-size", "4096", "--num-layers", "8", "--batch-size", "4096", "--seq-len", "4096")
    path = Path(book)
    path.write_text(TEXT * 20_000, encoding="utf-8")
    assert "GB" in refusal(capsys, "train", book, *huge)


def test_nothing_is_deleted_unasked(run_id: str) -> None:
    done = run_program("runs", "delete", run_id, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and b"--yes" in done.stderr and len(done.stderr.splitlines()) == 1
    assert (Path(os.environ["CHARLM_RUNS"]) / run_id).exists()


def test_a_text_that_is_gone_is_asked_for(book: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = answer(capsys, "train", book, *TINY)["run_id"]
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            path.unlink()
    assert "no longer here" in refusal(capsys, "evaluate", made)


def test_no_test_tail_is_said(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "test_fraction" in refusal(capsys, "evaluate", run_id, "--split", "test")


def test_a_split_that_is_none_is_said(run_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "val, test, all" in refusal(capsys, "evaluate", run_id, "--split", "half")


def test_a_training_that_fails_by_itself_exits_1(
    book: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: Any) -> Iterator[None]:
        yield from ()
        raise JobError("the loss became nan at step 1; try a third of learning_rate")

    monkeypatch.setattr("charlm.jobs.runner.train", diverge)
    assert main(["train", book, *TINY, "--label", "wild"]) == 1
    out, err = capsys.readouterr()
    assert "wild failed: the loss became nan" in err and "charlm generate" not in out
    assert answer(capsys, "runs", "show", "wild")["status"] == "failed"


# --- ends ------------------------------------------------------------------------------------------------------------


def begun(*words: str) -> subprocess.Popen[bytes]:
    """A training in a process of its own that has made its first steps."""
    command = [sys.executable, "-m", "charlm", "train", *words, "--eval-every", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if b"step" in line:
            return process
    raise AssertionError("the training ended before its first step")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals to a child")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_an_interrupted_training_is_saved(
    number: int, code: int, book: str, capsys: pytest.CaptureFixture[str]
) -> None:
    process = begun(book, *TINY, "--steps", "100000", "--label", "cut")
    process.send_signal(number)
    out, err = process.communicate(timeout=patience(60))
    assert process.returncode == code and out == b"" and b"Traceback" not in err
    shown = answer(capsys, "runs", "show", "cut")
    assert shown["steps"] >= 1 and shown["status"] in ("stopped", "interrupted")
    assert answer(capsys, "resume", "cut", "--steps", "2")["steps"] == shown["steps"] + 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="pipes close differently there")
def test_a_reader_that_leaves_is_no_error(run_id: str) -> None:
    command = [sys.executable, "-m", "charlm", "generate", run_id, "--length", "100000"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(timeout=patience(60)) == 141


@pytest.mark.slow
def test_texts_go_through_pipes_as_utf8(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    made = run_program("train", "-", *TINY, "--json", "--label", "naïve", input=("äöü é " * 60).encode(), env=env)
    assert made.returncode == 0, made.stderr
    run = json.loads(made.stdout)["run_id"]
    done = run_program("generate", run, "--prompt", "äö", "--length", "20", env=env)
    assert done.stdout.decode("utf-8").startswith("äö") and done.stderr == b""


@pytest.mark.parametrize("level", [("word", "--words", "cased", "--min-count", "1"), ("bpe", "--vocab-size", "260")])
def test_words_and_subwords_are_trained_scored_and_written(
    level: tuple[str, ...], book: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = answer(capsys, "train", book, *TINY, "--level", *level, "--test-fraction", "0.2", "--label", "mine")
    shown = answer(capsys, "runs", "show", made["run_id"])
    assert shown["model"]["level"] == level[0] and shown["corpus"]["test_tokens"] > 0
    scores = answer(capsys, "evaluate", "mine", "--split", "test")
    assert scores["split"] == "test" and scores["tokens"] == shown["corpus"]["test_tokens"] - 1
    assert scores["bits_per_char"] < scores["nats_per_token"] / 0.69
    main(["generate", "mine", "--prompt", "the zebra", "--length", "5"])
    out, err = capsys.readouterr()
    assert out.startswith("the zebra") and ("mine does not know and reads as <unk>: 'zebra'" in err) == (
        level[0] == "word"
    )
    main(["runs", "list"])
    assert ("words" if level[0] == "word" else "subwords") in capsys.readouterr().out


def test_a_level_that_is_none_is_said(book: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "level 'words' is not one of: char, word, bpe" in refusal(capsys, "train", book, "--level", "words")
    assert "no word occurs 999 times" in refusal(capsys, "train", book, *TINY, "--level", "word", "--min-count", "999")
