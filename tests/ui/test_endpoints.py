"""The endpoints over a real server: a whole session, and every wrong call answered in one sentence."""

import json
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from charlm.data.text_store import recall
from charlm.errors import MeasurementError
from charlm.public.services import Services
from charlm.serving import Finding
from charlm.ui.api import _looked_at
from charlm.ui.app import build_demo
from tests.data.sample_documents import word
from tests.patience import client as patient_client
from tests.patience import patience
from tests.tiny_runs import SMALL, TEXT, trained, wait_for
from tests.ui.servers import private_services, served

NAMES = (
    "search",
    "items",
    "corpora", "runs", "evaluate", "limits", "train", "race", "status", "pause", "stop", "resume", "fork", "retry",
    "queue", "rate", "move", "generate", "compare", "next_tokens", "export", "import_run",
    "memory", "gradient", "surprise", "neurons", "dynamics", "copies", "history", "gym", "cross", "seeds",
    "ballot", "vote", "votes",
)  # fmt: skip
# What stands after the first input of a raw call that leaves it out.
REST: dict[str, tuple[Any, ...]] = {
    "status": (-1,), "evaluate": ("", None), "items": (20, "", None), "resume": (None,), "generate": ("", 500, None),
    "surprise": ("", None), "compare": ("", 500, None), "next_tokens": ("", None), "export": ("zip",),
    "import_run": (None, None),
}  # fmt: skip
SOON = {"hidden_size": 8, "num_layers": 1, "seq_len": 10, "batch_size": 4, "steps": 8, "eval_every": 4}


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with private_services(tmp_path_factory.mktemp("endpoints")) as made:
        yield made


@pytest.fixture(scope="session")
def address(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    demo = build_demo(services, tmp_path_factory.mktemp("secret"))
    with served(demo) as url:
        yield url


@pytest.fixture(scope="session")
def client(address: str) -> Client:
    return patient_client(address)


@pytest.fixture
def pets(tmp_path: Path) -> Any:
    """An upload."""
    path = tmp_path / "pets.txt"
    path.write_text(TEXT, encoding="utf-8")
    return handle_file(str(path))


def until(client: Client, run_id: str, *words: str) -> dict[str, Any]:
    states: list[dict[str, Any]] = [{}]

    def there() -> bool:
        states.append(client.predict(run_id, api_name="/status"))
        return states[-1]["status"] in words

    wait_for(there, f"for {words}: {states[-1]}")
    return states[-1]


def post(address: str, name: str, *data: Any) -> tuple[str, str]:
    """A raw call: the last event and its data, as a plain program sees them; gradio wants all inputs."""
    whole = [*data, *REST.get(name, ())[len(data) - 1 :]]
    body = json.dumps({"data": whole}).encode()
    headers = {"Content-Type": "application/json"}
    call = urllib.request.Request(f"{address}/gradio_api/call/{name}", body, headers)
    try:
        with urllib.request.urlopen(call, timeout=patience(60)) as answer:
            event = json.load(answer)["event_id"]
    except urllib.error.HTTPError as error:
        return "refused", error.read().decode()
    with urllib.request.urlopen(f"{address}/gradio_api/call/{name}/{event}", timeout=patience(60)) as answer:
        lines = answer.read().decode().strip().split("\n")
    return lines[-2].removeprefix("event: "), lines[-1].removeprefix("data: ")


def refusal(address: str, name: str, *data: Any) -> str:
    """The sentence a wrong call is answered with."""
    event, told = post(address, name, *data)
    assert event in ("error", "refused"), (event, told)
    assert "Traceback" not in told and 'File "' not in told and "null" not in told, told
    return told


# --- a session -------------------------------------------------------------------------------------------------------


def test_these_and_no_others_are_offered(client: Client) -> None:
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {f"/{name}" for name in NAMES}


def test_the_catalog(client: Client) -> None:
    corpora = client.predict(api_name="/corpora")
    assert corpora[0]["key"] == "sherlock" and corpora[0]["at_hand"] is True


def test_train_watch_extend_generate_evaluate(client: Client, pets: Any) -> None:
    begun = client.predict("", pets, "gru", {**SOON, "label": "<b>pets</b>"}, api_name="/train")
    assert set(begun) == {"run_id", "status", "position"} and begun["status"] in ("queued", "running", "finished")
    run_id = begun["run_id"]
    state = until(client, run_id, "finished")
    assert state["step"] == 8 and [row["step"] for row in state["metrics"]] == list(range(1, 9))
    assert client.predict(run_id, 6, api_name="/status")["metrics"] == state["metrics"][6:]
    assert client.predict(run_id, 6.0, api_name="/status")["metrics"] == state["metrics"][6:]
    [run] = [run for run in client.predict(api_name="/runs") if run["run_id"] == run_id]
    assert (run["label"], run["corpus"], run["arch"]) == ("<b>pets</b>", "pets.txt", "gru")
    client.predict(run_id, {"steps": 4}, api_name="/resume")
    assert until(client, run_id, "finished")["step"] == 12
    scores = client.predict(run_id, "", {"split": "all"}, api_name="/evaluate")
    assert scores["tokens"] == len(TEXT) - 1 and scores["split"] == "all"
    assert client.predict(run_id, "The cat", api_name="/evaluate")["tokens"] == 6
    texts = list(client.submit(run_id, "The ", 30, {"seed": 5}, api_name="/generate"))
    assert texts[-1].startswith("The ") and len(texts[-1]) == 34
    assert texts[-1] == client.predict(run_id, "The ", 30, {"seed": 5}, api_name="/generate")


def test_race_stop_compare(client: Client, pets: Any) -> None:
    options = {**SOON, "steps": 1_000_000, "eval_every": 1_000_000}
    runs = client.predict("", pets, ["lstm", "rnn"], options, api_name="/race")
    waiting = client.predict("", pets, "lstm", SOON, api_name="/train")
    assert waiting["status"] == "queued" and waiting["position"] == 1
    ids = [run["run_id"] for run in runs]
    for run_id in ids:
        until(client, run_id, "running")
    assert client.predict(ids[0], api_name="/pause")["status"] == "paused"
    assert client.predict(ids[0], api_name="/resume")["status"] == "running"
    for run_id in ids:
        client.predict(run_id, api_name="/stop")
        assert until(client, run_id, "stopped")["best_val_loss"] is not None
    until(client, waiting["run_id"], "finished")
    texts = list(client.submit(ids, "The ", 20, {"greedy": True}, api_name="/compare"))[-1]
    assert list(texts) == ids and all(len(text) == 24 for text in texts.values())


def test_a_run_leaves_as_a_file(client: Client, run_id: str) -> None:
    with zipfile.ZipFile(client.predict(run_id, api_name="/export")) as archive:
        assert f"{run_id}/run.json" in archive.namelist()
    page = Path(client.predict(run_id, "html8", api_name="/export"))
    assert page.suffix == ".html" and page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_file_becomes_a_run(client: Client, run_id: str, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """The importer stands in for itself: what it is given is what the client meant."""
    given: dict[str, Any] = {}

    def import_file(store: Any, path: Path, **options: Any) -> Any:
        given.update(options, data=path.read_bytes(), listed=options["characters"].read_text())
        return store.get(run_id)

    stand_in = ModuleType("charlm.formats.imports")
    stand_in.import_file = import_file  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "charlm.formats.imports", stand_in)
    folder = services.store.root.parent
    (folder / "a.pt").write_bytes(b"weights")
    (folder / "a.list").write_text("abc")
    files = [handle_file(str(folder / name)) for name in ("a.pt", "a.list")]
    options = {"label": "x", "nonlinearity": "relu", "corpus": "sherlock"}
    summary = client.predict(files[0], options, files[1], api_name="/import_run")
    assert summary["run_id"] == run_id and summary["arch"] == "lstm"
    assert given["data"] == b"weights" and given["listed"] == "abc" and given["corpus"].key == "sherlock"
    assert (given["label"], given["nonlinearity"]) == ("x", "relu")


def test_a_zip_comes_back_as_a_new_run(client: Client, run_id: str) -> None:
    pytest.importorskip("charlm.formats.imports")
    path = client.predict(run_id, "zip", api_name="/export")
    summary = client.predict(handle_file(path), {"label": "back"}, api_name="/import_run")
    assert summary["label"] == "back" and summary["run_id"] != run_id
    known = {run["run_id"]: run for run in client.predict(api_name="/runs")}
    assert known[summary["run_id"]]["best_val_loss"] == known[run_id]["best_val_loss"]
    texts = [client.predict(one, "The ", 20, {}, api_name="/generate") for one in (run_id, summary["run_id"])]
    assert texts[0] == texts[1]


def test_options_may_be_text(address: str, client: Client, pets: Any) -> None:
    run_id = client.predict("", pets, "lstm", SOON, api_name="/train")["run_id"]
    until(client, run_id, "finished")
    event, told = post(address, "generate", run_id, "The ", 10, '{"greedy": true}')
    assert event == "complete" and json.loads(told)[0].startswith("The ")


def test_several_samples_come_as_lists(client: Client, run_id: str) -> None:
    options = {"seed": 5, "samples": 2, "stop": ["never"]}
    texts = client.predict(run_id, "The ", 20, options, api_name="/generate")
    alone = [client.predict(run_id, "The ", 20, {"seed": seed}, api_name="/generate") for seed in (5, 6)]
    assert texts == alone and alone[0] != alone[1]
    assert client.predict([run_id], "The ", 20, options, api_name="/compare") == {run_id: alone}
    assert list(client.submit(run_id, "The ", 20, options, api_name="/generate"))[-1] == alone
    stop = alone[0][10:13]
    stopped = client.predict(run_id, "The ", 20, {"seed": 5, "stop": stop}, api_name="/generate")
    assert stopped == "The " + alone[0].removeprefix("The ").partition(stop)[0]


def test_what_may_come_next(client: Client, run_id: str) -> None:
    listed = client.predict(run_id, "The ca", {"temperature": 0.5, "count": 1000}, api_name="/next_tokens")
    assert sum(one["probability"] for one in listed) == pytest.approx(1) == sum(one["raw"] for one in listed)
    assert [one["raw"] for one in listed] == sorted((one["raw"] for one in listed), reverse=True)
    first = client.predict(run_id, "The ca", 1, {"greedy": True}, api_name="/generate")
    assert first == "The ca" + listed[0]["token"] and set(listed[0]) == {"token", "probability", "raw"}
    assert len(client.predict(run_id, api_name="/next_tokens")) == min(12, len(listed))
    assert client.predict(run_id, "日本" * 50_000, {"top_k": 1}, api_name="/next_tokens")[0]["probability"] == 1


# --- wrong calls -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file",
    [{"path": "/etc/passwd"}, {"path": "../../etc/passwd"},
     {"path": ""}, {"path": "x\0y"}, {"path": 5}, {"path": ["/etc/passwd"]}, {"path": "x" * 9000}, {"url": "file:///etc/passwd"},
     "/etc/passwd", 5, [1], {"path": "/proc/self/environ", "orig_name": "a.txt"}],
)  # fmt: skip
def test_only_uploads_are_opened(file: Any, address: str, services: Services) -> None:
    before = len(services.store.list())
    for name, data in (
        ("train", ["", file, "lstm", SOON]),
        ("race", ["", file, ["lstm"], SOON]),
        ("import_run", [file]),
    ):
        told = refusal(address, name, *data)
        assert "root:" not in told
    assert len(services.store.list()) == before


def test_gradio_itself_refuses_a_path_that_claims_to_be_its_upload(address: str, services: Services) -> None:
    before = len(services.store.list())
    forged = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    event, told = post(address, "train", "", forged, "lstm", SOON)
    assert event == "error" and "root:" not in told and "Traceback" not in told
    assert len(services.store.list()) == before


@pytest.mark.parametrize(
    ("archs", "options", "said"),
    [("perceptron", {}, "perceptron"), (5, {}, "arch must be text"), (["lstm"], {}, "arch"), ({}, {}, "arch"),
     (None, {}, "arch"), ("lstm", "{", "options must be a JSON object"), ("lstm", "[" * 50_000, "JSON object"),
     ("lstm", [1], "JSON object, not list"), ("lstm", 7, "JSON object, not int"),
     ("lstm", {"hidden": 8}, "did you mean hidden_size?"), ("lstm", {"hidden_size": 0}, "hidden_size 0 is outside 1"),
     ("lstm", {"hidden_size": "many"}, "hidden_size must be a number"),
     ("lstm", {"steps": True}, "steps must be a number"),
     ("lstm", {"preset": "best"}, "preset 'best'"), ("lstm", {"preset": []}, "preset []"),
     ("lstm", {"hidden_size": 4096, "num_layers": 8, "batch_size": 4096, "seq_len": 4096}, "GB of memory"),
     ("lstm", {"device": "tpu"}, "device 'tpu'"), ("lstm", {"label": "x" * 81}, "label has 81"),
     ("lstm", {"val_fraction": 2}, "val_fraction 2")],
)  # fmt: skip
def test_wrong_settings_for_a_training(archs: Any, options: Any, said: str, address: str, services: Services) -> None:
    before = len(services.store.list())
    assert said in refusal(address, "train", "sherlock", None, archs, options)
    assert len(services.store.list()) == before


@pytest.mark.parametrize("corpus", ["", "no such text", 5, None, [], {"key": "sherlock"}, "/etc/passwd", "x" * 100_000])
def test_wrong_corpora(corpus: Any, address: str) -> None:
    assert len(refusal(address, "train", corpus, None, "lstm", SOON)) < 1000


@pytest.mark.parametrize("archs", ["lstm", [5], [None], ["lstm", "lstm"], {"a": 1}, ["lstm", "nope"]])
def test_wrong_racers(archs: Any, address: str) -> None:
    refusal(address, "race", "sherlock", None, archs, SOON)


def test_a_race_of_seeds_says_what_may_be_claimed(client: Client, tmp_path: Path) -> None:
    book = tmp_path / "long.txt"
    book.write_text(TEXT * 40, encoding="utf-8")
    options = {**SOON, "seeds": 2, "match": "parameters"}
    runs = client.predict("", handle_file(str(book)), ["gru", "rnn"], options, api_name="/race")
    assert len(runs) == 4
    for run in runs:
        until(client, run["run_id"], "finished")
    found = client.predict([runs[0]["run_id"]], api_name="/seeds")
    assert found["seeds"] == [7, 8] and found["measured_on"] == "test" and len(found["differences"]) == 1
    assert client.predict([run["run_id"] for run in runs], api_name="/seeds") == found


def test_what_belongs_to_a_race_is_no_option_of_one_training(address: str) -> None:
    assert "seeds is a setting of a race: call /race" in refusal(
        address, "train", "sherlock", None, "gru", {"seeds": 2}
    )
    early = {**SOON, "seeds": 3, "early_stop": True}
    assert "needs 4 seeds or more, not 3" in refusal(address, "race", "sherlock", None, ["gru", "rnn"], early)
    assert "early_stop must be true or false" in refusal(
        address, "race", "sherlock", None, ["gru", "rnn"], {"early_stop": "soon"}
    )
    assert "seeds 99 is outside 1 to 10" in refusal(address, "race", "sherlock", None, ["gru"], {"seeds": 99})
    assert "run_ids must be a list of text" in refusal(address, "seeds", "x")


@pytest.mark.parametrize("name", ["status", "pause", "stop", "resume", "evaluate", "generate", "export", "next_tokens"])
@pytest.mark.parametrize("run_id", ["none", "", "../x", "\0", 5, None, [], {"run_id": 1}, "x" * 10_000, "<script>"])
def test_runs_that_are_none(name: str, run_id: Any, address: str) -> None:
    assert "there is no run" in refusal(address, name, run_id)


@pytest.mark.parametrize(
    ("data", "said"),
    [([[]], "choose 1 to 6"), (["x"], "run_ids must be a list of text"), ([["none"]], "there is no run"),
     ([["none"] * 7], "choose 1 to 6"), ([None], "choose 1 to 6"), ([[5]], "list of text")],
)  # fmt: skip
def test_wrong_runs_to_measure(data: list[Any], said: str, address: str) -> None:
    assert said in refusal(address, "surprise", *data)


@pytest.mark.parametrize(
    ("data", "said"),
    [([5], "text must be text"), (["The cat", {"characters": "many"}], "characters must be a number"),
     (["The cat", {"characters": 1}], "characters 1 is outside"), (["The cat", {"colour": 1}], "known are: characters"),
     (["The cat", "{"], "JSON object"), ([" "], "the text to measure on is empty"), (["日本"], "at least 2 are needed"),
     (["The cat \ud800"], "lone surrogate")],
)  # fmt: skip
def test_wrong_questions_to_a_measurement(data: list[Any], said: str, address: str, run_id: str) -> None:
    assert said in refusal(address, "surprise", [run_id], *data)


def test_a_measurement_streams_and_ends_with_its_result(client: Client, services: Services, run_id: str) -> None:
    [found] = client.predict([run_id], TEXT, {"characters": 60}, api_name="/surprise")
    assert found["run_id"] == run_id and "share" not in found and len(found["bits"]) == found["tokens"] + 1
    [first, *_] = client.submit([run_id], TEXT, {"characters": 61}, api_name="/surprise")
    assert first[0]["run_id"] == run_id and 0.0 <= first[0]["share"] <= 1.0
    [known] = services.serving.inspect("surprise", [services.store.get(run_id)], TEXT, {"characters": 60}, False)
    assert known.result == {name: value for name, value in found.items() if name != "run_id"}
    tiny = {"task": "parity", "archs": ["rnn"], "seeds": 1, "steps": 3, "longest": 2}
    assert client.predict(tiny, api_name="/gym")["learners"][0]["arch"] == "rnn"


def test_a_measurement_that_nobody_makes_any_longer_ends_its_call() -> None:
    run: Any = SimpleNamespace(run_id="one")
    known = [[Finding(run, begun=True)], [Finding(run)]]  # trained on meanwhile: it is another question now
    serving = SimpleNamespace(inspect=lambda *_, **__: known.pop(0))
    ended = _looked_at(SimpleNamespace(serving=serving), "surprise", [run], None, {})  # type: ignore[arg-type]
    assert next(ended) == [{"run_id": "one", "share": 0.0}]
    with pytest.raises(MeasurementError, match="stopped before anything was found"):
        next(ended)


@pytest.fixture(scope="session")
def run_id(services: Services, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A finished run in the server's store."""
    return trained(services.store, **{**SMALL, "steps": 1})[0].run_id


def test_models_duel_and_read_each_other(client: Client, services: Services) -> None:
    ids = [run.run_id for run in trained(services.store, "lstm", "gru", steps=4)]
    usual = list(client.submit(ids, "The ", 20, {}, api_name="/compare"))[-1]
    assert list(client.submit(ids, "The ", 20, {"duel": True}, api_name="/compare"))[-1] == usual
    [words] = trained(services.store, "rnn", steps=2, level="word", label="<b>words</b>")
    with pytest.raises(AppError, match="words</b> differs from"):
        client.predict([*ids, words.run_id], "The ", 20, {"duel": True}, api_name="/compare")
    *coming, found = client.submit([*ids, words.run_id], {"length": 50}, api_name="/cross")
    assert coming and all(0 < one["share"] < 1 for one in coming)
    assert found["readers"] == [*ids, words.run_id] and len(found["rows"]) == 4
    assert found["rows"][0]["bits"][0] > 0 and found["rows"][0]["bits"][2] is None
    with pytest.raises(AppError, match="did you mean samples"):
        client.predict(ids, {"sample": 30}, api_name="/cross")
    with pytest.raises(AppError, match="choose 1 to 6 models"):
        client.predict([], None, api_name="/cross")


def test_texts_are_voted_on_blindly(client: Client, services: Services, address: str) -> None:
    runs = trained(services.store, "lstm", "ngram", text=TEXT * 20, steps=4)
    ids = [run.run_id for run in runs]
    ballot = client.predict(ids, {"length": 50, "seed": 3}, api_name="/ballot")
    assert set(ballot) == {"ballot", "questions", "prompt", "texts", "part", "corpus"} and len(ballot["texts"]) == 3
    assert {len(text) for text in ballot["texts"]} == {50} and set(ballot["questions"]) == {"best", "human"}
    assert not any(word in json.dumps(ballot) for run in runs for word in (run.run_id, run.label, run.arch))
    assert sum(ballot["prompt"] + text in TEXT * 20 for text in ballot["texts"]) >= 1
    again = client.predict(ids, {"length": 50, "seed": 3}, api_name="/ballot")
    assert sorted(again["texts"]) == sorted(ballot["texts"]) and again["ballot"] != ballot["ballot"]
    assert sorted(client.predict(ids, {"length": 50}, api_name="/ballot")["texts"]) != sorted(ballot["texts"])
    assert "place 3 is outside 0 to 2" in refusal(address, "vote", ballot["ballot"], 3, "human")
    assert "kind 'worst' is not one of" in refusal(address, "vote", ballot["ballot"], 1, "worst")
    answer = client.predict(ballot["ballot"], 1, "human", api_name="/vote")
    assert answer["chosen"] == 1 and {one["run_id"] for one in answer["authors"]} == {"", *ids}
    assert ballot["prompt"] + ballot["texts"][answer["human"]] in TEXT * 20
    assert "waits for a vote" in refusal(address, "vote", ballot["ballot"], 1, "human")
    votes = client.predict(api_name="/votes")
    assert list(votes) == ["together"] and votes["together"]["human"]["votes"] == 1
    assert votes["together"]["best"]["votes"] == 0 and len(votes["together"]["human"]["rows"]) == 3


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [("ballot", [[], None], "choose 1 to 6"), ("ballot", ["x", None], "list of text"),
     ("ballot", [["x"], None], "there is no run"), ("ballot", [["x"], {"heat": 1}], "unknown setting"),
     ("vote", [5, 0, "best"], "ballot must be text"),
     ("vote", ["x", "a", "best"], "place must be a whole number"), ("vote", ["x", 0, 5], "kind must be text"),
     ("vote", ["x" * 5000, 0, "best"], "waits for a vote")],
)  # fmt: skip
def test_wrong_votes(name: str, data: list[Any], said: str, address: str) -> None:
    assert said in refusal(address, name, *data)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [("status", ["soon"], "since_step must be a whole number"), ("status", [None], "since_step"),
     ("status", [[1]], "since_step"), ("evaluate", [5], "text must be text"),
     ("evaluate", [["a"]], "text must be text"),
     ("evaluate", ["The cat", {"split": "half"}], "not one of: val, test, all"),
     ("evaluate", ["The cat", {"split": 5}], "split must be text"),
     ("evaluate", ["The", {"splits": "val"}], "mean split?"),
     ("evaluate", ["日本"], "at least 2 known"), ("evaluate", [None], "text must be text"),
     ("generate", [5], "prompt must be text"), ("generate", [None], "prompt must be text"),
     ("items", ["many"], "count must be a whole number"), ("items", [0], "count must be from 1 to 10,000"),
     ("items", [3], "learned a text that goes on, no list"),
     ("items", [3, "", {"heat": 1}], "unknown setting"),
     ("generate", ["a", "long"], "length must be a number"), ("generate", ["a", None], "length must be a number"),
     ("generate", ["a", 0], "length 0 is outside"), ("generate", ["a", 10**9], "outside 1 to 100,000"),
     ("generate", ["a", 10**400], "length"), ("generate", ["a", 5, {"temperature": 0.001}], "temperature 0.001"),
     ("generate", ["a", 5, {"heat": 1}], "unknown setting"), ("generate", ["a", 5, {"seed": -1}], "seed -1"),
     ("next_tokens", [5], "text must be text"), ("next_tokens", ["a", {"count": 0}], "count 0 is outside 1 to 1000"),
     ("next_tokens", ["a", {"count": "x"}], "count must be a whole number"),
     ("next_tokens", ["a", {"heat": 1}], "unknown setting"), ("next_tokens", ["a", {"top_p": 2}], "top_p 2"),
     ("generate", ["a", 5, {"stop": 5}], "stop must be a text or a list"),
     ("generate", ["a", 5, {"beams": 9}], "beams 9 is outside 1 to 8"),
     ("generate", ["a", 5, {"samples": 2, "greedy": True}], "ask for 1 sample"),
     ("generate", ["a", 5, "x"], "JSON object"), ("resume", [{"steps": "x"}], "steps must be a number"),
     ("resume", [{"hidden_size": 9}], "unknown setting"), ("resume", [], "say how many more"),
     ("export", ["tar"], "a run can be exported as zip, torch"), ("export", [5], "format must be text"),
     ("export", [None], "format must be text"), ("resume", ["x"], "JSON object"),
     ("pause", [], "not training here"), ("stop", [], "not training here")],
)  # fmt: skip
def test_wrong_arguments(name: str, data: list[Any], said: str, run_id: str, address: str) -> None:
    assert said in refusal(address, name, run_id, *data)


@pytest.mark.parametrize(
    ("options", "said"),
    [({"name": "x"}, "unknown setting 'name'"), ({"label": 5}, "label must be text"), ({"nonlinearity": None}, "text"),
     ({"corpus": 5}, "corpus must be text"), ({"corpus": "/etc/passwd"}, "passwd"), ("[", "JSON object"), ([], "list")],
)  # fmt: skip
def test_wrong_imports(options: Any, said: str, address: str) -> None:
    assert said in refusal(address, "import_run", None, options)


@pytest.mark.parametrize("ids", [[], None, "none", [5], ["none"], {}, [["x"]], ["none"] * 7])
def test_wrong_comparisons(ids: Any, address: str) -> None:
    refusal(address, "compare", ids, "", 5)


def test_the_same_run_twice(run_id: str, address: str) -> None:
    assert "chosen twice" in refusal(address, "compare", [run_id, run_id], "", 5)


def test_what_is_no_call_at_all(address: str) -> None:
    for body in (b"", b"{", b"[]", b'{"data": 5}', b'{"data": []}'):
        call = urllib.request.Request(f"{address}/gradio_api/call/status", body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(call, timeout=patience(60)) as answer:
                told = answer.read().decode()
        except urllib.error.HTTPError as error:
            told = error.read().decode()
        assert "Traceback" not in told


def test_the_client_raises_the_sentence(client: Client) -> None:
    with pytest.raises(AppError, match="there is no run 'none'"):
        client.predict("none", api_name="/status")


def test_a_folder_that_cannot_be_written_is_a_sentence(
    address: str, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CHARLM_DATA", str(tmp_path / "file"))
    assert "cannot be kept" in refusal(address, "train", "sherlock", None, "lstm", SOON)
    monkeypatch.undo()
    monkeypatch.setattr(services.store, "root", tmp_path / "file")
    assert "a run cannot be made" in refusal(address, "train", "sherlock", None, "lstm", SOON)


def test_a_fork_goes_on_with_an_upload(client: Client, services: Services, address: str, pets: Any) -> None:
    [parent] = trained(services.store, text="a hen ran. " * 60)
    made = client.predict(parent.run_id, {"steps": 3}, "", pets, api_name="/fork")
    assert until(client, made["run_id"], "finished")["step"] == 3
    assert services.store.get(made["run_id"]).corpus["name"] == "pets.txt"
    assert client.predict(parent.run_id, {"steps": 3}, api_name="/fork")["run_id"]
    assert "no-such-text" in refusal(address, "fork", parent.run_id, None, "no-such-text", None)
    assert "not an upload" in refusal(address, "fork", parent.run_id, None, "", {"path": "/etc/passwd"})


def test_documents_and_several_files_are_texts(
    address: str, client: Client, services: Services, tmp_path: Path
) -> None:
    (tmp_path / "a.docx").write_bytes(word())
    (tmp_path / "b 10.html").write_text("<p>The hen slept.</p>" * 20, encoding="utf-8")
    (tmp_path / "b 9.txt").write_bytes(("Łódź i Wąż. " * 40).encode("cp1250"))
    files = [handle_file(str(tmp_path / name)) for name in ("b 10.html", "b 9.txt", "a.docx")]
    run_id = client.predict("", files, "gru", SOON, api_name="/train")["run_id"]
    until(client, run_id, "finished")
    run = services.store.get(run_id)
    assert run.corpus["name"] == "a.docx and 2 more.zip"
    text = recall(run.corpus["sha256"])
    assert text and any("natural order of their paths: a.docx, b 9.txt, b 10.html" in one for one in text.repairs)
    run_id = client.predict("", files[1], "gru", {**SOON, "encoding": "cp1250"}, api_name="/train")["run_id"]
    until(client, run_id, "finished")
    text = recall(services.store.get(run_id).corpus["sha256"])
    assert text and "Łódź" in text.text
    assert "the file is not an upload" in refusal(address, "train", "", [{"path": "/etc/passwd"}], "gru", SOON)
    assert "encoding 'x' is not known" in refusal(address, "train", "sherlock", None, "gru", {"encoding": "x"})
