"""push and pull against a Hub of one's own on 127.0.0.1: real requests of huggingface_hub, real files."""

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard, SpaceCard, close_session, constants
from huggingface_hub.repocard_data import model_index_to_eval_results

from charlm.cli import main
from charlm.formats.hub.card import model_card
from charlm.formats.hub.connection import connect
from charlm.formats.hub.pull import MOST_BYTES
from charlm.formats.hub.push import OWN, model_contents
from charlm.runs.gradients import FILE as GRADIENTS
from charlm.runs.run import Run
from charlm.runs.store import RunStore
from tests.cli.test_cli import answer, refusal
from tests.formats.hub_server import OWNER, READER, TOKEN, Hub, hub_at_work, metadata_errors
from tests.patience import patience
from tests.tiny_runs import store_in, trained

ROOT = Path(__file__).resolve().parents[2]
REPO = f"{OWNER}/pets"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small trained run, made once."""
    store = store_in(tmp_path_factory.mktemp("hub"))
    [run] = trained(store, "gru", label="pets")
    store.annotate(run, "only for me")
    return store.get(run.run_id)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The Hub, with the token of its owner in the environment."""
    with hub_at_work(tmp_path / "hub") as made:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "ENDPOINT", made.endpoint)  # HF_ENDPOINT, as the library has read it
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", made.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "login"))
        monkeypatch.chdir(tmp_path)
        yield made
        close_session()


def environment(hub: Hub, folder: Path, **more: str) -> dict[str, str]:
    """What a process needs that talks to this Hub."""
    return {
        **os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "hf"),
        "PYTHONPATH": str(ROOT), **more,
    }  # fmt: skip


def push(run: Run, *words: str, repo: str = "pets") -> int:
    return main(["push", str(run.folder), repo, *words])


def posts(hub: Hub, what: str) -> int:
    return sum(what in path for method, path, _ in hub.asked if method in ("POST", "PUT"))


# --- there and back ---------------------------------------------------------------------------------------------------


def test_what_was_pushed_and_pulled_writes_the_same_text(
    hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pushed = answer(capsys, "push", str(kept.folder), "pets")
    assert pushed["repo"] == REPO and pushed["url"] == f"{hub.endpoint}/{REPO}" and pushed["left_out"] == []
    assert pushed["private"] and pushed["changed"] and hub.repos["model", REPO].private
    pulled = answer(capsys, "pull", REPO)
    assert pulled["label"] == "pets" and pulled["val_loss"] == kept.best_val_loss
    assert pulled["imported"] | {"format": "hub", "file": REPO, "revision": pushed["commit"]} == pulled["imported"]
    written = [
        answer(capsys, "generate", run, "--prompt", "The ", "--length", "60", "--seed", "4")["text"]
        for run in (str(kept.folder), pulled["run_id"])
    ]
    assert written[0] == written[1] and len(written[0]) >= 60
    run = RunStore().get(pulled["run_id"])
    assert run.metrics() == kept.metrics() and run.samples() == kept.samples() and run.trimmed
    assert (run.folder / "best.safetensors").read_bytes() == (kept.folder / "best.safetensors").read_bytes()
    assert not hub.strange, "a token went to the address of the large files"


def test_a_pull_of_the_same_commit_is_the_run_that_is_there(
    hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    push(kept)
    first, again = answer(capsys, "pull", REPO), answer(capsys, "pull", REPO)
    named = answer(capsys, "pull", REPO, "--label", "other")
    assert first["run_id"] == again["run_id"] != named["run_id"] and named["label"] == "other"
    assert answer(capsys, "pull", REPO, "--label", "other") == named
    newest = hub.repos["model", REPO].commits[-1]["sha"]
    assert answer(capsys, "pull", REPO, "--revision", newest)["run_id"] in (first["run_id"], named["run_id"])
    assert "no such revision" in refusal(capsys, "pull", REPO, "--revision", "f" * 40)


def test_the_repository_holds_what_it_says_and_nothing_private(hub: Hub, kept: Run) -> None:
    push(kept)
    files = set(hub.repos["model", REPO].files)
    assert files >= {"README.md", "run.json", "tokenizer.json", "model.safetensors", "metrics.jsonl", "samples.jsonl"}
    assert files >= {"model.onnx", "page.html"} and not any("resume" in name or "last" in name for name in files)
    about = json.loads(hub.content(REPO, "run.json"))
    assert not about.keys() & set(OWN) and b"only for me" not in b"".join(hub.content(REPO, name) for name in files)
    assert about["corpus"]["name"] == "pets.txt"
    large = {name for name, one in hub.repos["model", REPO].files.items() if one["lfs"]}
    assert large == {"model.safetensors", "model.onnx"}


@pytest.mark.slow
def test_the_lines_of_the_card_run(hub: Hub, kept: Run, tmp_path: Path) -> None:
    push(kept)
    card = hub.content(REPO, "README.md").decode()
    [shell] = re.findall(r"```bash\n(.*?)```", card, re.S)
    [code] = re.findall(r"```python\n(.*?)```", card, re.S)
    env = environment(hub, tmp_path, CHARLM_RUNS=str(tmp_path / "pulled"), PATH=f"{Path(sys.executable).parent}:/bin")
    told: dict[str, Any] = {"capture_output": True, "text": True, "cwd": tmp_path, "env": env, "timeout": patience(120)}
    written = subprocess.run(["bash", "-c", shell], check=False, **told)
    assert written.returncode == 0 and len(written.stdout) > 200, written.stderr
    assert written.stdout.startswith("The ")
    alone = subprocess.run([sys.executable, "-c", code], check=False, **told)
    assert alone.returncode == 0 and len(alone.stdout) > 200, alone.stderr
    for ran in (written, alone):
        assert TOKEN not in ran.stdout + ran.stderr
    assert not [path for path in (tmp_path / "hf").rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert not hub.strange


# --- who sees it ------------------------------------------------------------------------------------------------------


def test_public_only_when_it_is_said_and_never_by_accident(
    hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push(kept, "--public") == 0 and not hub.repos["model", REPO].private
    capsys.readouterr()
    commits = len(hub.repos["model", REPO].commits)
    assert "is public" in refusal(capsys, "push", str(kept.folder), "pets")
    assert push(kept, repo=f"{OWNER}/other") == 0
    capsys.readouterr()
    assert "is private" in refusal(capsys, "push", str(kept.folder), "other", "--public")
    assert len(hub.repos["model", REPO].commits) == commits


def test_a_private_repository_is_nobody_elses(
    hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    push(kept)
    push(kept, "--public", repo="open")
    capsys.readouterr()
    monkeypatch.setenv("HF_TOKEN", READER)
    assert f"there is no {REPO} on the Hub (404)" in refusal(capsys, "pull", REPO)
    monkeypatch.delenv("HF_TOKEN")
    assert f"there is no {REPO} on the Hub (401)" in refusal(capsys, "pull", REPO)
    assert answer(capsys, "pull", f"{OWNER}/open")["label"] == "pets"


def test_what_others_put_there_is_not_overwritten(hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str]) -> None:
    hub.put(REPO, {"README.md": b"# My thesis\n", "thesis.pdf": b"%PDF"}, private=True)
    assert "holds what did not come from here" in refusal(capsys, "push", str(kept.folder), "pets")
    assert hub.content(REPO, "README.md") == b"# My thesis\n"
    assert push(kept, "--force") == 0
    assert hub.content(REPO, "thesis.pdf") == b"%PDF" and b"charlm" in hub.content(REPO, "README.md")


# --- again ------------------------------------------------------------------------------------------------------------


def test_an_unchanged_push_makes_no_commit_and_sends_no_large_file(
    hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    first = answer(capsys, "push", str(kept.folder), "pets")
    sent, commits = sum(hub.sent.values()), len(hub.repos["model", REPO].commits)
    again = answer(capsys, "push", str(kept.folder), "pets")
    assert again["commit"] == first["commit"] and not again["changed"]
    assert (sum(hub.sent.values()), len(hub.repos["model", REPO].commits)) == (sent, commits)
    main(["push", str(kept.folder), "pets"])
    out, err = capsys.readouterr()
    assert out.strip() == first["url"] and "nothing has changed" in err and len(err.splitlines()) == 1


def test_what_is_no_longer_made_goes_and_what_others_added_stays(hub: Hub, kept: Run, tmp_path: Path) -> None:
    push(kept)
    made = hub.repos["model", REPO]
    hub.commit(made, {GRADIENTS: hub.entry(b"{}\n"), "picture.png": hub.entry(b"png")}, "by hand")
    assert push(kept) == 0
    assert GRADIENTS not in made.files and "picture.png" in made.files


def test_a_connection_that_breaks_while_a_file_is_sent_is_taken_up_again(
    hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    broken: list[str] = []

    def once(method: str, path: str) -> bool:
        is_first = method == "PUT" and not broken
        broken.extend([path] if is_first else [])
        return is_first

    hub.breaks_inside = once
    if main(["push", str(kept.folder), "pets"]) != 0:  # huggingface_hub 1.16 does not try again by itself
        assert "do the same again" in capsys.readouterr().err and set(hub.repos["model", REPO].files) == {
            ".gitattributes"
        }
        assert push(kept) == 0
    assert broken
    assert hub.content(REPO, "model.safetensors") == (kept.folder / "best.safetensors").read_bytes()


def test_a_push_that_broke_leaves_nothing_half_and_goes_on_where_it_was(
    hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.breaks = lambda method, path: "/commit/" in path
    said = refusal(capsys, "push", str(kept.folder), "pets")
    assert "the connection to the Hub failed" in said and "do the same again" in said and TOKEN not in said
    made, sent = hub.repos["model", REPO], sum(hub.sent.values())
    assert set(made.files) == {".gitattributes"} and made.private and sent == 2
    hub.breaks = lambda method, path: False
    assert answer(capsys, "push", str(kept.folder), "pets")["changed"]
    assert sum(hub.sent.values()) == sent, "what had arrived was sent twice"
    assert len(made.commits) == 2 and "model.safetensors" in made.files


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "where", "said"),
    [(401, "whoami", "does not accept the token"), (403, "create", "may not do this"), (402, "create", "paid plan"),
     (404, "commit", "(404)"), (429, "create", "too many requests"), (500, "create", "has trouble"),
     (413, "commit", "too large"), (400, "commit", "so it was asked for")],
)  # fmt: skip
def test_refusals_are_one_clear_sentence(
    hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str], status: int, where: str, said: str
) -> None:
    hub.answers = lambda method, path: status if where in path else 0
    refused = refusal(capsys, "push", str(kept.folder), "pets")
    assert said in refused and str(status) in refused and TOKEN not in refused and "http" not in refused


def test_tokens_that_may_not_write_and_places_of_others(
    hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "(403)" in refusal(capsys, "push", str(kept.folder), "someone/pets")
    monkeypatch.setenv("HF_TOKEN", READER)
    assert "(403)" in refusal(capsys, "push", str(kept.folder), "pets")
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 30)
    assert "does not accept the token (401)" in refusal(capsys, "push", str(kept.folder), "pets")
    monkeypatch.delenv("HF_TOKEN")
    asked = len(hub.asked)
    assert "there is no token" in refusal(capsys, "push", str(kept.folder), "pets")
    assert len(hub.asked) == asked and not hub.repos


@pytest.mark.parametrize(
    ("words", "said"),
    [(["push", "sherlock-lstm", "a b"], "'a b'"), (["push", "sherlock-lstm", "a/b/c"], "USER/NAME"),
     (["push", "nobody", "x"], "nobody"), (["push", "sherlock-lstm", "x", "--space", "--page"], "take one"),
     (["push", "sherlock-lstm", "x", "--license", "My Own"], "'My Own'"),
     (["push", "sherlock-lstm", "x", "--language", "English"], "'English'"),
     (["push", "nobody.html", "x", "--page"], "nobody.html"), (["pull", "../x"], "'../x'"),
     (["pull", "nobody/nothing"], "there is no nobody/nothing")],
)  # fmt: skip
def test_mistakes_are_one_sentence_and_change_nothing(
    hub: Hub, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert said in refusal(capsys, *words) and not hub.repos


def test_no_hub_at_all(hub: Hub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the connection to the Hub failed" in refusal(capsys, "push", "sherlock-lstm", "x")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    close_session()  # so that the next one reads it
    assert "HF_HUB_OFFLINE" in refusal(capsys, "pull", "a/b")


def test_a_run_that_is_trained_or_has_no_weights_stays_here(
    hub: Hub, store: RunStore, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.tiny_runs import entered

    [run] = entered(store)
    assert "stop it first" in refusal(capsys, "push", str(run.folder), "x")
    run.update(status="failed")
    run.release()
    assert "no weights" in refusal(capsys, "push", str(run.folder), "x") and not hub.repos


def test_no_token_in_any_log_or_file(
    hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.DEBUG):
        push(kept)
        main(["push", str(kept.folder), "pets", "--page"])
        main(["pull", REPO])
        hub.answers = lambda method, path: 403
        main(["push", str(kept.folder), "pets"])
    out, err = capsys.readouterr()
    assert TOKEN not in out + err + caplog.text and caplog.records
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not [path for path in written if TOKEN.encode() in path.read_bytes()]


# --- the card ---------------------------------------------------------------------------------------------------------


def test_the_card_is_valid_and_says_what_was_measured(kept: Run) -> None:
    text = model_card(kept, REPO, ["model.onnx", "page.html"], "cc-by-4.0", "en")
    card = ModelCard(text)
    data = card.data
    told = data.to_dict()
    assert [told[name] for name in ("library_name", "pipeline_tag", "license", "language")] == [
        "charlm",
        "text-generation",
        "cc-by-4.0",
        "en",
    ]
    assert {"charlm-lab", "gru"} <= set(data.tags or ())
    name, results = model_index_to_eval_results(data.to_dict()["model-index"])
    values = {one.metric_type: one.metric_value for one in results}
    assert name == "pets" and values["loss"] == round(kept.best_val_loss or 0, 4)
    assert values["bits_per_char"] == round(kept.bits_per_char(kept.best_val_loss) or 0, 4)
    assert {(one.dataset_name, one.dataset_split, one.task_type) for one in results} == {
        ("pets.txt", "validation", "text-generation")
    }
    assert metadata_errors(text, "model") == [] and "is not in this repository" in text
    assert text == model_card(kept, REPO, ["model.onnx", "page.html"], "cc-by-4.0", "en")


@pytest.mark.parametrize("arch", ["lstm", "transformer"])
def test_the_card_of_a_run_that_came_with_the_program(arch: str) -> None:
    run = RunStore().get(f"sherlock-{arch}")
    data = ModelCard(model_card(run, "ada/x", ["model.onnx"])).data
    assert (data.language, data.license) == ("en", "mit") and len(data.eval_results or ()) == 2


@pytest.mark.parametrize(
    "label",
    ["a: b # c", "\"quoted\" 'twice'", "---", "[x](javascript:hurt(1)) <img src=x onerror=hurt(2)>", "$(touch x) `id`"],
)
def test_names_are_shown_as_they_are(store: RunStore, label: str) -> None:
    [run] = trained(store, "rnn", label="made", steps=2, eval_every=2)
    run.update(label=label)
    spoiled = store.get(run.run_id)
    text = model_card(spoiled, REPO, ["model.onnx"])
    assert ModelCard(text).data.model_name == label and metadata_errors(text, "model") == []
    shown = text.partition("\n---\n")[2]
    assert not re.search(r"(?<!\\)<img|(?<!\\)\]\(java", shown)
    assert label not in "".join(re.findall(r"```bash\n.*?```", text, re.S))


def test_words_and_counts_have_cards_too(store: RunStore, hub: Hub) -> None:
    [words] = trained(store, "lstm", level="word", steps=4, label="words")
    [counted] = trained(store, "ngram", label="counts")
    for run in (words, counted):
        with model_contents(run, REPO) as contents:
            card = contents.files["README.md"]
            assert isinstance(card, bytes) and metadata_errors(card.decode(), "model") == []
            assert ("page.html" in contents.files) == (run is words) and bool(contents.left_out) == (run is counted)
        assert push(run, repo=run.label) == 0 and main(["pull", f"{OWNER}/{run.label}"]) == 0


# --- a stranger's repository ------------------------------------------------------------------------------------------


@pytest.fixture
def good(kept: Run, tmp_path: Path) -> dict[str, bytes]:
    """The files of a repository that can be pulled."""
    with model_contents(kept, REPO) as contents:
        return {name: one if isinstance(one, bytes) else one.read_bytes() for name, one in contents.files.items()}


PICKLE = b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x05false\x85R."


def described(good: dict[str, bytes], **changes: Any) -> bytes:
    return json.dumps({**json.loads(good["run.json"]), **changes}).encode()


def test_unknown_files_are_never_asked_for(
    hub: Hub, good: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    extra = {"pytorch_model.bin": PICKLE, "../../evil.json": b"{}", "resume.safetensors": b"x", "setup.py": b"raise"}
    hub.put("eve/net", {**good, **extra})
    pulled = answer(capsys, "pull", "eve/net")
    asked = {path.rsplit("/resolve/", 1)[1].partition("/")[2] for _, path, _ in hub.asked if "/resolve/" in path}
    assert asked <= {"run.json", "tokenizer.json", "model.safetensors", *[name for name in good if "jsonl" in name]}
    kept_files = {path.name for path in RunStore().get(pulled["run_id"]).folder.iterdir()}
    assert not kept_files & {"pytorch_model.bin", "resume.safetensors", "setup.py", "evil.json"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run.json": None, "pytorch_model.bin": PICKLE}, "pytorch_model.bin is not opened"),
        ({"model.safetensors": None, "model.pt": PICKLE}, "model.pt is not opened"),
        ({"model.safetensors": PICKLE}, "best.safetensors"),
        ({"model.safetensors": b"\xff" * 64}, "best.safetensors"),
        ({"run.json": b"[1]"}, "run.json"),
        ({"run.json": b"{" * 100_000}, "run.json"),
        ({"run.json": b" " * (2 << 20)}, "larger than any run needs"),
        ({"tokenizer.json": b'{"type": "char", "tokens": ["a"]}'}, "tokenizer"),
        ({"metrics.jsonl": b"x" * (2 << 20)}, "metrics.jsonl"),
    ],
)
def test_what_is_no_run_is_refused_and_leaves_nothing(
    hub: Hub, good: dict[str, bytes], capsys: pytest.CaptureFixture[str], changes: dict[str, Any], said: str
) -> None:
    files = {name: one for name, one in {**good, **changes}.items() if one is not None}
    hub.put("eve/net", files)
    assert said in refusal(capsys, "pull", "eve/net")
    assert not [path for path in Path(os.environ["CHARLM_RUNS"]).glob("*") if path.is_dir()]


def test_sizes_are_counted_whatever_the_hub_says(
    hub: Hub, good: dict[str, bytes], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.put("eve/net", good)
    files = hub.repos["model", "eve/net"].files
    files["model.safetensors"]["size"] = MOST_BYTES + 1
    assert f"more than {MOST_BYTES:,} bytes" in refusal(capsys, "pull", "eve/net")
    assert not any("/resolve/" in path for _, path, _ in hub.asked), "nothing is fetched that is too large"
    files["model.safetensors"]["size"] = 10
    monkeypatch.setattr("charlm.formats.hub.pull.MOST_BYTES", 4_000)
    for name in files:
        files[name]["size"] = 10
    assert "larger than any run needs" in refusal(capsys, "pull", "eve/net")


@pytest.mark.parametrize("hidden", [10**9, -1])
def test_a_model_of_absurd_size_is_refused(
    hub: Hub, good: dict[str, bytes], capsys: pytest.CaptureFixture[str], hidden: int
) -> None:
    model = {**json.loads(good["run.json"])["model"], "hidden_size": hidden}
    hub.put("eve/net", {**good, "run.json": described(good, model=model)})
    assert "hidden_size" in refusal(capsys, "pull", "eve/net")


def test_texts_of_strangers_are_tidied(hub: Hub, good: dict[str, bytes], capsys: pytest.CaptureFixture[str]) -> None:
    forged = described(
        good, label="x\n\u202e" + "y" * 500, owner="somebody", featured=True, shipped=True, run_id="../up"
    )
    hub.put("eve/net", {**good, "run.json": forged})
    run = RunStore().get(answer(capsys, "pull", "eve/net")["run_id"])
    assert "\n" not in run.label and len(run.label) <= 80 and run.owner == "" and "featured" not in run.info
    assert not run.shipped and run.folder.parent == Path(os.environ["CHARLM_RUNS"])


def test_a_download_that_breaks_leaves_nothing(
    hub: Hub, good: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    hub.put("eve/net", good)
    hub.breaks = lambda method, path: path.startswith("/content/")
    assert "the connection to the Hub failed" in refusal(capsys, "pull", "eve/net")
    assert not [path for path in Path(os.environ["CHARLM_RUNS"]).glob("*") if path.is_dir()]
    hub.breaks = lambda method, path: False
    assert answer(capsys, "pull", "eve/net")["label"] == "pets"


# --- Spaces -----------------------------------------------------------------------------------------------------------


def front(data: bytes) -> dict[str, Any]:
    assert metadata_errors(data.decode(), "space") == []
    return SpaceCard(data.decode()).data.to_dict()


def test_a_runs_page_is_a_static_space(hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str]) -> None:
    first = answer(capsys, "push", str(kept.folder), "page", "--page", "--public", "--license", "mit")
    made = hub.repos["space", f"{OWNER}/page"]
    assert first["url"] == f"{hub.endpoint}/spaces/{OWNER}/page" and made.sdk == "static" and not made.private
    assert set(made.files) == {".gitattributes", "README.md", "index.html"}
    about = front(hub.content(f"{OWNER}/page", "README.md", "space"))
    assert (about["title"], about["sdk"], about["app_file"]) == ("pets", "static", "index.html")
    page = hub.content(f"{OWNER}/page", "index.html", "space")
    assert page.startswith(b"<!doctype html>") and TOKEN.encode() not in page
    again = answer(capsys, "push", str(kept.folder), "page", "--page", "--public", "--license", "mit")
    assert not again["changed"] and again["commit"] == first["commit"]


def test_a_comparisons_page_is_a_static_space_and_a_strangers_is_not(
    hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    from charlm.ui.compare.saving import as_html, comparison_now

    Path("both.html").write_text(as_html(comparison_now([kept], {}, None)), encoding="utf-8")
    assert answer(capsys, "push", "both.html", "both", "--page")["private"]
    assert hub.content(f"{OWNER}/both", "index.html", "space") == Path("both.html").read_bytes()
    front(hub.content(f"{OWNER}/both", "README.md", "space"))
    Path("other.html").write_text(
        "<!doctype html><title>x</title><script>alert(1)</script>CharLM Lab", encoding="utf-8"
    )
    assert "is no page of this program" in refusal(capsys, "push", "other.html", "other", "--page")


def test_a_space_is_the_program_with_the_run(hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str]) -> None:
    first = answer(capsys, "push", str(kept.folder), "lab", "--space")
    made = hub.repos["space", f"{OWNER}/lab"]
    assert made.private and made.sdk == "gradio" and first["changed"]
    assert {"app.py", "requirements.txt", "charlm/ui/app.py", "charlm/ui/static/lab.css", "LICENSE"} <= set(made.files)
    own = f"checkpoints/shipped/{kept.run_id}"
    assert {f"{own}/run.json", f"{own}/best.safetensors", "checkpoints/shipped/sherlock-lstm/run.json"} <= set(
        made.files
    )
    assert not [name for name in made.files if "__pycache__" in name or name.endswith(("resume.safetensors", ".lock"))]
    about = front(hub.content(f"{OWNER}/lab", "README.md", "space"))
    assert (about["title"], about["sdk"], about["app_file"], about["license"]) == ("pets", "gradio", "app.py", "mit")
    assert about["hf_oauth"] is True and about["hf_oauth_scopes"] == ["contribute-repos"]
    assert not answer(capsys, "push", str(kept.folder), "lab", "--space")["changed"]


def test_an_installed_package_says_that_it_is_none(
    hub: Hub, kept: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("charlm.formats.hub.spaces.PACKAGE", tmp_path / "site-packages" / "charlm")
    assert "from a checkout" in refusal(capsys, "push", str(kept.folder), "lab", "--space") and not hub.repos


@pytest.mark.slow
def test_a_pushed_space_starts_and_opens_on_the_run(hub: Hub, kept: Run, tmp_path: Path) -> None:
    from tests.server import serving

    assert push(kept, "--space", repo="lab") == 0
    folder = tmp_path / "space"
    for name, one in hub.repos["space", f"{OWNER}/lab"].files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((hub.folder / one["sha256"]).read_bytes())
    with serving(
        tmp_path, cwd=folder, SPACE_ID="ada/lab", SYSTEM="spaces", HOME=str(tmp_path), PYTHONPATH=""
    ) as server:
        import urllib.request

        with urllib.request.urlopen(f"{server.address}config", timeout=patience(60)) as answered:
            config = json.load(answered)
    chosen = [
        part["props"].get("value") for part in config["components"] if part["props"].get("elem_id") == "compare-models"
    ]
    assert chosen == [[kept.run_id]]


def test_digests_are_git_s_own(tmp_path: Path, hub: Hub) -> None:
    """The server's digest of a small file is what `git hash-object` says, which the library compares with."""
    entry = hub.entry(b"hello\n")
    assert entry["git"] == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert entry["sha256"] == hashlib.sha256(b"hello\n").hexdigest()


def test_only_the_token_that_is_given_is_used(hub: Hub) -> None:
    """A visitor's push never falls back to the token of the server."""
    from charlm.errors import HubError

    with pytest.raises(HubError, match="no token"):
        connect(None)
    assert connect("hf_other").token == "hf_other" and connect(None, needed=False).token is False
