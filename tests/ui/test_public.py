"""A public Space over a real server: strangers beside each other, and a forged call for every limit."""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from charlm.config import ModelConfig
from charlm.public.identity import COOKIE
from charlm.public.limits import Limits
from charlm.ui.services import PublicAppServices
from tests.patience import patience
from tests.tiny_runs import TEXT, wait_for
from tests.ui.strangers import LONG, SHIPPED, SOON, Bare, file_data, stranger

get, post = (partial(ask, timeout=patience(60)) for ask in (httpx.get, httpx.post))


def refused(client: Client, *args: Any, api_name: str) -> str:
    """The one sentence a call is refused with."""
    with pytest.raises(AppError) as caught:
        client.predict(*args, api_name=api_name)
    said = str(caught.value)
    assert "Traceback" not in said and "\n" not in said
    return said


def finished(client: Client, run_id: str) -> None:
    wait_for(lambda: client.predict(run_id, -1, api_name="/status")["status"] == "finished", f"for {run_id}")


def test_a_visitor_meets_shipped_and_own_runs_only(visit: Any, pets: Any, idle: None) -> None:
    one, other = visit(), visit()
    run_id = one.predict("", pets, "gru", {**SOON, "label": "mine"}, api_name="/train")["run_id"]
    finished(one, run_id)
    assert {run["run_id"] for run in one.predict(api_name="/runs")} == {run_id, *SHIPPED}
    assert {run["run_id"] for run in other.predict(api_name="/runs")} == SHIPPED
    unknown = refused(other, "20260101-000000-gru-0123456789", -1, api_name="/status")
    for name, *rest in (
        ("/status", -1), ("/stop",), ("/pause",), ("/resume", {"steps": 5}), ("/fork", {}), ("/retry",), ("/move", -1),
        ("/evaluate", "", {}), ("/rate", 0.1, False), ("/rate", 0.1, True),
    ):  # fmt: skip
        said = refused(other, run_id, *rest, api_name=name)
        assert said == unknown.replace("20260101-000000-gru-0123456789", run_id), name
    for name in ("/generate", "/compare"):
        said = refused(other, run_id if name == "/generate" else [run_id], "", 5, {}, api_name=name)
        assert said == unknown.replace("20260101-000000-gru-0123456789", run_id), name
    assert one.predict(run_id, "The", 5, {}, api_name="/generate").startswith("The")


def test_a_visitor_has_three_seeds(visit: Any, pets: Any, idle: None) -> None:
    one, other = visit(), visit()
    options = {**SOON, "seeds": 3}
    runs = one.predict("", pets, ["gru", "rnn"], options, api_name="/race")
    assert len(runs) == 6
    assert "seeds is 4, more than the 3" in refused(one, "", pets, ["gru"], {**SOON, "seeds": 4}, api_name="/race")
    for run in runs:
        finished(one, run["run_id"])
    assert one.predict([runs[0]["run_id"]], api_name="/seeds")["seeds"] == [7, 8, 9]
    assert "there is no run" in refused(other, [runs[0]["run_id"]], api_name="/seeds")
    assert "are wanted; delete some" in refused(one, "", pets, ["gru", "rnn", "lstm"], options, api_name="/race")


@pytest.mark.slow
def test_equal_seconds_are_those_that_the_first_needs(visit: Any, pets: Any, idle: None) -> None:
    one = visit()
    runs = one.predict("", pets, ["gru", "rnn"], {**SOON, "budget": "seconds"}, api_name="/race")
    for run in runs:
        finished(one, run["run_id"])
    assert all(one.predict(run["run_id"], -1, api_name="/status")["seconds"] < 5 for run in runs)
    said = refused(one, "", pets, ["lstm", "rnn"], {**SOON, "steps": 2000, "budget": "flops"}, api_name="/race")
    assert "more than the 2,000 of this public Space" in said


def test_the_queue_shows_ones_own_trainings(visit: Any, pets: Any, idle: None) -> None:
    one, other = visit(), visit()
    first = one.predict("", pets, "rnn", LONG, api_name="/train")["run_id"]
    second = other.predict("", pets, "rnn", LONG, api_name="/train")
    assert second["position"] == 1
    assert [job["run_ids"] for job in one.predict(api_name="/queue")] == [[first]]
    [job] = other.predict(api_name="/queue")
    assert job["run_ids"] == [second["run_id"]] and job["position"] == 1
    assert "cannot be paused" in refused(one, first, api_name="/pause")
    assert "keeps its order" in refused(other, second["run_id"], -1, api_name="/move")


def test_the_rate_of_ones_own_training_is_changed(visit: Any, pets: Any, idle: None) -> None:
    one = visit()
    run_id = one.predict("", pets, "rnn", LONG, api_name="/train")["run_id"]
    assert one.predict(run_id, 0.001, False, api_name="/rate")["run_id"] == run_id

    def newest() -> float:
        rows = one.predict(run_id, -1, api_name="/status")["metrics"]
        return rows[-1]["learning_rate"] if rows else 1.0

    wait_for(lambda: newest() <= 0.001)
    assert "learning_rate 11.0 is outside" in refused(one, run_id, 11, False, api_name="/rate")
    [shipped] = [run for run in sorted(SHIPPED)][:1]
    assert "is not at work" in refused(one, shipped, 0.1, False, api_name="/rate")


# What is asked for beyond a limit, by the limit's name: endpoint and inputs.
FORGED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "hidden_size": ("/train", ("", None, "rnn", {"hidden_size": 1281})),
    "num_layers": ("/train", ("", None, "rnn", {"num_layers": 5})),
    "parameters": ("/train", ("", None, "lstm", {"hidden_size": 640, "num_layers": 2})),
    "tokens_a_step": ("/train", ("", None, "rnn", {"batch_size": 4096, "seq_len": 10})),
    "vocab_size": ("/train", ("", None, "rnn", {"level": "bpe", "vocab_size": 20_001})),
    "steps": ("/train", ("", None, "rnn", {"steps": 2001})),
    "run_minutes": ("/train", ("", None, "rnn", {"minutes": 5.1, "steps": 0})),
    "length": ("/generate", ("sherlock-rnn", "", 1001, {})),
    "prompt": ("/generate", ("sherlock-rnn", "x" * 2001, 10, {})),
    "corpus_bytes": ("/evaluate", ("sherlock-rnn", "x" * 2_000_001, {})),
    "runs": ("/race", ("", None, ["lstm", "gru", "rnn", "transformer", "mingru"], {**SOON, "seeds": 3})),
    "seeds": ("/race", ("", None, ["rnn"], {**SOON, "seeds": 4})),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_call_beyond_a_limit_is_refused(name: str, visit: Any, pets: Any, idle: None) -> None:
    client, (endpoint, given) = visit(), FORGED[name]
    if endpoint in ("/train", "/race"):
        given = ("", pets, *given[2:])
    said = refused(client, *given, api_name=endpoint)
    assert "CHARLM_PUBLIC=0" in said, said
    assert f"{getattr(Limits(), name):,}" in said, said


def test_a_text_of_more_than_two_megabytes_is_not_trained_on(visit: Any, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("ab" * 1_000_001)
    assert "2,000,000" in refused(visit(), "", handle_file(str(path)), "rnn", SOON, api_name="/train")


def test_the_eleventh_text_of_a_minute_has_to_wait(visit: Any) -> None:
    client, other = visit(), visit()
    for _ in range(10):
        client.predict("sherlock-rnn", "", 2, {}, api_name="/generate")
    assert "wait" in refused(client, "sherlock-rnn", "", 2, {}, api_name="/generate")
    assert "wait" in refused(client, ["sherlock-rnn"], "", 2, {}, api_name="/compare")
    assert other.predict("sherlock-rnn", "", 2, {}, api_name="/generate") is not None


def test_a_run_without_an_end_ends_with_the_visitors_minutes(
    visit: Any, pets: Any, lab: PublicAppServices, idle: None
) -> None:
    run_id = visit().predict("", pets, "rnn", {**SOON, "steps": 0, "epochs": 1e5}, api_name="/train")["run_id"]
    train = lab.store.get(run_id).train_config
    assert train.minutes == 5 and train.steps == 2000


@pytest.mark.slow
def test_one_measurement_at_a_time_which_costs_its_seconds(visit: Any, pets: Any, idle: None) -> None:
    one, other = visit(), visit()
    found = one.predict(["sherlock-rnn"], "", {}, api_name="/memory")  # comes with the run, and costs nothing
    assert found[0]["memory"] and one.predict(api_name="/limits")["left"]["minutes"] == 15
    slow = one.submit(["sherlock-rnn"], TEXT * 20, {"targets": 100_000}, api_name="/memory")
    wait_for(lambda: one.predict(api_name="/limits")["left"]["set_aside"] == 1, "for the measurement to begin")
    assert "one at a time" in refused(one, ["sherlock-rnn"], "The cat sat on the mat.", {}, api_name="/surprise")
    [cheap] = other.predict(["sherlock-rnn"], "The cat sat on the mat.", {}, api_name="/surprise")
    assert cheap["run_id"] == "sherlock-rnn" and cheap["tokens"] == 22
    slow.cancel()
    wait_for(lambda: one.predict(api_name="/limits")["left"]["set_aside"] == 0, "for the measurement to end")
    left = one.predict(api_name="/limits")["left"]["minutes"]
    assert 13.5 < left < 15 and other.predict(api_name="/limits")["left"]["minutes"] <= 15
    said = refused(one, ["sherlock-rnn"], "x" * 2_000_001, {}, api_name="/surprise")
    assert "2,000,000" in said and "CHARLM_PUBLIC=0" in said


def test_minutes_of_the_day_are_counted(visit: Any, pets: Any, lab: PublicAppServices, idle: None) -> None:
    client = visit()
    assert client.predict(api_name="/limits")["left"] == {"texts": 10, "minutes": 15, "set_aside": 0, "runs": 12}
    ids = [run["run_id"] for run in client.predict("", pets, ["lstm", "gru", "rnn"], SOON, api_name="/race")]
    for run_id in ids:
        finished(client, run_id)
    left = client.predict(api_name="/limits")["left"]
    used = sum(lab.store.get(run_id).seconds for run_id in ids) / 60
    assert left["runs"] == 9 and left["minutes"] == pytest.approx(15 - used, abs=0.06)
    client.predict(ids[0], {"steps": 5}, api_name="/resume")
    finished(client, ids[0])
    assert lab.store.get(ids[0]).step == SOON["steps"] + 5
    assert "steps" in refused(client, ids[0], {"steps": 2000}, api_name="/resume")
    assert "minutes" in refused(client, ids[0], {"minutes": 6}, api_name="/resume")
    for archs, seeds in ((["gru", "rnn"], 3), (["gru", "rnn", "lstm"], 1)):
        for run in client.predict("", pets, archs, {**SOON, "seeds": seeds}, api_name="/race"):
            finished(client, run["run_id"])
    assert "runs" in refused(client, "sherlock-rnn", {"steps": 5}, api_name="/fork")


def test_who_brings_no_secret_works_within_an_address(address: str, visit: Any, pets: Any, idle: None) -> None:
    bare = Bare(address)
    run_id = bare.predict("train", "sherlock", None, "rnn", SOON)["run_id"]
    wait_for(lambda: bare.predict("status", run_id, -1)["status"] == "finished", "for the training")
    assert {run["run_id"] for run in bare.predict("runs")} == SHIPPED  # others may share the address
    assert "no run" in refused(visit(), run_id, -1, api_name="/status")


def test_a_secret_may_be_a_header(address: str) -> None:
    one, other = stranger(address), stranger(address)
    run_id = one.predict("train", "sherlock", None, "rnn", SOON)["run_id"]
    wait_for(lambda: one.predict("status", run_id, -1)["status"] == "finished", "for the training")
    assert run_id in {run["run_id"] for run in one.predict("runs")}
    assert run_id not in {run["run_id"] for run in other.predict("runs")}


def test_only_the_pages_routes_are_open(address: str) -> None:
    for path in (
        "/monitoring", "/gradio_api/proxy=https://huggingface.co", "/gradio_api/custom_component/a/client/b/c",
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=http://127.0.0.1/", "/gradio_api/runs", "/docs", "/redoc",
        "/gradio_api/vibe-code", "/gradio_api/dev/reload", "/gradio_api/deep_link",
    ):  # fmt: skip
        assert get(address + path).status_code == 404, path
    assert post(f"{address}/gradio_api/process_recording").status_code == 404


def test_the_cookie_is_a_secret_the_page_cannot_read(address: str) -> None:
    cookie = get(address).headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=") and "HttpOnly" in cookie and "SameSite=Lax" in cookie
    framed = get(address, headers={"x-forwarded-proto": "https"}).headers["set-cookie"]
    assert "SameSite=None; Secure; Partitioned" in framed
    kept = get(address, headers={"cookie": cookie.split(";")[0]})
    assert "set-cookie" not in kept.headers


def test_uploads_are_bounded_by_bytes_and_files(address: str, tmp_path: Path) -> None:
    upload = f"{address}/gradio_api/upload"
    many = [("files", (f"{place}.txt", b"text")) for place in range(5)]
    assert post(upload, files=many).status_code == 413
    assert post(upload, files=[("files", ("big.txt", b"x" * 16_000_001))]).status_code == 413

    def endless() -> Iterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="files"; filename="a.txt"\r\n\r\n'
        for _ in range(17):
            yield b"x" * 1_000_000

    headers = {"content-type": "multipart/form-data; boundary=b"}
    with contextlib.suppress(httpx.WriteError):  # cut off before all was sent
        assert post(upload, content=endless(), headers=headers).status_code == 413


def test_an_upload_is_its_visitors_own(address: str, idle: None) -> None:
    one, other = stranger(address), stranger(address)
    path = one.upload(TEXT.encode())
    forged = file_data(path)
    answer = other.post("call/train", {"data": ["", forged, "rnn", SOON]})
    assert answer.status_code == 400 and "no upload of yours" in answer.text
    assert get(f"{address}/gradio_api/file={path}", headers=one.headers).status_code == 200
    assert get(f"{address}/gradio_api/file={path}", headers=other.headers).status_code == 404
    assert one.predict("train", "", forged, "rnn", SOON)["run_id"]


def test_presets_are_cut_down_to_what_is_allowed() -> None:
    from charlm.presets import PRESETS
    from charlm.ui.train.form import preset_values

    for preset in PRESETS:
        values = preset_values(preset, Limits())
        assert values["hidden_size"] <= Limits().hidden_size and values["steps"] <= 2000
        ModelConfig.from_dict({name: value for name, value in values.items() if name in ModelConfig.names()})
