"""`countermark explain` and `countermark hold`, against a server on this machine that answers in the API's shapes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.client.conftest import Run
from tests.unit.client.loopback import Loopback, read_json, reply, reply_json
from tests.unit.client.test_commands import always, lines

BASE = "/api/v1/indexes/root/stable"
EXEMPTION = "019a0000-0000-7000-8000-000000000003"
TOO_NEW = {"rule": "too-new", "index": "root/stable", "reason": "files must be 7 days old here", "until": "2026-12-02Z"}
UPSTREAM = {"stale_since": "08:00", "failing_since": "09:00", "failure": "503"}


def member(index: str | None, state: str, **more: object) -> dict[str, object]:
    """Return a member of a view."""
    fields = {"type": "mirror", "by": None, "reason": None, "hidden": None, "upstream": None}
    return {"index": index, "state": state, **fields, **more}


def explained(**more: object) -> dict[str, Any]:
    """Return an explanation."""
    files = [
        {"filename": "thing-2.0.tar.gz", "shown": False, "yanked": False, "hidden": TOO_NEW},
        {"filename": "thing-1.0.tar.gz", "shown": True, "yanked": True, "hidden": None},
    ]
    clients = [{"kind": "installers", "who": "pip, uv", "latest": "1.0"}]
    return {
        "index": "root/stable", "project": "thing", "found": True, "shown": 1, "hidden": 1, "files": files,
        "members": [member("root/stable", "nothing"), member(None, "shows", upstream=UPSTREAM)], "clients": clients,
        "whitelist_opens": False, "without_rules": "2.0", "exemptions": [], **more,
    }  # fmt: skip


@pytest.fixture
def index(server: Loopback) -> str:
    """The URL of the index."""
    return f"{server.url}/root/stable"


def test_an_explanation_in_words(run: Run, server: Loopback, index: str) -> None:
    """Who has it, what clients take, what is held back by which rule and until when."""
    given = {"index": "root/stable", "version": None, "owner": "ann", "reason": "a fix", "until": "2026-11-30Z"}
    server.paths[f"{BASE}/explain/thing"] = always(explained(exemptions=[given]))
    done = run("explain", "Thing", "--repository", index)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "thing in root/stable: 1 file(s) shown, 1 held back",
        "  1. root/stable: does not have it",
        "  2. an index that you may not read: has it; not confirmed since 08:00; its upstream fails since 09:00: 503",
        "pip, uv: 1.0",
        "if nothing were held back: 2.0",
        "exempt in root/stable: all versions, by ann until 2026-11-30Z: a fix",
        "thing-2.0.tar.gz\theld back\ttoo-new: files must be 7 days old here (root/stable), until 2026-12-02Z",
        "thing-1.0.tar.gz\tshown\tyanked",
    ]


def test_what_is_not_shown_ends_1(run: Run, server: Loopback, index: str) -> None:
    """With the explanation on the output stream all the same; a private name says who holds it."""
    shut = member("root/pypi", "shut-out", by="root/stable")
    server.paths[f"{BASE}/explain/thing?version=2.0"] = always(
        explained(found=False, shown=0, members=[shut], files=[])
    )
    done = run("explain", "thing==2.0", "--repository", index)
    assert done.exit_code == 1
    assert "1. root/pypi: is not asked: the name is held nearer, by root/stable" in done.stdout


def test_an_explanation_for_programs(run: Run, server: Loopback, index: str) -> None:
    """One object, as the registry told it."""
    server.paths[f"{BASE}/explain/thing"] = always(explained())
    assert lines(run("explain", "thing", "--repository", index, "--json").stdout) == [explained()]


@pytest.mark.parametrize("what", ["thing>=1", "no name!", "thing==1.*"])
def test_what_names_no_release_is_a_usage_fault(what: str, run: Run, index: str) -> None:
    """A range explains nothing."""
    for command in (("explain", what), ("hold", "exempt", what, "--reason", "x")):
        assert run(*command, "--repository", index).exit_code == 2


def test_a_registry_that_does_not_explain(run: Run, server: Loopback, index: str) -> None:
    """It is said, and nothing is made up."""
    server.paths[f"{BASE}/explain/thing"] = always({"x": 1})
    done = run("explain", "thing", "--repository", index)
    assert (done.exit_code, "no explanation" in done.stderr) == (1, True)
    server.paths[f"{BASE}/explain/thing"] = always({"detail": "may not read"}, 403)
    assert run("explain", "thing", "--repository", index).exit_code == 1


def test_texts_of_a_server_drive_no_terminal(run: Run, server: Loopback, index: str) -> None:
    """What a server says may hold anything."""
    file = {"filename": "\x1b[2J", "shown": True, "hidden": None}
    server.paths[f"{BASE}/explain/thing"] = always(explained(files=[file], members=[member("\x1b[31m", "shows")]))
    assert "\x1b" not in run("explain", "thing", "--repository", index).stdout


def test_holds_are_listed(run: Run, server: Loopback, index: str) -> None:
    """A release, or a whole project."""
    named = {"rule": "denied", "index": None, "reason": "", "until": None}
    items = [
        {"project": "thing", "version": "2.0", "hidden": TOO_NEW},
        {"project": "evil", "version": None, "hidden": named},
    ]
    server.paths[f"{BASE}/holds?limit=100"] = always({"items": items, "next": None})
    assert run("hold", "list", "--repository", index).stdout.splitlines() == [
        "thing\t2.0\ttoo-new: files must be 7 days old here (root/stable), until 2026-12-02Z",
        "evil\t*\tdenied",
    ]
    assert lines(run("hold", "list", "--repository", index, "--json").stdout) == items


def test_exemptions_are_given_listed_and_revoked(run: Run, server: Loopback, index: str) -> None:
    """In the words of the API."""
    asked: list[Any] = []

    def exemptions(handler: Any) -> None:
        if handler.command == "POST":
            asked.append(read_json(handler))
            reply_json(handler, {"id": EXEMPTION, "until": "2026-12-02Z"}, 201)
        else:
            given = {"id": EXEMPTION, "project": "thing", "version": "2.0", "until": "2026-12-02Z"}
            reply_json(handler, {"items": [{**given, "owner": "ann", "reason": "a fix"}], "next": None})

    server.paths[f"{BASE}/exemptions"] = server.paths[f"{BASE}/exemptions?limit=200"] = exemptions
    server.paths[f"{BASE}/exemptions/{EXEMPTION}"] = lambda handler: reply(handler, 204, b"")
    made = run("hold", "exempt", "thing==2.0", "--reason", "a fix", "--days", "3", "--repository", index)
    assert made.stdout == f"exempt thing==2.0 until 2026-12-02Z: {EXEMPTION}\n"
    assert asked == [{"project": "thing", "version": "2.0", "reason": "a fix", "days": 3}]
    listed = run("hold", "exemptions", "--repository", index).stdout
    assert listed == f"{EXEMPTION}\tthing==2.0\t2026-12-02Z\tann\ta fix\n"
    assert run("hold", "revoke", EXEMPTION, "--repository", index).stdout == f"revoked {EXEMPTION}\n"
    assert run("hold", "revoke", "thing", "--repository", index).exit_code == 2
    assert run("hold", "exempt", "thing", "--reason", "x", "--days", "91", "--repository", index).exit_code == 2
