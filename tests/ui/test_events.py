"""Every event of the public page, private ones too, with garbage and with another visitor's ids: nothing of theirs."""

import json
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from charlm.config import SampleConfig
from charlm.data.own_texts import OwnTexts, open_upload, pasted_text
from charlm.ui.compare.form import control_values
from charlm.ui.services import PublicAppServices
from tests.tiny_runs import wait_for
from tests.ui.strangers import SOON, TRACES, Bare, at_once, file_data, stranger

SECRET = "zebra-crossing"  # stands in all that belongs to the victim
ACTS = (
    "open", "watch", "stop", "compare", "resume", "retry", "mend", "trim", "restore", "empty", "emptied", "undo",
    "earlier", "later", "cancel", "delete", "dismiss", "refresh", "<img src=x>",
    "sort", "compare-more", "compare-only", "delete-all", "ask-mine", "keep-mine", "delete-mine",
    "begin", "other", "vote", "ask-votes", "keep-votes", "delete-votes",
)  # fmt: skip
IDS = (
    "../x",
    "/etc",
    ".trash",
    ".trash/x",
    "..",
    "",
    " ",
    "x" * 5000,
    "run\0.json",
    "名前",
    "%2e%2e/x",
    "sherlock-lstm/..",
)


@pytest.fixture(scope="module")
def victim(lab: PublicAppServices, address: str) -> Iterator[dict[str, Any]]:
    """Somebody's runs: one that is kept, one in the trash, and their text."""
    one = stranger(address)
    text = f"The {SECRET} sat on the mat. " * 40
    path = one.upload(text.encode(), f"{SECRET}.txt")
    ids = []
    for label in ("kept", "deleted"):
        given = file_data(path, orig_name=f"{SECRET}.txt")
        ids.append(one.predict("train", "", given, "rnn", {**SOON, "label": f"{SECRET} {label}"})["run_id"])
        wait_for(lambda: one.predict("status", ids[-1], -1)["status"] == "finished", "for the victim's training")
    lab.store.delete(lab.store.get(ids[1]))
    yield {"client": one, "kept": ids[0], "deleted": ids[1], "path": path, "owner": lab.store.get(ids[0]).owner,
           "sha256": lab.store.get(ids[0]).corpus["sha256"]}  # fmt: skip


def ask(guest: Bare, index: int, data: Sequence[Any], event: Any = None) -> str:
    """All that the server says to an event, until it is over."""
    session = secrets.token_hex(8)
    body = {"fn_index": index, "data": list(data), "session_hash": session, "event_data": event, "trigger_id": None}
    answer = guest.post("queue/join", body)
    if answer.status_code != 200:
        assert answer.status_code < 500 or "Queue is full" in answer.text, answer.text
        return answer.text
    return guest.get(f"gradio_api/queue/data?session_hash={session}").text


def assert_quiet(said: str, victim: dict[str, Any], sent: Any) -> None:
    """Nothing of the victim's, and no traceback; what was sent may come back."""
    assert not any(trace in said for trace in TRACES), (sent, said[-2000:])
    sent_text = json.dumps(sent)
    for word in (SECRET, victim["owner"], victim["path"]):
        assert word not in said or word in sent_text, (word, sent)
    for run_id in (victim["kept"], victim["deleted"]):
        assert run_id in sent_text or run_id not in said, (run_id, sent)


def unchanged(lab: PublicAppServices, victim: dict[str, Any]) -> bool:
    """Whether both of the victim's runs are as they were."""
    kept = lab.store.get(victim["kept"])
    trashed = {run.run_id for run in lab.store.trashed()}
    return kept.label == f"{SECRET} kept" and kept.step == 8 and not kept.trimmed and victim["deleted"] in trashed


def garbage(victim: dict[str, Any]) -> list[Any]:
    """What stands in the place of every input."""
    ids = [victim["kept"], victim["deleted"]]
    return [
        None, ids[0], ids, {"run": ids[0]}, json.dumps({"runs": ids, "run": ids[0], "at": 1}), 1e308, [[[]]],
        {"key": victim["sha256"], "sha256": victim["sha256"], "name": "x"}, "x" * 5_000, "\ud800",
    ]  # fmt: skip


def test_no_picker_of_several_is_listened_to_twice(public_demo: Any) -> None:
    """Several listeners to the `change` of such a picker call each other without end (gradio 6.31)."""
    listeners = Counter(target for one in public_demo.fns.values() for target, name in one.targets if name == "change")
    several = {key for key, block in public_demo.blocks.items() if getattr(block, "multiselect", False)}
    assert several and all(listeners[key] <= 1 for key in several)


def test_another_choice_of_models_takes_what_was_measured_away(public_demo: Any) -> None:
    """By whatever way it comes: by the picker, or from Runs."""
    elements = {getattr(block, "elem_id", None): block for block in public_demo.blocks.values()}
    measured = {elements[name] for name in ("compare-items", "compare-cross")}
    shows = [one for one in public_demo.fns.values() if elements["compare-ranking"] in one.outputs]
    assert len(shows) == 3 and all(measured <= set(one.outputs) for one in shows)


@pytest.mark.slow
def test_no_event_answers_garbage_with_anothers_things(
    lab: PublicAppServices,
    address: str,
    public_demo: Any,
    victim: dict[str, Any],
    idle: None,
) -> None:
    """Every event gets all of the values."""
    values = garbage(victim)
    for index, function in public_demo.fns.items():
        sent = [[value] * len(function.inputs) for value in values]
        # An answer takes gradio a twentieth of a second, mostly waiting.
        said = at_once(lambda place, index=index, sent=sent: ask(stranger(address), index, sent[place]), len(values))
        for value, answer in zip(values, said, strict=True):
            assert_quiet(answer, victim, value)
    assert unchanged(lab, victim)


@pytest.mark.slow
def test_no_button_of_anothers_run_works(
    lab: PublicAppServices, address: str, public_demo: Any, victim: dict[str, Any], idle: None
) -> None:
    listeners = [index for index, one in public_demo.fns.items() if any(name == "act" for _, name in one.targets)]
    assert len(listeners) >= 4
    for index in listeners:
        guest = stranger(address)
        for act, several in product(ACTS, ({}, {"runs": json.dumps([victim["deleted"], victim["kept"]])})):
            event = {"act": act, "run": victim["deleted" if act == "restore" else "kept"], **several}
            inputs = [None] * len(public_demo.fns[index].inputs)
            assert_quiet(ask(guest, index, inputs, event), victim, event)
    assert unchanged(lab, victim)


def test_no_text_of_anothers_model_is_changed_or_gone_on_with(
    lab: PublicAppServices, address: str, public_demo: Any, victim: dict[str, Any]
) -> None:
    kept, texts = victim["kept"], {victim["kept"]: [["The", " mat"]], "sherlock-rnn": [["The", " mat"]]}
    order = {"run": kept, "sample": 0, "place": 1, "token": 3, "texts": texts}
    [index] = [index for index, one in public_demo.fns.items() if any(name == "take" for _, name in one.targets)]
    for wrong in ({}, {"run": "sherlock-rnn"}, {"sample": 9}, {"token": 10**9}, {"place": -1}, {"texts": "x"}):
        for ids in ([kept], ["sherlock-rnn"]):
            inputs = [ids, *control_values(SampleConfig(length=20)).values()]
            assert_quiet(ask(stranger(address), index, inputs, {**order, **wrong}), victim, [ids, order])
    said = ask(stranger(address), index, [["sherlock-rnn"], *inputs[1:]], {**order, "run": "sherlock-rnn"})
    assert "sherlock-rnn" in said and "Nothing was written" not in said


@pytest.mark.parametrize("run_id", IDS)
def test_odd_ids_are_runs_that_never_were(run_id: str, address: str) -> None:
    guest = stranger(address)
    for name, *rest in (("status", -1), ("stop",), ("resume", {}), ("fork", {}, "", None), ("retry",),
                        ("evaluate", "", {}), ("generate", "", 5, {}), ("next_tokens", "", {})):  # fmt: skip
        said = guest.refused(name, run_id, *rest)
        assert not any(trace in said for trace in TRACES), (name, said)
        assert "there is no run" in said or "null" in said or said == "None", (name, said)
    assert "error" in guest.call("compare", [run_id], "", 5, {})[0]
    assert "error" in guest.call("train", run_id, None, "rnn", SOON)[0]


def test_components_on_the_server_know_their_visitor(address: str, public_demo: Any, victim: dict[str, Any]) -> None:
    guest, found = stranger(address), 0
    for key, block in public_demo.blocks.items():
        own = [getattr(one, "__name__", str(one)) for one in getattr(block, "server_fns", None) or []]
        for name in {*own, "__class__"}:
            look = {"run": victim["kept"], "text": ["The", "mat"], "how": "{}"}
            for data in ({"train": {"key": victim["kept"], "wanted": [victim["kept"]]}}, [victim["kept"]], look):
                body = {"component_id": key, "fn_name": name, "session_hash": "same", "data": data}
                answer = guest.post("component_server", body)
                found += answer.status_code == 200
                assert_quiet(answer.text, victim, body)
    assert found


def test_the_clock_tells_no_one_of_anothers_run(address: str, victim: dict[str, Any]) -> None:
    asked = {"train": {"key": victim["kept"], "wanted": [victim["kept"]], "runs": [victim["kept"]], "since": [-1]}}
    for body in (asked, {"train": {"wanted": victim["kept"]}}, {"train": [], "strip": {}, "left": {}}, [], None, 5):
        assert_quiet(stranger(address).post("pulse", body).text, victim, body)


def test_a_kept_text_is_opened_by_its_whole_fingerprint_only(tmp_path: Path) -> None:
    key = OwnTexts(tmp_path).keep(pasted_text(SECRET * 10))
    assert open_upload(key, tmp_path)
    for wrong in (key[:-1], key.upper(), f"{key}/..", f"../uploads/{key}", f"{key}\0", "*" * 64, "", None, 5, [key]):
        assert wrong == key or open_upload(wrong, tmp_path) is None  # type: ignore[arg-type]
