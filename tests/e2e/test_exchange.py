"""Runs leave and come back through the page: every format with one click, and a file that becomes a run."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from charlm.formats.exports import FORMATS, find_format
from charlm.runs.store import SHIPPED
from tests.e2e.steps import Download, choose_tab, download, fill_number, finished_run, toast


def open_run(page: Any, run_id: str) -> None:
    choose_tab(page, "Runs")
    page.locator(f"#runs-table button.name[data-run='{run_id}']").click()
    page.locator("#runs-details", has_text=run_id).wait_for()


def choose_format(page: Any, name: str) -> None:
    page.locator("#runs-format input").click()
    wanted = page.get_by_role("option", name=find_format(name).about)
    wanted.wait_for()
    assert page.get_by_role("option").count() == len(FORMATS)
    wanted.click()
    wanted.wait_for(state="detached")


def exported(page: Any) -> Download:
    return download(page, page.locator("#runs-download"))


def test_each_page_format_is_one_click(page: Any) -> None:
    open_run(page, "sherlock-rnn")
    for name in ("html", "html8", "zip"):
        choose_format(page, name)
        got = exported(page)
        assert got.name == f"sherlock-rnn{find_format(name).suffix}"
        start = got.path.read_bytes()[:15]
        assert start.startswith(b"PK" if name == "zip" else b"<!doctype html>")


def test_what_does_not_fit_is_said_and_nothing_is_downloaded(
    page: Any, services: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = services.store.get(finished_run(services, "<i>hollow</i>"))
    open_run(page, run.run_id)
    exported(page)  # a file is known to the hidden button, which must not be pressed again
    (run.folder / "best.safetensors").unlink()
    (run.folder / "last.safetensors").unlink()
    choose_format(page, "html")
    came: list[Any] = []
    page.on("download", lambda one: came.append(one))
    page.locator("#runs-download").click()
    toast(page, "best.safetensors is missing").wait_for()
    page.locator("#runs-rename").click()  # and back from the server: longer than a press of the hidden button takes
    page.locator("#runs-name").get_by_role("textbox").wait_for()
    assert not came


def import_files(page: Any, *paths: Path) -> None:
    choose_tab(page, "Runs")
    with page.expect_file_chooser() as chooser:
        page.locator("#runs-import").click()
    chooser.value.set_files([str(path) for path in paths])


def test_files_that_cannot_be_told_apart_are_refused(page: Any, services: Any, tmp_path: Path) -> None:
    before = len(services.store.list())
    files = [tmp_path / "<b>a.pt", tmp_path / "b.pt"]
    for path in files:
        path.write_bytes(b"x")
    import_files(page, *files)
    toast(page, "cannot be imported; choose a run's zip or a checkpoint").wait_for()
    page.locator("#runs-told p").wait_for(state="detached")
    assert len(services.store.list()) == before


def test_a_zip_comes_back_and_is_opened(page: Any, services: Any, tmp_path: Path) -> None:
    pytest.importorskip("charlm.formats.imports")
    run_id = finished_run(services, "<i>traveller</i>")
    open_run(page, run_id)
    path = exported(page).path.rename(tmp_path / "traveller.zip")
    with zipfile.ZipFile(path) as archive:
        assert f"{run_id}/run.json" in archive.namelist()
    before = {run.run_id for run in services.store.list()}
    import_files(page, path)
    page.locator("#runs-told", has_text="Imported <i>traveller</i>: GRU, 1 layer of 8").wait_for()
    [new] = {run.run_id for run in services.store.list()} - before
    page.locator("#runs-details", has_text=new).wait_for()
    page.locator("#runs-told").get_by_role("button", name="Compare it").click()
    page.locator("#compare-models", has_text="<i>traveller</i>").wait_for()


def test_a_checkpoint_from_elsewhere_is_trained_further(page: Any, services: Any, tmp_path: Path) -> None:
    pytest.importorskip("charlm.formats.imports")
    from charlm.runs.run import Run

    path = tmp_path / "holmes.net"
    find_format("udacity").write(Run(SHIPPED / "sherlock-lstm", shipped=True), path)
    import_files(page, path)
    page.locator("#runs-told", has_text="Imported holmes: LSTM, 2 layers of 512, 78 characters").wait_for()
    page.locator("#runs-details", has_text="holmes.net (udacity)").wait_for()
    page.locator("#runs-told").get_by_role("button", name="Compare it").click()
    page.locator("#compare-verdict", has_text="No loss has been measured yet.").wait_for()
    page.locator("#compare-generate").click()
    page.locator("#compare-columns dt", has_text="Writing speed").wait_for()
    page.wait_for_function("document.querySelector('#compare-columns .text').textContent.length > 300")
    choose_tab(page, "Runs")
    page.locator("#runs-fork").click()
    fill_number(page.locator("#runs-fork-steps input"), "1")
    page.locator("#runs-fork-start").click()
    page.locator("#train-head", has_text="A fork of holmes").wait_for()
    page.locator("#strip .job").wait_for(state="detached")
