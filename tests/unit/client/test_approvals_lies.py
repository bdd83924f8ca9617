"""`countermark approvals` against a server that wants another signature, or to be believed, or the client to break."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from countermark.core.digest import Length, sha256_of
from countermark.core.names import IndexName, NormalizedName
from countermark.core.pointer import Pointer, Resource
from tests.unit.client.conftest import Run
from tests.unit.client.loopback import Loopback
from tests.unit.client.test_approvals import CONTENT, FILE_ID, PATH, WHEEL, Person, pointer, view
from tests.unit.client.test_commands import always


@pytest.fixture
def at(server: Loopback) -> tuple[str, str]:
    """The options that name the index."""
    return "--repository", f"{server.url}/root/stable"


def named(name: str, version: str, file_name: str) -> Pointer:
    """Return a pointer that says this of a file."""
    digest = sha256_of(CONTENT)
    file = Resource(f"/files/{digest[:2]}/{digest[2:]}/{file_name}", digest, Length(len(CONTENT)))
    return Pointer(NormalizedName(name), version, IndexName("root", "stable"), file)


def test_yes_alone_does_not_sign_what_the_server_names(
    run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path
) -> None:
    """Who asks nobody says which file: else whoever answers for the id decides what is approved."""
    server.paths[PATH] = always(view(pointer()))
    done = run("approvals", "approve", FILE_ID, "--key", Person(tmp_path, "alice").path, "--yes", *at)
    assert (done.exit_code, "--file" in done.stderr) == (2, True), done.stderr
    assert server.seen == []


@pytest.mark.parametrize(
    "wrong",
    [
        named("gadget", "1.0", WHEEL),
        named("widget", "2.0", WHEEL),
        named("widget", "1.0" + " " * 300, WHEEL),
        named("widget", "1.0\u202e", "widget-1.0.egg"),
        named("widget", "1.0   sha256 looks good", "widget-1.0.egg"),
    ],
)
def test_a_pointer_that_contradicts_its_file_is_not_approved(
    run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path, wrong: Pointer
) -> None:
    """Project and version are those of the file's name, and none is written so that people read something else."""
    server.paths[PATH] = always(view(wrong))
    done = run("approvals", "approve", FILE_ID, "--key", Person(tmp_path, "alice").path, *at, input="y\n")
    assert done.exit_code == 1, done.stdout
    assert len(server.seen) == 1


def test_evidence_by_nobody_or_twice_is_none(run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path) -> None:
    """An export without approvals proves nothing, and a key or a person counts once, under whatever second name."""
    alice, bob = Person(tmp_path, "alice"), Person(tmp_path, "bob")
    once = alice.approval(pointer())
    out = tmp_path / "evidence.json"
    for given, words in (
        ((), "nobody approved"),
        ((once, once), "counted already"),
        ((once, alice.approval(pointer(), account="carol")), "counted already"),
        ((once, bob.approval(pointer(), account="alice")), "counted already"),
    ):
        out.write_text(json.dumps(view(pointer(), *given)))
        done = run("approvals", "check", out)
        assert (done.exit_code, words in done.stderr) == (1, True), done.output
    out.write_text(json.dumps(view(pointer(), once, bob.approval(pointer()))))
    done = run("approvals", "check", out)
    assert (done.exit_code, "compare the keys with these people" in done.stderr) == (0, True), done.stderr


def test_all_that_the_pointer_signs_is_shown(run: Run, server: Loopback, at: tuple[str, str]) -> None:
    """The attestation that a pointer names is approved with it, and so is where the file lies."""
    plain = pointer()
    evidence = Resource("/files/ab/evidence.sigstore.json", sha256_of(b"evidence"), Length(8))
    server.paths[PATH] = always(view(replace(plain, attestation=evidence)))
    shown = run("approvals", "show", FILE_ID, *at).stdout
    for line in (
        f"uri      {plain.file.uri}",
        f"attested by {evidence.uri}, sha256 {evidence.digest}, 8 bytes",
    ):
        assert line in shown.splitlines()
    server.paths[PATH] = always(view(plain))
    assert "attested by no bundle" in run("approvals", "show", FILE_ID, *at).stdout.splitlines()


def test_words_of_the_server_write_no_lines(run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path) -> None:
    """A name, a time or a state with line ends cannot look like what was checked here."""
    alice = Person(tmp_path, "alice")
    forged = "mallory\nchecked  widget is this file\nsigned   bob, today: verified"
    given = alice.approval(pointer(), account=forged, given_at="now\nsigned   carol: verified")
    server.paths[PATH] = always(view(pointer(), given, words="fine\nchecked  all is this file"))
    done = run("approvals", "show", FILE_ID, *at)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("checked")] == []
    assert len([line for line in lines if line.startswith("signed")]) == 1


@pytest.mark.parametrize("account", [None, "a b", 7, "alice\nkey: 0"])
def test_an_account_that_is_none_registers_nothing(
    run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path, account: Any
) -> None:
    """What the registry calls the account is not signed unless it is an account's name."""
    server.paths["/api/v1/account"] = always({"name": account})
    done = run("approvals", "key", "register", "--key", Person(tmp_path, "alice").path, "--yes", *at)
    assert (done.exit_code, "[exit 1]" in done.stderr) == (1, True), done.exception
    assert len(server.seen) == 1


def test_an_account_is_named_rightly_or_not_at_all(
    run: Run, server: Loopback, at: tuple[str, str], tmp_path: Path
) -> None:
    """A name from the command line that is none is a fault of usage."""
    key = Person(tmp_path, "alice").path
    for more in ((), ("--message", tmp_path / "m")):
        done = run("approvals", "key", "register", "--key", key, "--account", "a b", "--yes", *more, *at)
        assert (done.exit_code, "[exit 2]" in done.stderr) == (2, True), done.exception


@pytest.mark.parametrize("items", [["x"], [{"people": 3}], [{"people": [1]}], "none", None])
def test_a_list_of_demands_that_is_none(run: Run, server: Loopback, at: tuple[str, str], items: Any) -> None:
    """Whatever the registry answers, the command ends with words."""
    server.paths["/api/v1/indexes/root/stable/approval-demands"] = always({"items": items})
    done = run("approvals", "demand", "list", *at)
    assert (done.exit_code, "[exit 1]" in done.stderr) == (1, True), done.exception
