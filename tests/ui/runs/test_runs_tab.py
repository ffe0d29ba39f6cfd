"""The Runs table, the details, what may be downloaded, and the job strip."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from charlm.errors import JobError
from charlm.public.services import Services
from charlm.ui import status_bar
from charlm.ui.app import browser_secret
from charlm.ui.runs import details, listing
from charlm.ui.runs.listing import Disk
from charlm.ui.services import Files
from charlm.ui.status_bar import PollEndpoint
from charlm.ui.train.live import Watches
from tests.ui.shown_runs import AUNT, FakeRun, trio
from tests.ui.waiting import finished

JOB = {
    "kind": "race", "title": "Race", "corpus": "<b>aunt</b>", "status": "running", "step": 1230, "total_steps": 3000,
    "eta_seconds": 132.0, "progress": 0.41, "message": "", "queued": 0, "run_ids": ["r1", "r2"],
    "runs": [{"run_id": "r1", "arch": "lstm", "label": "<i>", "best_val_loss": 1.53},
             {"run_id": "r2", "arch": "gru", "label": "x", "best_val_loss": None}],
}  # fmt: skip


def test_the_heading_counts() -> None:
    runs = [FakeRun("a", status="running"), FakeRun("q", status="queued"), FakeRun("b"), *trio(shipped=True)]
    html = listing.runs_heading(runs)
    assert "6 runs" in html and "1 at work, 1 waiting, 1 yours, 3 shipped with the app (read-only)." in html
    assert "6 runs, 41.0 MB on disk" in listing.runs_heading(runs, 41_000_000)
    assert "No runs yet" in listing.runs_heading([])
    assert "None is yours yet" not in html and "None is yours yet" in listing.runs_heading(trio(shipped=True))


def test_the_filter_wants_every_word() -> None:
    runs = [
        FakeRun("a", label="letters"),
        FakeRun("b", "gru", corpus=AUNT, label="letters"),
        FakeRun("c", shipped=True),
    ]
    found = listing.matching(runs, "LETTERS gru")
    assert [run.run_id for run in found] == ["b"]
    assert [run.run_id for run in listing.matching(runs, "shipped")] == ["c"]
    assert "No run matches" in listing.runs_table(runs, "<zzz>") and "<zzz>" not in listing.runs_table(runs, "<zzz>")
    assert "Nothing has been trained" in listing.runs_table([])


@pytest.mark.parametrize(
    ("run", "acts"),
    [
        (FakeRun("a", status="running"), {"watch", "stop", "open"}),
        (FakeRun("a"), {"compare", "resume", "open"}),
        (FakeRun("a", status="stopped", best_val_loss=None), {"resume", "open"}),
        (FakeRun("a", status="failed"), {"open"}),
        (FakeRun("a", status="stopped", trimmed=True), {"compare", "open"}),
        (FakeRun("a", shipped=True), {"compare", "open"}),
    ],
)
def test_actions_fit_the_status(run: FakeRun, acts: set[str]) -> None:
    html = listing.runs_table([run])
    assert {act for act in ("watch", "stop", "compare", "resume", "open") if f'data-act="{act}"' in html} == acts


def test_labels_and_corpora_are_escaped() -> None:
    html = listing.runs_table([FakeRun("a", label="<script>", corpus=AUNT)])
    assert "<script>" not in html and "<b>aunt" not in html


def test_a_run_at_work_shows_what_its_job_says() -> None:
    runs = [FakeRun("a", status="queued"), FakeRun("b", status="running"), FakeRun("c", status="running")]
    runs.append(FakeRun("d", status="stopped"))
    html = listing.runs_table(runs, words={"a": "queued, 2nd", "b": "paused", "d": "running"})
    shown = re.findall(r'class="status (\w+)">([^<]*)<', html)
    assert shown == [("still", "queued, 2nd"), ("live", "paused"), ("live", "running"), ("still", "stopped")]


def test_details_of_a_failed_run_offer_the_fix_else_to_go_on() -> None:
    failed = FakeRun("a", status="failed", message="loss became <nan>", fix={"learning_rate": 0.01 / 3})
    html = details.details(failed)
    assert "loss became &lt;nan&gt;" in html and 'data-act="retry"' in html and 'data-act="resume"' not in html
    assert "Try again with learning rate 0.0033" in html
    html = details.details(FakeRun("a", status="failed"))
    assert 'data-act="resume"' in html and details.SAVED in html and "No reason was recorded." in html
    for hopeless in ({"best_val_loss": None}, {"trimmed": True}):
        assert "data-act" not in details.details(FakeRun("a", status="failed", **hopeless))


@pytest.mark.parametrize(
    ("mend", "said"),
    [({"batch_size": 8}, "Try again with batch 8"), ({"learning_rate": 1e-5}, "Try again with learning rate 1e-05"),
     ({"batch_size": 1024, "grad_clip": 1.0}, "Try again with batch 1,024 and grad clip 1")],
)  # fmt: skip
def test_what_a_fix_is_called(mend: dict[str, Any], said: str) -> None:
    assert details.retry_label(mend) == said


def test_resume_says_on_hover_how_far_it_goes() -> None:
    html = listing.runs_table([FakeRun("a")])
    assert 'title="3,000 steps more"' in html and 'aria-label="Details a"' in html and 'aria-label="3,000' not in html
    assert "more" not in listing.runs_table([FakeRun("a", status="stopped")])


def test_resume_adds_steps_only_to_a_finished_run() -> None:
    assert details.resume_options(FakeRun("a")) == {"steps": 3000}
    assert details.resume_options(FakeRun("a", status="stopped")) == {}
    assert details.resume_options(FakeRun("a", status="failed")) == {}


def test_details_offer_to_free_what_is_not_needed() -> None:
    spare = {"spare_bytes": 12_000_000}
    assert "Keep only the best weights (frees 12.0 MB)" in details.details(FakeRun("a", **spare))
    for run in (FakeRun("a"), FakeRun("a", shipped=True, **spare), FakeRun("a", status="paused", **spare)):
        assert 'data-act="trim"' not in details.details(run)
    trimmed = details.details(FakeRun("a", trimmed=True))
    assert "it can be compared and forked, not resumed" in trimmed and 'data-act="trim"' not in trimmed


PARENTS = [
    {"run_id": "p", "label": "<b>p", "step": 1500, "why": "fork"},
    {"run_id": "q", "label": "q", "step": 0, "why": "retry"},
]


def test_where_a_run_comes_from() -> None:
    run = FakeRun("a", ancestry=PARENTS)
    table = listing.runs_table([run, FakeRun("b")])
    assert table.count("fork of &lt;b&gt;p at step 1,500") == 1 and "new try" not in table
    html = details.details(run, known={"a", "q"})
    assert "&lt;b&gt;p" in html and "<b>p" not in html and "(gone)" in html and "data-tip=" in html
    assert 'data-act="open" data-run="q"' in html and 'data-run="p"' not in html and "at step 0" not in html
    assert "Comes from" not in details.details(FakeRun("b"))
    assert [one.run_id for one in listing.matching([run, FakeRun("b")], "fork")] == ["a"]


def test_what_a_fork_begins_with() -> None:
    assert details.fork_name(FakeRun("a", label="x" * 80)) == "x" * 75 + "-fork"
    assert details.fork_name(FakeRun("a", label="x-fork")) == "x-fork"
    assert "newest weights" in details.fork_hint(FakeRun("a"))
    assert "best weights" in details.fork_hint(FakeRun("a", trimmed=True))
    assert not details.is_forkable(FakeRun("a", best_val_loss=None))
    assert details.can_grow(FakeRun("a"), "sherlock") and not details.can_grow(FakeRun("a"), "")


def waiting_jobs(*titles: str, at_once: int = 1) -> Any:
    jobs = [{"run_ids": ["z"], "title": "at work", "corpus": "x", "status": "running", "position": 0, "archs": ["rnn"]}]
    jobs += [
        {"run_ids": [f"{place}-a", f"{place}-b"], "title": title, "corpus": "<i>", "status": "queued",
         "position": place, "archs": ["lstm", "gru"]}
        for place, title in enumerate(titles, start=1)
    ]  # fmt: skip
    return SimpleNamespace(queue_list=lambda: jobs, at_once=at_once)


def test_the_queue_has_a_line_for_what_waits() -> None:
    jobs = waiting_jobs("<b>one", "two", "three")
    html = listing.queue_html(jobs)
    assert "3 trainings wait" in html and "<b>one" not in html and "<i>" not in html and "at work" not in html
    assert [html.count(f'data-act="{act}"') for act in ("earlier", "later", "cancel")] == [2, 2, 3]
    assert html.index("1st") < html.index("2nd") < html.index("3rd") and "LSTM, GRU on" in html
    words = listing.words(jobs)
    assert (words["z"], words["1-a"], words["1-b"], words["3-b"]) == (
        "running",
        "queued, 1st",
        "queued, 1st",
        "queued, 3rd",
    )


def test_the_queue_is_shown_when_something_waits_or_more_than_one_train() -> None:
    assert listing.is_shown(waiting_jobs("one")) and listing.is_shown(waiting_jobs(at_once=2))
    assert not listing.is_shown(waiting_jobs())
    alone = listing.queue_html(waiting_jobs("one"))
    assert "1 training waits" in alone and 'data-act="later"' not in alone
    assert "Nothing waits" in listing.queue_html(waiting_jobs())


def test_the_trash_lists_what_comes_back_and_asks_once() -> None:
    runs = [FakeRun("a", label="<b>x"), FakeRun("b", corpus=AUNT)]
    assert listing.trash_title(runs) == "Trash: 2 runs, 3.0 MB"
    html = listing.trash_html(runs)
    assert html.count('data-act="restore"') == 2 and 'data-act="ask-empty"' in html and 'data-act="empty"' not in html
    assert "<b>x" not in html and "<b>aunt" not in html
    asking = listing.trash_html(runs, asking=True)
    assert 'data-act="empty"' in asking and 'data-act="keep"' in asking and "gone for good?" in asking
    assert listing.trash_html([]) == ""
    assert 'data-act="restore" data-run="a"' in listing.deleted_html(runs[0])


def test_what_rests_is_measured_once() -> None:
    disk, rest, work = Disk(), FakeRun("a", size_bytes=5), FakeRun("b", status="running", size_bytes=7)
    assert disk.used([rest, work]) == 12
    rest.size_bytes, work.size_bytes = 6, 9
    assert disk.used([rest, work]) == 14
    rest.trimmed = True
    assert disk.used([rest, work]) == 15


def test_details_speak_in_sentences() -> None:
    html = details.details(FakeRun("a", label="mine"))
    assert "LSTM, 2 layers of 128, dropout 0.1. Best at step 2,900." in html
    assert "1,200 steps, batch 16 × 64, learning rate 0.01 linear, clip 1, seed 7" in html


def test_evaluation_stands_beside_the_runs_own_loss() -> None:
    measured = {"nats_per_token": 1.9, "bits_per_char": 2.74, "perplexity": 6.7, "tokens": 10, "skipped": 3}
    html = details.evaluation(FakeRun("a"), "<b>x</b>", "y" * 1000, measured)
    assert "2.74 bits per character on &lt;b&gt;x" in html and "3 characters it does not know" in html
    assert "own held-out text: 1.96" in html and "the last" not in html


def test_a_served_file_keeps_a_safe_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    path = Files().fresh("../../a b<.zip")
    assert path.is_relative_to(tmp_path) and path.name == "a-b-.zip"


def test_the_strip_tells_what_runs() -> None:
    html = status_bar.status_bar_html(JOB)
    assert "1,230" in html and "3,000" in html and "2 m 12 s left" in html and "scaleX(0.4100)" in html
    assert "&lt;b&gt;aunt" in html and "<b>aunt" not in html and ">1.53<" in html
    assert 'data-act="pause"' in html and 'data-act="stop"' in html


def test_the_strip_is_empty_without_a_job_and_offers_resume_when_paused() -> None:
    assert status_bar.status_bar_html(None) == ""
    paused = status_bar.status_bar_html({**JOB, "status": "paused"})
    assert 'data-act="resume"' in paused and "paused" in paused
    assert "no longer" in status_bar.status_bar_html(None, "it is no longer there")


def test_the_strip_says_more_than_the_time_when_there_is_more() -> None:
    assert "stopping: saves" in status_bar.status_bar_html({**JOB, "message": "stopping: saves"})
    assert "2 m 12 s left" in status_bar.status_bar_html({**JOB, "message": "batch_size was shrunk"})
    assert "measuring" in status_bar.status_bar_html({**JOB, "eta_seconds": None})
    assert "2 waiting" in status_bar.status_bar_html({**JOB, "queued": 2})
    assert " of " not in status_bar.status_bar_html({**JOB, "corpus": "x", "total_steps": None})
    both = status_bar.status_bar_html({**JOB, "queued": 2, "beside": 1})
    assert "2 m 12 s left · 1 more at work · 2 waiting" in both


RESTING = {
    "status": "paused",
    "resting": True,
    "message": "resting, the run cannot be written (No space left on <device>): make room and it goes on by itself",
}


def test_a_job_that_cannot_be_written_says_so_in_full() -> None:
    html = status_bar.status_bar_html({**JOB, **RESTING})
    assert "No space left on &lt;device&gt;" in html and "best validation loss" not in html
    assert 'data-act="resume"' not in html and 'data-act="stop"' in html
    first = strip_of({**JOB, **RESTING})
    assert len(first["values"]) == first["html"].count("data-live") + 1
    assert strip_of({**JOB, **RESTING}, first["mark"]) == {"values": first["values"]}
    assert "html" in strip_of(JOB, first["mark"])


@pytest.mark.parametrize(
    ("runs", "said"),
    [([FakeRun("a", label="<i>gru", step=500, total_steps=1200)], "<b>&lt;i&gt;gru</b> was interrupted"),
     (trio(group="g", step=500, corpus=AUNT), "on &lt;b&gt;aunt&lt;/b&gt;.txt</span> was interrupted"),
     ([FakeRun("a", group="g"), FakeRun("b"), FakeRun("c")], "<b>3 runs</b> were interrupted"),
     ([FakeRun("a"), FakeRun("b")], "<b>2 runs</b> were interrupted")],
)  # fmt: skip
def test_what_was_interrupted_is_offered_while_nothing_trains(runs: list[FakeRun], said: str) -> None:
    html = status_bar.status_bar_html(None, interrupted=runs)
    assert said in html and 'data-act="resume-interrupted"' in html and 'data-act="dismiss"' in html
    assert status_bar.status_bar_html(JOB, interrupted=runs) == status_bar.status_bar_html(JOB)
    assert status_bar.status_bar_html(None, "it is <gone>", runs).count("data-act") == 0


def test_how_far_an_interrupted_run_came() -> None:
    assert " at step 500 of 1,200<" in status_bar.status_bar_html(
        None, interrupted=[FakeRun("a", step=500, total_steps=1200)]
    )
    assert " at step 500<" in status_bar.status_bar_html(None, interrupted=[FakeRun("a", step=500, total_steps=None)])


def test_the_strips_buttons_answer_at_once_and_say_what_was_refused() -> None:
    calls: list[tuple] = []

    def refuse(run_id: str) -> None:
        raise JobError(f"{run_id} is not training here")

    jobs = SimpleNamespace(
        current=lambda: None, pause=refuse, resume=lambda run_id: calls.append(("resume", run_id)),
        stop_job=lambda run_id: calls.append(("stop", run_id)), queue=list, interrupted=list,
        resume_interrupted=lambda: calls.append(("all",)), dismiss_interrupted=lambda: calls.append(("none",)),
    )  # fmt: skip
    services = Services(None, jobs, None, None)
    html = status_bar.build(services, PollEndpoint(services, Watches(services)).answer)
    answer = html.control_job({"act": "pause", "run": "r1"})
    refused = answer["strip"]
    assert "r1 is not training here" in refused["html"] and answer["wait"] == status_bar.COMPLAINT_SECONDS
    for order in ({"act": "stop", "run": "r1"}, {"act": "resume", "run": "r1"}, {"act": "resume-interrupted"},
                  {"act": "dismiss"}, {"act": "rm -rf"}, {"act": ["stop"]}, "nonsense"):  # fmt: skip
        html.control_job(order)
    assert calls == [("stop", "r1"), ("resume", "r1"), ("all",), ("none",)]
    told = finished(html.poll({"strip": refused["mark"], "train": "nonsense"}))
    assert told["strip"]["html"] == "" and told["strip"]["live"] is False and told["wait"] == status_bar.IDLE_SECONDS
    again = finished(html.poll({"strip": told["strip"]["mark"]}))
    assert again == {"strip": {"values": []}, "wait": status_bar.IDLE_SECONDS} and finished(html.poll("x")) == told


def strip_of(job: dict, seen: str | None = None) -> dict:
    return status_bar.status_bar_state(Services(None, SimpleNamespace(current=lambda: job), None, None), seen)


def test_the_strip_is_sent_once_and_then_its_numbers() -> None:
    first = strip_of(JOB)
    assert first["html"] == status_bar.status_bar_html(JOB) and first["live"] and first["run_ids"] == ["r1", "r2"]
    later = strip_of({**JOB, "step": 1240, "eta_seconds": 131.0, "progress": 0.42}, first["mark"])
    assert later == {"values": ["1,240", "42 %", "1.53", "2 m 11 s left", "0.4200"]}
    assert first["html"].count("data-live") == len(first["values"]) - 1  # the bar is no text
    for change in (
        {"status": "paused"},
        {"queued": 1},
        {"beside": 1},
        {"corpus": "other"},
        {"run_ids": ["r2"]},
        {"total_steps": 9},
    ):
        assert strip_of({**JOB, **change}, first["mark"])["mark"] != first["mark"]
    measured = [{**trainer, "best_val_loss": 2.0} for trainer in JOB["runs"]]
    assert strip_of({**JOB, "runs": measured}, first["mark"])["html"].count('class="swatch"') == 2
    assert strip_of({**JOB, "status": "paused"})["state"] != first["state"] == strip_of({**JOB, "corpus": "x"})["state"]


def test_the_browsers_secret_outlives_a_restart(tmp_path: Path) -> None:
    first = browser_secret(tmp_path / "data")
    assert browser_secret(tmp_path / "data") == first
    assert len(first) == 32


def test_an_imported_model_says_where_it_came_from() -> None:
    run = FakeRun("a", imported={"format": "udacity", "file": "<i>rnn.net"})
    assert "imported from &lt;i&gt;rnn.net" in listing.runs_table([run])
    assert listing.matching([run, FakeRun("b")], "rnn.net imported") == [run]
    assert "imported" not in listing.runs_table([FakeRun("a", ancestry=PARENTS, imported={"file": "a.zip"})])
