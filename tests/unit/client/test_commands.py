"""Commands that speak with the registry's API, against a server on this machine that answers in its shapes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.support.simulator import RepositorySimulator
from tests.unit.client.archives import sdist, wheel
from tests.unit.client.conftest import WHEEL, Run, pin_root
from tests.unit.client.loopback import Answer, Loopback, read_json, reply, reply_json

FILE_ID = "019a0000-0000-7000-8000-000000000001"
TOKEN_ID = "019a0000-0000-7000-8000-000000000002"
HEAD = {
    "serial": 7, "root_version": 1, "snapshot_version": 5, "timestamp_version": 9,
    "timestamp_expires_at": "2020-01-01T00:00:00Z", "committed_at": "2019-12-31T00:00:00Z",
}  # fmt: skip
PROJECTS = "/api/v1/indexes/root/stable/projects"


def always(document: object, status: int = 200, **headers: str) -> Answer:
    """Answer each request alike."""
    return lambda handler: reply_json(handler, document, status, **headers)


def in_turn(*documents: object) -> Answer:
    """Answer one after the other, the last one for ever."""
    waiting: Iterator[object] = itertools.chain(documents, itertools.repeat(documents[-1]))
    return lambda handler: reply_json(handler, next(waiting))


def file_state(state: str, **fields: object) -> dict[str, object]:
    """Return how far a file has come."""
    return {"id": FILE_ID, "index": "root/stable", "filename": WHEEL, "state": state, "serial": None, **fields}


def lines(text: str) -> list[Any]:
    """Return the objects of an output stream."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def index(server: Loopback) -> str:
    """The URL of the index."""
    return f"{server.url}/root/stable"


@pytest.mark.parametrize("how", ["id", "path", "url"])
def test_status_follows_a_file_until_it_is_published(how: str, run: Run, server: Loopback, index: str) -> None:
    """An id, the link of an answer and a whole address mean the same; the last state is told."""
    path = f"/api/v1/files/{FILE_ID}"
    server.paths[path] = in_turn(file_state("received"), file_state("received"), file_state("published", serial=8))
    named = {"id": FILE_ID, "path": path, "url": server.url + path}[how]
    arguments = () if how == "url" else ("--repository", index)
    done = run("status", named, *arguments, "--json", "--token", "cmk_1abc")
    assert done.exit_code == 0, done.stderr
    assert [line["state"] for line in lines(done.stdout)] == ["published"]
    assert [(seen, headers["authorization"]) for seen, headers in server.seen] == [(path, "Bearer cmk_1abc")] * 3
    assert run("status", named, *arguments).stdout == f"published {WHEEL} in root/stable, serial 8\n"


@pytest.mark.parametrize(
    ("state", "words"), [("failed", "is failed: bad wheel"), ("removed", "is removed"), ("received", "not published")]
)
def test_status_ends_1_without_publication(state: str, words: str, run: Run, server: Loopback, index: str) -> None:
    """A file that failed or was removed, and one that waits longer than we do, end 1 with the reason."""
    error = "bad wheel" if state == "failed" else None
    server.paths[f"/api/v1/files/{FILE_ID}"] = always(file_state(state, error=error))
    done = run("status", FILE_ID, "--repository", index, "--wait", "0")
    assert done.exit_code == 1
    assert words in done.stderr


def test_status_of_something_else_ends_1(run: Run, server: Loopback) -> None:
    """A link to another document of the API is told apart from a file's state."""
    server.paths[PROJECTS] = always({"items": []})
    done = run("status", server.url + PROJECTS)
    assert done.exit_code == 1
    assert "no file's state" in done.stderr


def test_credentials_in_a_status_link_are_used_and_never_shown(run: Run, server: Loopback) -> None:
    """They go into the header alone."""
    link = server.url.replace("http://", "http://ada:secret@") + f"/api/v1/files/{FILE_ID}"
    done = run("status", link)
    assert done.exit_code == 1
    assert "answered 404" in done.stderr
    assert "secret" not in done.output
    assert server.seen[0][1]["authorization"].startswith("Basic ")


def test_status_shows_where_we_stand(run: Run, server: Loopback, sim: RepositorySimulator, tmp_path: Path) -> None:
    """Who we are, which root is pinned, where the index is, and a warning when its timestamp is out of date."""
    index = server.serve_index(sim)
    server.paths |= {
        "/api/v1/account": always({"name": "ada", "administrator": True, "token": None}),
        "/api/v1/indexes/root/stable/head": always(HEAD),
    }
    nobody = run("status", "--repository", index)
    assert nobody.exit_code == 0, nobody.stderr
    assert "account    nobody" in nobody.stdout
    assert "none is pinned" in nobody.stdout
    assert "has expired" in nobody.stderr
    assert run("download", "widget", "--repository", index, "--dest", tmp_path, "--trust-on-first-use").exit_code == 0
    (known,) = lines(run("status", "--repository", index, "--json", COUNTERMARK_TOKEN="cmk_1abc").stdout)
    assert known["account"]["name"] == "ada"
    assert (known["root"]["version"], known["root"]["origin"]) == (1, "first-use")
    assert known["head"] == HEAD
    assert known["bases"] == {"order": ["root/stable"], "mirrors": [], "origin": "served"}
    server.paths["/api/v1/account"] = always({"title": "Unauthorized", "detail": "This token is not known."}, 401)
    unknown = run("status", "--repository", index, COUNTERMARK_TOKEN="cmk_1abc")
    assert unknown.exit_code == 0
    assert "This token is not known" in unknown.stderr


def test_ls_lists_projects_page_by_page(run: Run, server: Loopback, index: str) -> None:
    """Each page's cursor leads to the next; the filter goes along; JSON has one object for each project."""
    first = {"items": [{"name": "gizmo", "latest_version": None, "summary": None}], "next": "c1"}
    second = {"items": [{"name": "widget", "latest_version": "1.10", "summary": "A \x1b[2Jwidget"}], "next": None}
    server.paths |= {
        f"{PROJECTS}?q=g&limit=200": always(first),
        f"{PROJECTS}?q=g&limit=200&after=c1": always(second),
    }
    done = run("ls", "--match", "g", "--repository", index)
    assert (done.exit_code, done.stdout) == (0, "gizmo\t-\nwidget\t1.10\tA ?[2Jwidget\n")
    names = [line["name"] for line in lines(run("ls", "--match", "g", "--repository", index, "--json").stdout)]
    assert names == ["gizmo", "widget"]


def test_ls_reads_releases_and_files_from_the_signed_page(run: Run, sim: RepositorySimulator, tmp_path: Path) -> None:
    """A folder without any server answers; an altered page is refused; an unknown release ends 1, no root ends 2."""
    sim.add_file("widget-1.9.tar.gz", b"source\n")
    sim.publish()
    tree = sim.write_tree(tmp_path / "data")
    assert run("ls", "widget", "--repository", tree).exit_code == 2
    pin_root(run, tree, tmp_path)
    releases = lines(run("ls", "Widget", "--repository", tree, "--json").stdout)
    assert [(release["version"], release["files"]) for release in releases] == [("1.10", 1), ("1.9", 1)]
    (file,) = lines(run("ls", "widget==1.10", "--repository", tree, "--json").stdout)
    assert (file["file"], file["length"], file["yanked"]) == (WHEEL, 15, False)
    assert file["sha256"] in run("ls", "widget==1.10", "--repository", tree).stdout
    assert run("ls", "widget<1.10", "--repository", tree).stdout.startswith("1.9\t1 file(s)\t2026-")
    assert run("ls", "widget==3", "--repository", tree).exit_code == 1
    assert run("ls", "--repository", tree).exit_code == 2
    page = tree.parents[2] / sim.target_key("pointers/widget/_simple.json")
    page.write_bytes(page.read_bytes().replace(b"1.9", b"1.8"))
    assert run("ls", "widget", "--repository", tree).exit_code == 1


def test_yank_and_unyank(run: Run, server: Loopback, index: str) -> None:
    """The release or one file of it is marked, with the reason; a pending change is made again until published."""
    seen: list[tuple[str, Any]] = []

    def change(handler: BaseHTTPRequestHandler) -> None:
        seen.append((handler.command, read_json(handler)))
        reply_json(handler, {"state": "published", "serial": 9})

    waiting = iter(["pending", "published", "pending"])

    def pending(handler: BaseHTTPRequestHandler) -> None:
        seen.append((handler.command, read_json(handler)))
        state = next(waiting)
        reply_json(handler, {"state": state, "serial": 10 if state == "published" else None})

    release = f"{PROJECTS}/widget/releases/1.10%2Babc"
    name = "widget-1.10+abc-py3-none-any.whl"
    server.paths |= {
        f"{release}/yank": change,
        f"{release}/files/{name.replace('+', '%2B')}/yank": pending,
    }
    done = run("yank", "Widget==1.10+abc", "--reason", "broken", "--repository", index)
    assert (done.exit_code, done.stdout) == (0, "yanked widget==1.10+abc: published, serial 9\n")
    done = run("unyank", "widget==1.10+abc", "--file", name, "--repository", index, "--json")
    assert lines(done.stdout) == [{"change": f"unyanked {name}", "state": "published", "serial": 10}]
    late = run("yank", "widget==1.10+abc", "--file", name, "--repository", index, "--wait", "0")
    assert late.exit_code == 0
    assert "soon" in late.stderr
    assert seen == [("POST", {"reason": "broken"}), ("DELETE", None), ("DELETE", None), ("POST", {"reason": None})]


def test_tokens_are_made_listed_and_revoked(run: Run, server: Loopback, index: str) -> None:
    """The secret is the only output of `create`; the list shows none; the scope is what was asked for."""
    bodies: list[Any] = []
    minted = {"id": TOKEN_ID, "account": "ada", "token": "cmk_1new", "expires_at": "2027-01-01T00:00:00Z"}
    listed = {
        "id": TOKEN_ID, "account": "ada", "label": "ci", "state": "active", "created_at": "2026-01-01T00:00:00Z",
        "scopes": [{"index": None, "project": "widget", "verbs": ["read", "upload"]}],
        "expires_at": "2027-01-01T00:00:00Z", "revoked_at": None, "last_used_at": None,
    }  # fmt: skip

    def create(handler: BaseHTTPRequestHandler) -> None:
        bodies.append(read_json(handler))
        reply_json(handler, minted, 201)

    server.paths |= {
        "/api/v1/tokens": create,
        "/api/v1/tokens?limit=200": always({"items": [listed], "next": None}),
        f"/api/v1/tokens/{TOKEN_ID}": lambda handler: reply(handler, 204),
    }
    as_ada = {"COUNTERMARK_USERNAME": "ada", "COUNTERMARK_PASSWORD": "correct horse"}
    made = run("token", "create", "ci", "--days", "30", "--repository", index, **as_ada)
    assert (made.exit_code, made.stdout) == (0, "cmk_1new\n")
    options = ("--index", "*", "--project", "Widget", "--can", "read")
    assert lines(run("token", "create", "ci", *options, "--repository", index, "--json").stdout) == [minted]
    assert bodies == [
        {"label": "ci", "days": 30, "scopes": [{"index": "root/stable", "project": None, "verbs": ["read", "upload"]}]},
        {"label": "ci", "scopes": [{"index": None, "project": "widget", "verbs": ["read"]}]},
    ]
    assert server.seen[0][1]["authorization"].startswith("Basic ")
    shown = run("token", "list", "--repository", index).stdout
    assert "read,upload@*:widget" in shown
    assert "cmk_1" not in shown
    gone = run("token", "revoke", TOKEN_ID, "--repository", index)
    assert (gone.exit_code, gone.stdout) == (0, f"revoked {TOKEN_ID}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "nonsense!"),
        ("status", "https://host/elsewhere"),
        ("yank", "widget"),
        ("yank", "widget>=1"),
        ("yank", "widget==1", "--file", "other-1.tar.gz"),
        ("unyank", "widget==1", "--file", "notes.txt"),
        ("ls", "widget", "--match", "x"),
        ("token", "create", "ci", "--can", "Read Everything"),
        ("token", "create", "ci", "--index", "nonsense"),
        ("token", "revoke", "cmk_1secret"),
    ],
)
def test_calls_that_cannot_be_meant_end_2(arguments: tuple[str, ...], run: Run, server: Loopback, index: str) -> None:
    """Usage, before any request; what may be a secret is not repeated."""
    done = run(*arguments, COUNTERMARK_REPOSITORY=index)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "cmk_1" not in done.stderr
    assert server.seen == []


@pytest.mark.parametrize("command", [("status",), ("ls",), ("yank", "widget==1"), ("token", "list")])
def test_a_static_tree_has_no_api(command: tuple[str, ...], run: Run, tree: Path) -> None:
    """What needs the registry says so."""
    done = run(*command, COUNTERMARK_REPOSITORY=str(tree))
    assert done.exit_code == 2
    assert "static tree" in done.stderr


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (always({"title": "Forbidden", "detail": "Not \x1b[2Jyours."}, 403), "answered 403: Not [2Jyours. This token"),
        (always({"title": "Unauthorized"}, 401), "COUNTERMARK_TOKEN"),
        (always("no object"), "no JSON document"),
        (always({"items": "none"}), "no list"),
        (lambda handler: reply(handler, 200, b"<html>"), "no JSON document"),
        (lambda handler: reply(handler, 200, b"[" * 100_000), "no JSON document"),
        (lambda handler: reply(handler, 302, Location="https://elsewhere.example/"), "answered 302"),
        (lambda handler: reply(handler, 200, b" " * (17 * 1024 * 1024)), "answered more than"),
    ],
)
def test_answers_that_are_none_end_1(answer: Answer, words: str, run: Run, server: Loopback, index: str) -> None:
    """A refusal is told in the registry's words, made harmless; anything that is no document is refused."""
    server.paths["/api/v1/tokens?limit=200"] = answer
    done = run("token", "list", "--repository", index, "--json")
    assert done.exit_code == 1
    assert words in done.stderr
    assert "\x1b" not in done.stderr
    assert lines(done.stdout)[-1]["error"] == "RegistryRefused"


def test_busy_servers_are_asked_again(run: Run, server: Loopback, index: str, tmp_path: Path) -> None:
    """A 503 with `Retry-After` is followed by another attempt, for reading and for uploads; a new token is not."""
    status = iter([503, 200, 503, 200, 503])

    def busy(handler: BaseHTTPRequestHandler) -> None:
        handler.rfile.read(int(handler.headers.get("content-length") or 0))
        reply_json(handler, {"items": []}, next(status), Retry_After="0")

    for path in ("/api/v1/tokens?limit=200", "/api/v1/tokens", "/root/stable/"):
        server.paths[path] = busy
    assert run("token", "list", "--repository", index).exit_code == 0
    assert run("upload", wheel(tmp_path), "--index", index).exit_code == 0
    assert run("token", "create", "ci", "--repository", index).exit_code == 1
    assert len(server.seen) == 5


def test_uploads_are_summed_up(run: Run, server: Loopback, index: str, tmp_path: Path) -> None:
    """Several files are sent; a refused one does not end the others, and the run ends 1 with a summary."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        refused = b'filename="widget-1.10.tar.gz"' in body
        reply(handler, 409 if refused else 200, b"other bytes" if refused else b"published")

    server.paths["/root/stable/"] = answer
    files = (sdist(tmp_path), wheel(tmp_path))
    done = run("upload", *files, "--index", index)
    assert done.exit_code == 1
    assert done.stdout == f"200 {files[1].name}: published\n"
    assert "1 of 2 files are in the index" in done.stderr
    told = lines(run("upload", *files, "--index", index, "--json").stdout)
    assert [line.get("for", line.get("file")) for line in told] == [str(file) for file in files]
    assert run("upload", files[1], "--index", index, "--quiet").stderr == ""


def test_a_list_that_goes_round_is_left(run: Run, server: Loopback) -> None:
    """A page that points to itself ends the command, not ten thousand requests."""
    page = {"items": [{"id": "1"}], "next": "again"}
    server.paths |= {"/api/v1/tokens?limit=200": always(page), "/api/v1/tokens?limit=200&after=again": always(page)}
    done = run("token", "list", "--repository", f"{server.url}/root/stable")
    assert (done.exit_code, "goes round" in done.stderr) == (1, True), done.stderr
    assert len(server.seen) == 2
