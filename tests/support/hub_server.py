"""A Hub in one process: a web server on this machine that speaks the protocol of huggingface.co.

Written from what `huggingface_hub` asks for and what https://huggingface.co/docs/hub/api and the batch API of
Git LFS (https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md) describe: repositories of any type,
commits, large files, and reading them again. It is strict: it refuses content of another digest or size,
commits that name what was not uploaded, cards without valid YAML, and whoever has no right. Of Xet it only
hands out the token for a store in a folder (`xet_storage`), which the real client then fills; it cannot read
that, so clients run with `HF_HUB_DISABLE_XET=1` (`environment` sets it) unless a test is about Xet.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

if TYPE_CHECKING:
    import pytest

USER, ORGANISATION = "anna", "choir"
TOKEN = "hf_" + "a" * 34
READ_TOKEN = "hf_" + "b" * 34
LARGE = (".parquet", ".safetensors", ".bin", ".zip", ".flac")  # the suffixes of the Hub's .gitattributes
LICENSES = ("apache-2.0", "cc-by-4.0", "cc-by-sa-3.0", "cc0-1.0", "mit", "other", "unknown")
TYPES = {"models": "model", "datasets": "dataset", "spaces": "space"}


@dataclass(frozen=True)
class File:
    """A file in a commit."""

    content: bytes
    is_large: bool

    @property
    def oid(self) -> str:
        """SHA-256 of a large file, Git's SHA-1 of another."""
        if self.is_large:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0%b" % (len(self.content), self.content)).hexdigest()


@dataclass
class Repo:
    """A repository: its commits, the newest last, each with all its files by path."""

    private: bool
    commits: list[tuple[str, dict[str, File]]] = field(default_factory=list)

    @property
    def files(self) -> dict[str, File]:
        return self.commits[-1][1]

    def commit(self, files: dict[str, File]) -> str:
        listing = "".join(f"{path} {files[path].oid}\n" for path in sorted(files))
        oid = hashlib.sha1(f"{len(self.commits)}\n{listing}".encode()).hexdigest()
        self.commits.append((oid, files))
        return oid


class Refusal(Exception):
    """An answer other than 200, as the Hub words it."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Hub(ThreadingHTTPServer):
    """The server's state. Repositories are kept by type and name, such as `("dataset", "anna/prompts")`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.storage = f"http://localhost:{self.server_address[1]}/storage"  # another host, as on the Hub
        self.repos: dict[tuple[str, str], Repo] = {}
        self.stored: dict[str, bytes] = {}  # large files by SHA-256
        self.uploaded: list[str] = []  # SHA-256 of each large file that arrived, in order
        self.asked: list[str] = []  # method and path of each request
        self.break_after: int | None = None  # so many large files arrive, then the line goes dead
        self.xet_storage: Path | None = None
        self.is_broken = threading.Event()
        self.lock = threading.Lock()

    def environment(self, home: Path, token: str | None = TOKEN) -> dict[str, str]:
        """What a client's process needs to talk to this Hub and to no other."""
        variables = {"HF_ENDPOINT": self.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home)}
        return variables | ({"HF_TOKEN": token} if token else {})

    def create(self, kind: str, name: str, *, private: bool) -> Repo:
        repo = self.repos[kind, name] = Repo(private)
        repo.commit({".gitattributes": File("".join(f"*{end} lfs\n" for end in LARGE).encode(), False)})
        return repo

    def handle_error(self, request, client_address) -> None:
        """A client that was cut off is not worth a traceback."""


def become_client(patch: "pytest.MonkeyPatch", hub: Hub, home: Path, token: str | None = TOKEN) -> None:
    """Make this process a client of this Hub and of no other, with a token or without."""
    from huggingface_hub import constants, hf_api

    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr(hf_api.api, "endpoint", hub.url)  # of the functions that need no `HfApi`
    patch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    patch.setattr(constants, "HF_HUB_CACHE", str(home / "cache"))
    patch.delenv("HF_TOKEN", raising=False)
    patch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    if token is not None:
        patch.setenv("HF_TOKEN", token)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A Hub that answers until the block ends."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class Handler(BaseHTTPRequestHandler):
    """One request; `ROUTES` below tells which method answers which path."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else head and body, two small writes, wait 40 ms for each other
    server: Hub

    def log_message(self, format: str, *values: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        address = urlsplit(self.path)
        path, self.query = unquote(address.path), parse_qs(address.query)
        with self.server.lock:
            self.server.asked.append(f"{self.command} {path}")
        self.body = self._read_body()
        for method, pattern, answer in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method.split():
                try:
                    with self.server.lock:
                        answer(self, **found.groupdict())
                except Refusal as refusal:
                    self._refuse(refusal)
                return
        self._refuse(Refusal(404, f"Sorry, we can't find the page {path}."))

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _send_json(self, value: object, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, refusal: Refusal) -> None:
        headers = {"Content-Type": "application/json", "X-Error-Message": refusal.message}
        if refusal.code:
            headers["X-Error-Code"] = refusal.code
        self._send(refusal.status, json.dumps({"error": refusal.message}).encode(), headers)

    # ---- who may do what -----------------------------------------------------------------------------------

    def _user(self) -> str | None:
        given = self.headers.get("Authorization", "")
        if not given:
            return None
        if given not in (f"Bearer {TOKEN}", f"Bearer {READ_TOKEN}"):
            raise Refusal(401, "Invalid credentials in Authorization header")
        return USER

    def _repo(self, kind: str, name: str) -> Repo:
        repo = self.server.repos.get((kind, name))
        if repo is None or (repo.private and (self._user() is None or not _is_own(name))):
            raise Refusal(404 if self._user() else 401, "Repository not found", "RepoNotFound")
        return repo

    def _own_repo(self, kind: str, name: str) -> Repo:
        repo = self._repo(kind, name)
        self._check_write(name)
        return repo

    def _check_write(self, name: str) -> None:
        if self._user() is None:
            raise Refusal(401, "Invalid username or password.")
        if self.headers["Authorization"] == f"Bearer {READ_TOKEN}" or not _is_own(name):
            raise Refusal(403, f"You don't have the rights to write to {name}")

    def _files(self, repo: Repo, revision: str) -> tuple[str, dict[str, File]]:
        if revision in ("main", "refs/heads/main"):
            return repo.commits[-1]
        for oid, files in repo.commits:
            if oid == revision:
                return oid, files
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    # ---- answers -------------------------------------------------------------------------------------------

    def whoami(self) -> None:
        if self._user() is None:
            raise Refusal(401, "Invalid username or password.")
        role = "read" if self.headers["Authorization"] == f"Bearer {READ_TOKEN}" else "write"
        auth = {"type": "access_token", "accessToken": {"displayName": "laptop", "role": role}}
        self._send_json({"type": "user", "name": USER, "orgs": [{"name": ORGANISATION}], "auth": auth})

    def create_repo(self) -> None:
        asked = json.loads(self.body)
        kind, name = asked.get("type", "model"), f"{asked.get('organization') or USER}/{asked['name']}"
        self._check_write(name)
        url = f"{self.server.url}/{_prefix(kind)}{name}"
        if (kind, name) in self.server.repos:
            self._send_json({"error": "You already created this repo", "url": url}, 409)
            return
        private = asked.get("visibility") == "private" or asked.get("private") is True
        self.server.create(kind, name, private=private)
        self._send_json({"url": url, "name": name, "id": name})

    def validate_yaml(self) -> None:
        asked = json.loads(self.body)
        errors = _card_errors(asked["content"])
        self._send_json({"errors": [{"message": e} for e in errors], "warnings": []}, 400 if errors else 200)

    def info(self, kind: str, name: str, revision: str = "main") -> None:
        repo = self._repo(TYPES[kind], name)
        oid, files = self._files(repo, revision)
        self._send_json(
            {
                "_id": "0" * 24,
                "id": name,
                "author": name.split("/")[0],
                "sha": oid,
                "private": repo.private,
                "gated": False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "lastModified": "2026-01-01T00:00:00.000Z",
                "createdAt": "2026-01-01T00:00:00.000Z",
                "siblings": [{"rfilename": path} for path in sorted(files)],
            }
        )

    def refs(self, kind: str, name: str) -> None:
        oid = self._repo(TYPES[kind], name).commits[-1][0]
        branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": oid}
        self._send_json({"branches": [branch], "tags": [], "converts": []})

    def tree(self, kind: str, name: str, revision: str, folder: str | None = None) -> None:
        _, files = self._files(self._repo(TYPES[kind], name), revision)
        start = f"{folder}/" if folder else ""
        below = {path: file for path, file in files.items() if path.startswith(start)}
        if folder and not below:
            raise Refusal(404, f"{folder} does not exist on {revision}", "EntryNotFound")
        recursive = self.query.get("recursive", ["false"])[0].lower() == "true"
        entries = {
            parent: {"type": "directory", "path": parent, "size": 0, "oid": "0" * 40}
            for path in below
            for parent in _parents(path)
            if parent.startswith(start) and (recursive or "/" not in parent[len(start) :])
        }
        for path, file in below.items():
            if recursive or "/" not in path[len(start) :]:
                entries[path] = _entry(path, file)
        self._send_json([entries[path] for path in sorted(entries)])

    def paths_info(self, kind: str, name: str, revision: str) -> None:
        _, files = self._files(self._repo(TYPES[kind], name), revision)
        if self.headers["Content-Type"].startswith("application/json"):
            paths = json.loads(self.body)["paths"]
        else:
            paths = parse_qs(self.body.decode())["paths"]
        folders = {parent for path in files for parent in _parents(path)}
        self._send_json(
            [
                _entry(path, files[path])
                if path in files
                else {"type": "directory", "path": path, "size": 0, "oid": "0" * 40}
                for path in paths
                if path in files or path in folders
            ]
        )

    def preupload(self, kind: str, name: str, revision: str) -> None:
        _, files = self._files(self._own_repo(TYPES[kind], name), revision)
        answers = []
        for file in json.loads(self.body)["files"]:
            if len(base64.b64decode(file["sample"], validate=True)) != min(file["size"], 512):
                raise Refusal(400, "the sample is not the first 512 bytes")
            answer = {"path": file["path"], "shouldIgnore": False}
            answer["uploadMode"] = "lfs" if _is_large(file["path"]) else "regular"
            there = files.get(file["path"])
            answers.append(answer | ({"oid": there.oid} if there else {}))
        self._send_json({"files": answers})

    def lfs_batch(self, name: str, kind: str | None = None) -> None:
        self._own_repo(TYPES[kind or "models"], name)
        asked = json.loads(self.body)
        if (asked["operation"], asked["hash_algo"]) != ("upload", "sha256"):
            raise Refusal(422, "only uploads by sha256")
        objects: list[dict] = []
        for wanted in asked["objects"]:
            answer = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.server.stored:
                to = f"{self.server.storage}/{wanted['oid']}?size={wanted['size']}"
                answer["actions"] = {"upload": {"href": to}, "verify": {"href": f"{self.server.url}/verify"}}
            objects.append(answer)
        body = json.dumps({"transfer": "basic", "objects": objects}).encode()
        self._send(200, body, {"Content-Type": "application/vnd.git-lfs+json"})

    def xet_token(self, kind: str, name: str, revision: str) -> None:
        self._own_repo(TYPES[kind], name)
        if self.server.xet_storage is None:
            raise Refusal(404, "no Xet here")
        url = f"local://{self.server.xet_storage}"  # what hf_xet takes for a store in a folder
        self._send_json({"casUrl": url, "exp": int(time.time()) + 3600, "accessToken": "xet"})

    def _check_no_token(self) -> None:
        if "Authorization" in self.headers:
            raise Refusal(400, "a token went to another host")

    def store(self, oid: str) -> None:
        self._check_no_token()
        if self.server.break_after is not None and len(self.server.uploaded) >= self.server.break_after:
            self.server.is_broken.set()
            self.close_connection = True  # no answer at all
            return
        if len(self.body) != int(self.query["size"][0]) or hashlib.sha256(self.body).hexdigest() != oid:
            raise Refusal(400, "other content than was announced")
        self.server.stored[oid] = self.body
        self.server.uploaded.append(oid)
        self._send(200, b"", {"ETag": f'"{oid}"'})

    def verify(self) -> None:
        asked = json.loads(self.body)
        if len(self.server.stored.get(asked["oid"], b"")) != asked["size"]:
            raise Refusal(404, "not stored")
        self._send_json({})

    def commit(self, kind: str, name: str, revision: str) -> None:
        repo = self._own_repo(TYPES[kind], name)
        head, *operations = [json.loads(line) for line in self.body.splitlines()]
        if head["key"] != "header" or not head["value"]["summary"] or revision != "main":
            raise Refusal(400, "a commit to main begins with a header that has a summary")
        if head["value"].get("parentCommit") not in (None, repo.commits[-1][0]):
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.files)
        for operation in operations:
            self._apply(files, operation["key"], operation["value"])
        if errors := _card_errors(files["README.md"].content.decode() if "README.md" in files else ""):
            raise Refusal(400, f"Invalid metadata in README.md: {errors}")
        oid = repo.commit(files)
        url = f"{self.server.url}/{_prefix(TYPES[kind])}{name}/commit/{oid}"
        self._send_json({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def _apply(self, files: dict[str, File], key: str, value: dict) -> None:
        path = value["path"]
        if key == "file":
            if _is_large(path) or value["encoding"] != "base64":
                raise Refusal(400, f"{path} must be uploaded as a large file")
            files[path] = File(base64.b64decode(value["content"], validate=True), False)
        elif key == "lfsFile":
            content = self.server.stored.get(value["oid"])
            if value["algo"] != "sha256" or content is None or len(content) != value["size"]:
                raise Refusal(400, f"{path} points to a large file that was not uploaded")
            files[path] = File(content, True)
        elif key == "deletedFile" and path in files:
            del files[path]
        else:
            raise Refusal(400, f"{key} of {path}: A file with this name doesn't exist")

    def resolve(self, name: str, revision: str, path: str, kind: str | None = None) -> None:
        oid, files = self._files(self._repo(TYPES[kind or "models"], name), revision)
        if path not in files:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        file = files[path]
        headers = {"X-Repo-Commit": oid, "ETag": f'"{file.oid}"', "Accept-Ranges": "bytes"}
        if not file.is_large:
            self._send_part(file.content, headers)
            return
        headers |= {"X-Linked-ETag": f'"{file.oid}"', "X-Linked-Size": str(len(file.content))}
        self._send(302, b"", headers | {"Location": f"{self.server.storage}/{file.oid}"})

    def fetch_stored(self, oid: str) -> None:
        self._check_no_token()
        if oid not in self.server.stored:
            raise Refusal(404, "not stored")
        self._send_part(self.server.stored[oid], {"ETag": f'"{oid}"', "Accept-Ranges": "bytes"})

    def _send_part(self, content: bytes, headers: dict[str, str]) -> None:
        headers = headers | {"Content-Type": "application/octet-stream"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._send(200, content, headers)
            return
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if first > last:
            raise Refusal(416, "Range not satisfiable")
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self._send(206, content[first : last + 1], headers)


def _is_own(name: str) -> bool:
    return name.split("/")[0] in (USER, ORGANISATION)


def _is_large(path: str) -> bool:
    return path.endswith(LARGE)


def _prefix(kind: str) -> str:
    return "" if kind == "model" else f"{kind}s/"


def _parents(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: number + 1]) for number in range(len(parts))]


def _entry(path: str, file: File) -> dict:
    entry: dict = {"type": "file", "path": path, "size": len(file.content), "oid": file.oid[:40]}
    if file.is_large:
        entry["lfs"] = {"oid": file.oid, "size": len(file.content), "pointerSize": 130}
    return entry


def _card_errors(content: str) -> list[str]:
    """What the Hub would refuse in the metadata of a README.md."""
    found = re.match(r"---\r?\n(.*?)\r?\n---", content, re.DOTALL)
    try:
        head = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError as error:
        return [str(error)]
    if not isinstance(head, dict):
        return ["the metadata is no mapping"]
    licence = head.get("license")
    return [f'"license" must be one of {LICENSES}'] if licence not in (None, *LICENSES) else []


_API = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
_PAGE = r"/(?:(?P<kind>datasets|spaces)/)?(?P<name>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>refs/heads/main|[^/]+)"

ROUTES = (
    ("GET", r"/api/whoami-v2", Handler.whoami),
    ("POST", r"/api/repos/create", Handler.create_repo),
    ("POST", r"/api/validate-yaml", Handler.validate_yaml),
    ("GET HEAD", _API, Handler.info),
    ("GET HEAD", rf"{_API}/revision/{_REVISION}", Handler.info),
    ("GET", rf"{_API}/refs", Handler.refs),
    ("GET", rf"{_API}/tree/{_REVISION}(?:/(?P<folder>.+))?", Handler.tree),
    ("POST", rf"{_API}/paths-info/{_REVISION}", Handler.paths_info),
    ("POST", rf"{_API}/preupload/{_REVISION}", Handler.preupload),
    ("GET", rf"{_API}/xet-write-token/{_REVISION}", Handler.xet_token),
    ("POST", rf"{_API}/commit/{_REVISION}", Handler.commit),
    ("POST", rf"{_PAGE}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("PUT", r"/storage/(?P<oid>[0-9a-f]{64})", Handler.store),
    ("GET HEAD", r"/storage/(?P<oid>[0-9a-f]{64})", Handler.fetch_stored),
    ("POST", r"/verify", Handler.verify),
    ("GET HEAD", rf"{_PAGE}/resolve/{_REVISION}/(?P<path>.+)", Handler.resolve),
)
