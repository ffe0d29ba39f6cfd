"""Paths and file objects that lead elsewhere, over real servers: nothing but one's own files is returned or opened."""

import http.client
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from charlm.public.limits import Visitor
from charlm.ui.services import PublicAppServices, cache_folder
from tests.patience import patience
from tests.ui.doors import forged, paths
from tests.ui.strangers import SOON, TRACES, Bare, stranger

SECRET = "the-quick-brown-secret"  # stands in every file that nobody may see
NAMES = (
    "../../../etc/passwd", "/etc/passwd", "..\\..\\windows\\win.ini", "a\0b.txt", "x" * 300 + ".txt", ".bashrc", "..",
    ".", "", " ", "con", "a/b/c.txt", "C:\\a.txt", "%2e%2e%2fa.txt", "ünïcode-名前.txt", "a\nb.txt",
    "a\r\nset-cookie: b=c",
    "<img src=x onerror=alert(1)>.txt", "${jndi:ldap://127.0.0.1/a}.txt", "~root", "\u202etxt.exe",
    "'; DROP TABLE runs; --",
)  # fmt: skip


class Opened:
    """What the server's process opens while a test looks."""

    def __init__(self) -> None:
        self.paths: set[str] | None = None
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and self.paths is not None and isinstance(arguments[0], str | bytes):
            self.paths.add(os.path.realpath(os.fsdecode(arguments[0])))


@pytest.fixture(scope="session")
def hook() -> Opened:
    return Opened()


@pytest.fixture
def opened(hook: Opened) -> Iterator[set[str]]:
    hook.paths = found = set()
    yield found
    hook.paths = None


@pytest.fixture(scope="session")
def hidden(lab: PublicAppServices, address: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files with SECRET in them: another's upload, download and run, a link to one elsewhere; and the data folder."""
    cache = cache_folder()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "key.txt"
    download = lab.services.files.fresh("download.txt")
    lab.services.files.own(str(download), Visitor("somebody else"))
    victim = stranger(address)
    upload = Path(victim.upload(SECRET.encode() * 20, "upload.txt"))
    run_id = victim.predict("train", "sherlock", None, "rnn", {**SOON, "label": SECRET})["run_id"]
    data = Path(os.environ.get("CHARLM_DATA", str(elsewhere.parent))) / "uploads"
    for path in (elsewhere, download):
        path.write_text(SECRET)
    link = cache / "link.txt"
    link.unlink(missing_ok=True)
    link.symlink_to(elsewhere)
    run = lab.store.root / run_id / "run.json"
    return {"elsewhere": elsewhere, "download": download, "upload": upload, "link": link, "run": run, "data": data}


def fetch(address: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """A GET whose path is sent as it is."""
    line = http.client.HTTPConnection(urlsplit(address).netloc, timeout=patience(60))
    line.putrequest("GET", path, skip_accept_encoding=True)
    for name, value in headers.items():
        line.putheader(name, value)
    line.endheaders()
    answer = line.getresponse()
    found = answer.status, answer.read(100_000)
    line.close()
    return found


def forbidden(hidden: dict[str, Path]) -> set[str]:
    """What must not have been opened."""
    real = {os.path.realpath(path) for name, path in hidden.items() if name not in ("run", "data")}
    return real | {"/etc/passwd", "/proc/self/environ", "/dev/zero", f"/proc/{os.getpid()}/environ"}


def test_there_are_enough_of_them(hidden: dict[str, Path]) -> None:
    assert len(set(paths(*map(str, hidden.values())))) >= 200


@pytest.mark.parametrize("route", ["gradio_api/file=", "gradio_api/file/", "assets/", "static/", "gradio_api/proxy="])
def test_no_path_leads_out_of_a_public_space(
    route: str, address: str, hidden: dict[str, Path], opened: set[str]
) -> None:
    guest = stranger(address)
    for path in paths(*map(str, hidden.values())):
        status, body = fetch(address, f"/{route}{path}", guest.headers)
        assert status in (400, 403, 404), (path, status)
        assert SECRET.encode() not in body and b"root:" not in body, path
    assert not opened & forbidden(hidden)


@pytest.mark.parametrize("route", ["gradio_api/file=", "gradio_api/file/", "assets/", "static/"])
def test_no_path_leads_out_of_an_app_for_one_user(
    route: str, alone: str, hidden: dict[str, Path], opened: set[str]
) -> None:
    outside = {name: path for name, path in hidden.items() if name in ("elsewhere", "run", "data")}
    for path in paths(*map(str, outside.values())):
        status, body = fetch(alone, f"/{route}{path}", {})
        assert status != 200 or (SECRET.encode() not in body and b"root:" not in body), path
    assert not opened & forbidden({"elsewhere": hidden["elsewhere"]})


@pytest.mark.parametrize("where", ["elsewhere", "download", "upload", "link", "run"])
def test_no_file_object_stands_for_anothers_file(
    where: str, address: str, hidden: dict[str, Path], opened: set[str]
) -> None:
    guest = stranger(address)
    for given in forged(hidden[where], "/etc/passwd", "http://127.0.0.1:9/x", "https://198.51.100.7/x"):
        answer = guest.post("call/train", {"data": ["", given, "rnn", SOON]})
        if answer.status_code == 200:
            told = guest.get(f"gradio_api/call/train/{answer.json()['event_id']}").text
            assert told.startswith("event: error"), (given, told)
        else:
            assert answer.status_code in (400, 422, 429), (given, answer.text)
            told = answer.text
        assert SECRET not in told and not any(trace in told for trace in TRACES), (given, told)
    assert not opened & forbidden(hidden)


def test_no_file_object_leads_out_of_an_app_for_one_user(alone: str, hidden: dict[str, Path], opened: set[str]) -> None:
    user = Bare(alone)
    for given in forged(hidden["elsewhere"], "/etc/passwd", "/proc/self/environ"):
        event, told = user.call("train", "", given, "rnn", SOON)
        assert event == "error" and SECRET not in str(told) and not any(one in str(told) for one in TRACES), given
    assert not opened & forbidden({"elsewhere": hidden["elsewhere"]})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("server", ["address", "alone"])
def test_an_upload_stays_in_the_cache_whatever_it_is_called(
    name: str, server: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(server)
    guest = stranger(url)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="'
        + name.replace('"', "%22").encode("utf-8", "replace")
        + b'"\r\nContent-Type: text/plain\r\n\r\nhello there\r\n--b--\r\n'
    )
    line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=patience(60))
    form = {"Content-Type": "multipart/form-data; boundary=b", **guest.headers}
    line.request("POST", "/gradio_api/upload", body, form)
    answer = line.getresponse()
    told = answer.read().decode()
    assert not any(trace in told for trace in TRACES)
    if answer.status == 200:
        for path in json.loads(told):
            assert Path(path).resolve().is_relative_to(cache_folder()) and Path(path).resolve() == Path(path)
    else:
        assert answer.status in (400, 422), told
