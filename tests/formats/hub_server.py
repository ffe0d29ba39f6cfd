"""A Hugging Face Hub of one's own on 127.0.0.1: the routes that push and pull use, with its files in a folder.

It speaks what huggingface_hub 2.4 asks and reads, as the library's source and the Hub's documents say it: whoami,
create, repository and revision information, validate-yaml, preupload, commits as NDJSON, the LFS batch with upload and
verification (no Xet), tree and resolve; large files are fetched from another address, as from the Hub's CDN.
"""

import base64
import fnmatch
import hashlib
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import yaml

OWNER, TOKEN, READER = "ada", "hf_ownTOKENownTOKENownTOKENown", "hf_readTOKENreadTOKENreadTOKEN"
VISITOR = "hf_oauth_visitorTOKENvisitorTOKEN"  # what a login at a Space gives
USERS = {
    TOKEN: (OWNER, True),
    READER: ("bob", False),
    VISITOR: ("eve", True),
}  # by token: the name, and whether it may write
LARGE = ("*.safetensors", "*.onnx", "*.pt", "*.bin")  # what the Hub's .gitattributes sends to LFS
MOST_REGULAR = 10 << 20  # bytes of a file that is no LFS file
COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
NAME = r"(?P<repo>[\w.-]+/[\w.-]+)"


@dataclass
class Repository:
    """A repository: its commits, newest last, each with the files' digests by name."""

    kind: str
    private: bool
    sdk: str | None = None
    commits: list[dict[str, Any]] = field(default_factory=list)

    @property
    def files(self) -> dict[str, dict[str, Any]]:
        return self.commits[-1]["files"]  # type: ignore[no-any-return]


@dataclass(eq=False)
class Hub:
    """The server's state, and what was asked of it.

    Attributes:
        folder: where contents lie, by their SHA-256.
        asked: every request: method, path, and the token's owner or "".
        breaks: called with method and path before a request is answered; True breaks the connection.
        breaks_inside: the same for uploads, in the middle of their bytes.
        answers: a status that is answered to a request instead; see `breaks`.
    """

    folder: Path
    repos: dict[tuple[str, str], Repository] = field(default_factory=dict)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    sent: Counter[str] = field(default_factory=Counter)
    strange: list[str] = field(default_factory=list)  # tokens that came where none belongs
    breaks: Callable[[str, str], bool] = lambda method, path: False
    breaks_inside: Callable[[str, str], bool] = lambda method, path: False
    answers: Callable[[str, str], int] = lambda method, path: 0
    endpoint: str = ""
    cdn: str = ""
    nonce: str = ""

    @cache  # noqa: B019
    def key(self) -> Any:
        """What logins are signed with."""
        from joserfc.jwk import RSAKey

        return RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"})

    def keep(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (self.folder / digest).write_bytes(data)
        return digest

    def content(self, repo: str, name: str, kind: str = "model") -> bytes:
        return (self.folder / self.repos[kind, repo].files[name]["sha256"]).read_bytes()

    def commit(self, repo: Repository, changes: dict[str, dict[str, Any] | None], summary: str) -> str:
        files = {**(repo.files if repo.commits else {}), **changes}
        files = {name: one for name, one in files.items() if one is not None}
        sha = hashlib.sha1(json.dumps([summary, len(repo.commits), sorted(files)]).encode()).hexdigest()
        repo.commits.append({"sha": sha, "summary": summary, "files": files})
        return sha

    def entry(self, data: bytes, lfs: bool = False) -> dict[str, Any]:
        """What a commit holds of a file."""
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        return {"sha256": self.keep(data), "size": len(data), "git": git, "lfs": lfs}

    def put(self, repo: str, files: dict[str, bytes], private: bool = False, kind: str = "model") -> None:
        """A repository that somebody else has filled."""
        made = self.repos.setdefault((kind, repo), Repository(kind, private))
        entries = {
            name: self.entry(data, any(fnmatch.fnmatch(name, each) for each in LARGE)) for name, data in files.items()
        }
        self.commit(made, dict(entries), "by hand")


def metadata_errors(content: str, kind: str) -> list[str]:
    """What is wrong with the YAML of a README.md, of what the Hub is known to check."""
    found = re.match(r"---\n(.*?)\n---\n", content, re.S)
    if not found:
        return []
    data = yaml.safe_load(found[1])
    if not isinstance(data, dict):
        return ["the metadata are no object"]
    wrong = []
    if kind == "space":
        wrong += [f"{name} is not a colour" for name in ("colorFrom", "colorTo") if data.get(name) not in COLOURS]
        wrong += ["sdk"] if data.get("sdk") not in ("gradio", "docker", "static") else []
        wrong += ["short_description is too long"] if len(data.get("short_description", "")) > 60 else []
        wrong += ["title"] if not isinstance(data.get("title"), str) else []
    for name in ("license", "pipeline_tag", "library_name"):
        if name in data and not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", str(data[name])):
            wrong.append(f"{name} {data[name]!r}")
    if "tags" in data and not all(isinstance(tag, str) for tag in data["tags"]):
        wrong.append("tags")
    for model in data.get("model-index", ()):
        if not isinstance(model.get("name"), str) or not model.get("results"):
            wrong.append("model-index without a name or results")
        for result in model.get("results", ()):
            wrong += ["task.type"] if not result.get("task", {}).get("type") else []
            wrong += ["dataset"] if not {"type", "name"} <= result.get("dataset", {}).keys() else []
            wrong += ["metrics"] if not all({"type", "value"} <= one.keys() for one in result["metrics"]) else []
    return wrong


class Answer(BaseHTTPRequestHandler):
    """One request to the Hub."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def handle_one_request(self) -> None:
        with suppress(ConnectionError):  # the client has left
            super().handle_one_request()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed."""

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    # --- what every request passes

    def _answer(self, method: str) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.user, self.may_write = USERS.get(given, ("", False))
        self.hub.asked.append((method, path, self.user))
        if self.hub.breaks(method, path):
            return self._break()
        if path.startswith("/upload/") and given:
            self.hub.strange.append(given)
        length = int(self.headers.get("Content-Length") or 0)
        if self.hub.breaks_inside(method, path):
            self.rfile.read(length // 2)
            return self._break()
        chunked = self.headers.get("Transfer-Encoding") == "chunked"
        self.body = b"".join(self._chunks()) if chunked else self.rfile.read(length)
        if status := self.hub.answers(method, path):
            return self._refuse(status, "so it was asked for")
        if given and not self.user and not given.startswith("Basic "):
            return self._refuse(401, "Invalid credentials in Authorization header")
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        for verb, pattern, handler in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method in verb:
                return handler(self, **found.groupdict())
        return self._refuse(404, f"no route {method} {path}")

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _break(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def _send(self, data: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(json.dumps(value).encode(), status, Content_Type="application/json")

    def _refuse(self, status: int, message: str, code: str = "") -> None:
        headers = {"X_Error_Message": message, **({"X_Error_Code": code} if code else {})}
        self._send(json.dumps({"error": message}).encode(), status, Content_Type="application/json", **headers)

    def _repository(self, kind: str, repo: str, write: bool = False) -> Repository | None:
        """The repository that this user may see, or change; a refusal is sent where not."""
        found = self.hub.repos.get((kind, repo))
        if found is None or (found.private and self.user != repo.split("/")[0]):
            self._refuse(404 if self.user else 401, "Repository not found", "RepoNotFound")
            return None
        if write and not (self.may_write and self.user == repo.split("/")[0]):
            self._refuse(403, "Forbidden: you must use a write token to upload to a repository.")
            return None
        return found

    def _revision(self, repo: Repository, revision: str) -> dict[str, Any] | None:
        commits = [one for one in repo.commits if one["sha"] == revision]
        found = repo.commits[-1] if revision == "main" else commits[-1] if commits else None
        if found is None:
            self._refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    # --- a login at a Space (OpenID Connect)

    def openid(self) -> None:
        place = self.hub.endpoint
        routes = {f"{name}_endpoint": f"{place}/oauth/{name}" for name in ("authorize", "token", "userinfo")}
        routes["authorization_endpoint"] = routes.pop("authorize_endpoint")
        algorithms = {"id_token_signing_alg_values_supported": ["RS256"]}
        self._json({"issuer": place, "jwks_uri": f"{place}/oauth/jwks", **routes, **algorithms})

    def authorize(self) -> None:
        assert self.query["response_type"] == "code" and "contribute-repos" in self.query["scope"].split()
        self.hub.nonce = self.query["nonce"]
        back = self.query["redirect_uri"]
        more = urlencode({"code": "1", "state": self.query["state"]})
        self._send(b"", 302, Location=f"{back}{'&' if '?' in back else '?'}{more}")

    def token(self) -> None:
        """The visitor's access token, and who the visitor is, signed."""
        from joserfc import jwt

        claims = {
            "iss": self.hub.endpoint, "aud": "client", "sub": "1", "nonce": self.hub.nonce, "name": "Eve",
            "iat": int(time.time()), "exp": int(time.time()) + 600, "preferred_username": "eve", "profile": "",
            "picture": "",
        }  # fmt: skip
        signed = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.hub.key())
        about = {"token_type": "bearer", "expires_in": 600, "scope": "openid profile contribute-repos"}
        self._json({"access_token": VISITOR, "id_token": signed, **about})

    def keys(self) -> None:
        self._json({"keys": [self.hub.key().as_dict(private=False)]})

    # --- the routes

    def whoami(self) -> None:
        if not self.user:
            return self._refuse(401, "Invalid username or password.")
        return self._json({"type": "user", "name": self.user, "auth": {"accessToken": {"role": "write"}}})

    def create(self) -> None:
        asked = json.loads(self.body)
        owner, kind = asked.get("organization") or self.user, asked.get("type") or "model"
        if not self.user:
            return self._refuse(401, "Invalid username or password.")
        if not self.may_write or owner != self.user:
            return self._refuse(403, f"You don't have the rights to create a {kind} under the namespace {owner!r}")
        name = f"{owner}/{asked['name']}"
        url = f"{self.hub.endpoint}/{'spaces/' if kind == 'space' else ''}{name}"
        if (kind, name) in self.hub.repos:
            return self._json({"error": "You already created this repo", "url": url}, 409)
        if kind == "space" and asked.get("sdk") not in ("gradio", "docker", "static"):
            return self._refuse(400, "sdk is missing")
        private = asked.get("private", asked.get("visibility") == "private")
        made = self.hub.repos[kind, name] = Repository(kind, private, asked.get("sdk"))
        begun = {".gitattributes": self.hub.entry(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n")}
        if kind == "space":
            begun["README.md"] = self.hub.entry(b"---\ntitle: New\nsdk: static\ncolorFrom: red\ncolorTo: red\n---\n")
        self.hub.commit(made, dict(begun), "initial commit")
        return self._json({"url": url, "name": name, "private": private})

    def info(self, kind: str, repo: str, revision: str | None = None) -> None:
        found = self._repository(kind, repo)
        commit = found and self._revision(found, revision or "main")
        if not found or not commit:
            return
        blobs = self.query.get("blobs") in ("1", "true", "True")
        siblings = [self._sibling(name, one, blobs) for name, one in commit["files"].items()]
        tags = self._card(commit).get("tags", [])
        about = {"id": repo, "sha": commit["sha"], "private": found.private, "tags": tags, "siblings": siblings}
        self._json({"_id": "1", **about, "author": repo.split("/")[0], "downloads": 0, "likes": 0, "sdk": found.sdk})

    def _sibling(self, name: str, one: dict[str, Any], blobs: bool) -> dict[str, Any]:
        about: dict[str, Any] = {"rfilename": name}
        if blobs:
            about |= {"size": one["size"], "blobId": one["git"]}
            about |= {"lfs": {"sha256": one["sha256"], "size": one["size"], "pointerSize": 134}} if one["lfs"] else {}
        return about

    def _card(self, commit: dict[str, Any]) -> dict[str, Any]:
        if "README.md" not in commit["files"]:
            return {}
        text = (self.hub.folder / commit["files"]["README.md"]["sha256"]).read_text("utf-8")
        found = re.match(r"---\n(.*?)\n---\n", text, re.S)
        data = yaml.safe_load(found[1]) if found else {}
        return data if isinstance(data, dict) else {}

    def validate_yaml(self) -> None:
        asked = json.loads(self.body)
        errors = metadata_errors(asked["content"], asked["repoType"])
        said = {"errors": [{"message": one} for one in errors], "warnings": []}
        self._json(said, 400 if errors else 200)

    def preupload(self, kind: str, repo: str, revision: str) -> None:
        found = self._repository(kind, repo, write=True)
        commit = found and self._revision(found, revision)
        if not commit:
            return
        answers = []
        for one in json.loads(self.body)["files"]:
            assert len(base64.b64decode(one["sample"])) <= 512
            is_large = one["size"] > MOST_REGULAR or any(fnmatch.fnmatch(one["path"], each) for each in LARGE)
            known = commit["files"].get(one["path"])
            oid = known and (known["sha256"] if known["lfs"] else known["git"])
            mode = "lfs" if is_large else "regular"
            answers.append({"path": one["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        self._json({"files": answers})

    def batch(self, kind: str, repo: str) -> None:
        if not self._repository(kind, repo, write=True):
            return
        asked = json.loads(self.body)
        assert asked["operation"] == "upload" and asked["hash_algo"] == "sha256" and "basic" in asked["transfers"]
        objects = []
        for one in asked["objects"]:
            actions = {
                "upload": {"href": f"{self.hub.cdn}/upload/{one['oid']}", "header": {}},
                "verify": {"href": f"{self.hub.endpoint}/{repo}.git/info/lfs/verify", "header": {}},
            }
            is_there = (self.hub.folder / one["oid"]).exists()
            objects.append({**one, "authenticated": True, **({} if is_there else {"actions": actions})})
        self._json({"transfer": "basic", "objects": objects})

    def upload(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self._refuse(400, "the digest is another")
        self.hub.sent[self.hub.keep(self.body)] += 1
        return self._send(b"")

    def verify(self, repo: str) -> None:
        asked = json.loads(self.body)
        path = self.hub.folder / asked["oid"]
        is_whole = path.is_file() and path.stat().st_size == asked["size"]
        self._json({"message": "ok"} if is_whole else {"error": "it is not there"}, 200 if is_whole else 404)

    def commit(self, kind: str, repo: str, revision: str) -> None:
        found = self._repository(kind, repo, write=True)
        if not found or not self._revision(found, revision):
            return
        assert self.headers["Content-Type"] == "application/x-ndjson"
        head, *lines = [json.loads(line) for line in self.body.splitlines()]
        changes: dict[str, dict[str, Any] | None] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                changes[value["path"]] = self.hub.entry(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                path = self.hub.folder / value["oid"]
                if not path.is_file():
                    return self._refuse(400, f"LFS pointer of {value['path']} pointed to a file that does not exist")
                changes[value["path"]] = self.hub.entry(path.read_bytes(), lfs=True)
            elif line["key"] == "deletedFile":
                if value["path"] not in found.files:
                    return self._refuse(404, "A file with this name doesn't exist", "EntryNotFound")
                changes[value["path"]] = None
        sha = self.hub.commit(found, changes, head["value"]["summary"])
        return self._json({"success": True, "commitUrl": f"{self.hub.endpoint}/{repo}/commit/{sha}", "commitOid": sha})

    def tree(self, kind: str, repo: str, revision: str) -> None:
        found = self._repository(kind, repo)
        commit = found and self._revision(found, revision)
        if commit:
            files = commit["files"].items()
            self._json([{"type": "file", "path": name, "size": one["size"], "oid": one["git"]} for name, one in files])

    def resolve(self, repo: str, revision: str, name: str, kind: str = "model") -> None:
        found = self._repository(kind, repo)
        commit = found and self._revision(found, revision)
        if not commit:
            return
        one = commit["files"].get(name)
        if one is None:
            return self._refuse(404, "Entry not found", "EntryNotFound")
        about = {"X_Repo_Commit": commit["sha"], "ETag": f'"{one["sha256"]}"'}
        if one["lfs"]:
            place = f"{self.hub.cdn}/content/{one['sha256']}"
            return self._send(b"", 302, Location=place, X_Linked_Size=str(one["size"]), **about)
        return self._send((self.hub.folder / one["sha256"]).read_bytes(), **about)


class Contents(Answer):
    """One request to the address that has the large files: it knows no users, and no token belongs there."""

    def _answer(self, method: str) -> None:
        if given := self.headers.get("Authorization"):
            self.hub.strange.append(given)
        super()._answer(method)

    def content(self, oid: str) -> None:
        self._send((self.hub.folder / oid).read_bytes())


KIND = r"/api/(?P<kind>model|space)s/" + NAME
ROUTES: tuple[tuple[tuple[str, ...], str, Callable[..., None]], ...] = (
    (("GET",), "/[.]well-known/openid-configuration", Answer.openid),
    (("GET",), "/oauth/authorize", Answer.authorize),
    (("POST",), "/oauth/token", Answer.token),
    (("GET",), "/oauth/jwks", Answer.keys),
    (("GET",), "/api/whoami-v2", Answer.whoami),
    (("POST",), "/api/repos/create", Answer.create),
    (("POST",), "/api/validate-yaml", Answer.validate_yaml),
    (("GET",), KIND, Answer.info),
    (("GET",), KIND + "/revision/(?P<revision>.+)", Answer.info),
    (("GET",), KIND + "/tree/(?P<revision>[^/]+)", Answer.tree),
    (("POST",), KIND + "/preupload/(?P<revision>.+)", Answer.preupload),
    (("POST",), KIND + "/commit/(?P<revision>.+)", Answer.commit),
    (("POST",), f"/{NAME}[.]git/info/lfs/objects/batch", lambda self, repo: Answer.batch(self, "model", repo)),
    (("POST",), f"/spaces/{NAME}[.]git/info/lfs/objects/batch", lambda self, repo: Answer.batch(self, "space", repo)),
    (("POST",), f"/{NAME}[.]git/info/lfs/verify", Answer.verify),
    (("PUT",), "/upload/(?P<oid>[0-9a-f]{64})", Answer.upload),
    (("GET",), "/content/(?P<oid>[0-9a-f]{64})", Contents.content),
    (("GET", "HEAD"), f"/{NAME}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", Answer.resolve),
)


@contextmanager
def hub_at_work(folder: Path) -> Iterator[Hub]:
    """A Hub whose contents lie in a folder, until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    hub = Hub(folder)
    servers = []
    for kind in (Answer, Contents):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type(kind.__name__, (kind,), {"hub": hub}))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
    hub.endpoint, hub.cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
