"""The Runs table, the details, what may be downloaded, and the job strip."""

import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from charlm.errors import JobError
from charlm.ui import files, pulse, run_details, run_table, strip
from charlm.ui.common import Services
from charlm.ui.demo import browser_secret
from charlm.ui.pulse import Pulse
from charlm.ui.watch import Watch
from tests.ui.runs import AUNT, FakeRun, trio
from tests.ui.waiting import finished

JOB = {
    "kind": "race", "title": "Race", "corpus": "<b>aunt</b>", "status": "running", "step": 1230, "total_steps": 3000,
    "eta_seconds": 132.0, "progress": 0.41, "message": "", "queued": 0, "run_ids": ["r1", "r2"],
    "racers": [{"run_id": "r1", "arch": "lstm", "label": "<i>", "val_loss": 1.53},
               {"run_id": "r2", "arch": "gru", "label": "x", "val_loss": None}],
}  # fmt: skip


def test_the_heading_counts() -> None:
    runs = [FakeRun("a", status="running"), FakeRun("b"), *trio(shipped=True)]
    html = run_table.runs_heading(runs)
    assert "5 runs" in html and "1 at work, 1 yours, 3 shipped with the app (read-only)." in html
    assert "No runs yet" in run_table.runs_heading([])


def test_the_filter_wants_every_word() -> None:
    runs = [
        FakeRun("a", label="letters"),
        FakeRun("b", "gru", corpus=AUNT, label="letters"),
        FakeRun("c", shipped=True),
    ]
    found = run_table.matching(runs, "LETTERS gru")
    assert [run.run_id for run in found] == ["b"]
    assert [run.run_id for run in run_table.matching(runs, "shipped")] == ["c"]
    assert "No run matches" in run_table.runs_table(runs, "<zzz>") and "<zzz>" not in run_table.runs_table(
        runs, "<zzz>"
    )
    assert "Nothing has been trained" in run_table.runs_table([])


@pytest.mark.parametrize(
    ("run", "acts"),
    [
        (FakeRun("a", status="running"), {"watch", "stop", "open"}),
        (FakeRun("a"), {"compare", "resume", "open"}),
        (FakeRun("a", status="stopped", best_val_loss=None), {"resume", "open"}),
        (FakeRun("a", status="failed"), {"open"}),
        (FakeRun("a", shipped=True), {"compare", "open"}),
    ],
)
def test_actions_fit_the_status(run: FakeRun, acts: set[str]) -> None:
    html = run_table.runs_table([run])
    assert {act for act in ("watch", "stop", "compare", "resume", "open") if f'data-act="{act}"' in html} == acts


def test_labels_and_corpora_are_escaped() -> None:
    html = run_table.runs_table([FakeRun("a", label="<script>", corpus=AUNT)])
    assert "<script>" not in html and "<b>aunt" not in html


def test_details_say_why_a_run_failed_and_offer_the_mend() -> None:
    run = FakeRun("a", status="failed", message="loss became <nan>")
    html = run_details.details(run)
    assert "loss became &lt;nan&gt;" in html and 'data-act="resume"' in html
    assert run_details.resume_options(run) == {"learning_rate": run.train_config.learning_rate / 2}
    assert run_details.resume_options(FakeRun("a")) == {"steps": 3000}
    assert run_details.resume_options(FakeRun("a", status="stopped")) == {}
    assert 'data-act="resume"' not in run_details.details(FakeRun("a", status="failed", best_val_loss=None))


def test_details_speak_in_sentences() -> None:
    html = run_details.details(FakeRun("a", label="mine"))
    assert "LSTM, 2 layers of 128, dropout 0.1. Best at step 2,900." in html
    assert "1,200 steps, batch 16 × 64, learning rate 0.01 cosine, clip 1, seed 7" in html


def test_evaluation_stands_beside_the_runs_own_loss() -> None:
    measured = {"nats_per_token": 1.9, "bits_per_char": 2.74, "perplexity": 6.7, "tokens": 10, "skipped": 3}
    html = run_details.evaluation(FakeRun("a"), "<b>x</b>", "y" * 1000, measured)
    assert "2.74 bits per character on &lt;b&gt;x" in html and "3 characters it does not know" in html
    assert "own held-out text: 1.96" in html and "the last" not in html


def test_only_named_members_leave_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "run"
    (folder / "snapshots").mkdir(parents=True)
    for name in ("run.json", "best.safetensors", "secret.txt", ".lock", "snapshots/1.safetensors"):
        (folder / name).write_text(name)
    (folder / "last.safetensors").symlink_to(tmp_path / "elsewhere")
    with zipfile.ZipFile(files.run_zip(folder, "my run/..")) as archive:
        names = {name.rsplit("/", 1)[-1] for name in archive.namelist()}
    assert names == {"run.json", "best.safetensors", "1.safetensors"}


def test_a_served_file_keeps_a_safe_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    path = files.served_path("../../a b<.zip")
    assert path.is_relative_to(tmp_path) and path.name == "a-b-.zip"


def test_the_strip_tells_what_runs() -> None:
    html = strip.strip_html(JOB)
    assert "1,230" in html and "3,000" in html and "2 m 12 s left" in html and "scaleX(0.4100)" in html
    assert "&lt;b&gt;aunt" in html and "<b>aunt" not in html and ">1.53<" in html
    assert 'data-act="pause"' in html and 'data-act="stop"' in html


def test_the_strip_is_empty_without_a_job_and_offers_resume_when_paused() -> None:
    assert strip.strip_html(None) == ""
    paused = strip.strip_html({**JOB, "status": "paused"})
    assert 'data-act="resume"' in paused and "paused" in paused
    assert "no longer" in strip.strip_html(None, "it is no longer there")


def test_the_strip_says_more_than_the_time_when_there_is_more() -> None:
    assert "stopping: saves" in strip.strip_html({**JOB, "message": "stopping: saves"})
    assert "2 m 12 s left" in strip.strip_html({**JOB, "message": "batch_size was shrunk"})
    assert "measuring" in strip.strip_html({**JOB, "eta_seconds": None})
    assert "2 waiting" in strip.strip_html({**JOB, "queued": 2})
    assert " of " not in strip.strip_html({**JOB, "corpus": "x", "total_steps": None})


def test_the_strips_buttons_answer_at_once_and_say_what_was_refused() -> None:
    calls: list[tuple] = []

    def refuse(run_id: str) -> None:
        raise JobError(f"{run_id} is not training here")

    jobs = SimpleNamespace(
        current=lambda: None, pause=refuse, resume=lambda run_id: calls.append(("resume", run_id)),
        stop_job=lambda run_id: calls.append(("stop", run_id)), queue=list,
    )  # fmt: skip
    services = Services(None, jobs, None)
    html = strip.build(services, Pulse(services, Watch(services)).answer)
    refused = html.control_job({"act": "pause", "run": "r1"})["strip"]
    assert "r1 is not training here" in refused["html"]
    html.control_job({"act": "stop", "run": "r1"})
    html.control_job({"act": "resume", "run": "r1"})
    html.control_job({"act": "rm -rf"})
    html.control_job("nonsense")
    assert calls == [("stop", "r1"), ("resume", "r1")]
    told = finished(html.poll({"strip": refused["mark"], "train": "nonsense"}))
    assert told["strip"]["html"] == "" and told["strip"]["live"] is False and told["wait"] == pulse.IDLE_SECONDS
    again = finished(html.poll({"strip": told["strip"]["mark"]}))
    assert again == {"strip": {"values": []}, "wait": pulse.IDLE_SECONDS} and finished(html.poll("x")) == told


def strip_of(job: dict, seen: str | None = None) -> dict:
    return strip.strip_state(Services(None, SimpleNamespace(current=lambda: job), None), seen)


def test_the_strip_is_sent_once_and_then_its_numbers() -> None:
    first = strip_of(JOB)
    assert first["html"] == strip.strip_html(JOB) and first["live"] and first["run_ids"] == ["r1", "r2"]
    later = strip_of({**JOB, "step": 1240, "eta_seconds": 131.0, "progress": 0.42}, first["mark"])
    assert later == {"values": ["1,240", "42 %", "1.53", "2 m 11 s left", "0.4200"]}
    assert first["html"].count("data-live") == len(first["values"]) - 1  # the bar is no text
    for change in ({"status": "paused"}, {"queued": 1}, {"corpus": "other"}, {"run_ids": ["r2"]}, {"total_steps": 9}):
        assert strip_of({**JOB, **change}, first["mark"])["mark"] != first["mark"]
    measured = [{**racer, "val_loss": 2.0} for racer in JOB["racers"]]
    assert strip_of({**JOB, "racers": measured}, first["mark"])["html"].count('class="swatch"') == 2
    assert strip_of({**JOB, "status": "paused"})["state"] != first["state"] == strip_of({**JOB, "corpus": "x"})["state"]


def test_the_browsers_secret_outlives_a_restart(tmp_path: Path) -> None:
    first = browser_secret(tmp_path / "data")
    assert browser_secret(tmp_path / "data") == first
    assert len(first) == 32
