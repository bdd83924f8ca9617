"""`countermark ceremony` against a server on this machine, and from files alone: proposed, signed, finalised."""

from __future__ import annotations

from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from countermark.core.ceremony.changes import Change
from countermark.core.digest import sha256_of
from tests.support.ceremonies import first_changes, signer
from tests.unit.client.ceremony_server import (
    CeremonyServer,
    event_file,
    key_file,
    now,
    objects,
    pinned,
    public_file,
)
from tests.unit.client.conftest import Run
from tests.unit.client.loopback import Loopback
from tests.unit.client.test_commands import always


def test_a_role_goes_the_whole_way(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """Proposed over the API, signed here at once and there from files, counted, finalised; its root verifies."""
    root = pinned(run, ceremony, tmp_path)
    at = ("--repository", ceremony.url)
    new = signer("root", 7)
    added = f"root={public_file(tmp_path, new, 'Dora')}"
    asked = run("ceremony", "propose", "root", "--add", added, "--threshold", "root=3", "--reason", "Dora joins", *at)
    assert asked.exit_code == 0, asked.stderr
    event = asked.stdout.strip()
    assert "missing: 2 of the keys before and 3 of the keys that it needs" in asked.stderr
    sha256 = ceremony.book.events[event].payload_sha256
    assert sha256 in asked.stderr

    shown = run("ceremony", "show", event, "--out", tmp_path / "carried.json", *at)
    assert shown.exit_code == 0, shown.stderr
    assert f'role root gains key {new.public_key.keyid} (ed25519, said to be held by "Dora")' in shown.stdout
    assert f"proven from root version 1 with sha256 {sha256_of(root.read_bytes())}" in shown.stdout
    key = key_file(tmp_path, signer("root", 0))
    first = run(
        "ceremony", "sign", event, "--key", key, "--yes", "--sha256", sha256, "--submit", "--out", tmp_path / "a", *at
    )
    assert first.exit_code == 0, first.stderr
    # From here on a machine without a network: an event file, a root file, a key behind a passphrase.
    locked = key_file(tmp_path, signer("root", 1), "correct horse battery")
    offline = run(
        "ceremony", "sign", tmp_path / "carried.json", "--root", root, "--key", locked, "--out", tmp_path / "b",
        input="y\ncorrect horse battery\n",
    )  # fmt: skip
    assert offline.exit_code == 0, offline.output
    joins = run("ceremony", "sign", event, "--key", key_file(tmp_path, new), "--out", tmp_path / "c", *at, input="y\n")
    assert joins.exit_code == 0, joins.output

    early = run("ceremony", "finalise", event, *at)
    assert (early.exit_code, "lacks signatures: 1 of the keys before and 2" in early.stderr) == (1, True)
    sent = run("ceremony", "submit", tmp_path / "b", tmp_path / "c", *at)
    assert sent.exit_code == 0, sent.stderr
    assert sent.stderr.endswith("missing: nothing\n")
    assert run("ceremony", "submit", tmp_path / "b", *at).exit_code == 0
    counted = run("ceremony", "status", event, *at)
    assert counted.stdout.count("signed by key") == 3
    put_together = run("ceremony", "status", event, "--out", tmp_path / "2.root.json", *at)
    assert put_together.exit_code == 0, put_together.stderr
    done = run("ceremony", "finalise", event, *at)
    assert (done.exit_code, done.stdout) == (0, "root version 2 is final\n")
    assert (tmp_path / "2.root.json").read_bytes() == ceremony.book.files["root"][1]
    old, made = (Metadata[Root].from_bytes(content) for content in ceremony.book.files["root"])
    old.verify_delegate("root", made)
    made.verify_delegate("root", made)


def test_the_first_ceremony_needs_no_root(run: Run, server: Loopback, tmp_path: Path) -> None:
    """Without a trusted root the whole first version is told, with a warning; a later version is refused."""
    ceremony = CeremonyServer(server)
    event = ceremony.open("root", first_changes()["root"])
    at = ("--repository", ceremony.url)
    done = run("ceremony", "sign", event.id, "--key", key_file(tmp_path, signer("root")), "--out", tmp_path / "s", *at,
               input="y\n")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "WARNING: nothing on this machine proves where this comes from" in done.stdout
    assert "role timestamp is new: 1 of 1 key must sign" in done.stdout
    ceremony.sign(event, signer("root", 0), signer("root", 1))
    ceremony.book.finalise(event.id)
    later = run("ceremony", "show", ceremony.open("root").id, *at)
    assert later.exit_code == 2
    assert "this machine trusts no root" in later.stderr
    pinned(run, ceremony, tmp_path)
    again = run("ceremony", "show", event_file(tmp_path, event), *at)
    assert (again.exit_code, "trusts root version 1 already" in again.stderr) == (1, True)


def test_no_is_no(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """Whoever answers no, or nothing, has signed nothing."""
    pinned(run, ceremony, tmp_path)
    event = ceremony.open("targets")
    for answer in ("n\n", "\n", ""):
        out = tmp_path / "signature"
        key = key_file(tmp_path, signer("targets"))
        done = run("ceremony", "sign", event.id, "--key", key, "--out", out, "--repository", ceremony.url, input=answer)
        assert done.exit_code == 1
        assert not out.exists()


def test_a_script_signs_what_it_was_told_alone(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """--yes needs --sha256; another digest signs nothing; the right one does, and the output is JSON."""
    pinned(run, ceremony, tmp_path)
    event = ceremony.open("trust", Change(targets={"trust/policy.yaml": b"allow"}))
    key = key_file(tmp_path, signer("trust"), "correct horse battery")
    out = tmp_path / "signature"

    def sign(*more: str) -> tuple[int, str, str]:
        done = run("ceremony", "sign", event.id, "--key", key, "--out", out, "--repository", ceremony.url, "--yes",
                   *more, COUNTERMARK_KEY_SECRET="correct horse battery")  # fmt: skip
        return done.exit_code, done.stdout, done.stderr

    assert (sign()[0], sign("--sha256", "abc")[0]) == (2, 2)
    code, _, words = sign("--sha256", "0" * 64)
    assert (code, f"has the sha256 {event.payload_sha256}, not {'0' * 64}" in words) == (1, True)
    assert not out.exists()
    code, text, _ = sign("--sha256", event.payload_sha256, "--json")
    shown, signed = objects(text)
    assert code == 0
    assert shown["payload_sha256"] == event.payload_sha256
    assert any("target trust/policy.yaml changes" in line for line in shown["differences"])
    assert signed == {
        "event": event.id, "keyid": signer("trust").public_key.keyid, "file": str(out), "submitted": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "nothing is proposed"),
        (["--renew", "--bins", "8"], "stands alone"),
        (["--add", "root"], "Write --add ROLE=FILE"),
        (["--add", "root=/nowhere"], "cannot read /nowhere"),
        (["--threshold", "root=two"], "no count"),
        (["--threshold", "root=2", "--threshold", "root=3"], "names 'root' twice"),
        (["--target", "trust/policy.yaml=/nowhere"], "cannot read /nowhere"),
    ],
)
def test_a_proposal_of_another_form_ends_2(run: Run, ceremony: CeremonyServer, options: list[str], words: str) -> None:
    """Options that contradict each other, or name what is not there, are told before anything is sent."""
    done = run("ceremony", "propose", "root", *options, "--reason", "r", "--repository", ceremony.url)
    assert done.exit_code == 2
    assert words in done.stderr
    assert ceremony.bodies == []


def test_every_kind_of_change_is_sent_as_it_was_written(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """Bins, targets and removals arrive in the API's form; what the server refuses is told in its words."""
    at = ("--reason", "r", "--repository", ceremony.url)
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(b"allow")
    gone = signer("trust").public_key.keyid
    asked = [
        ("registry", "--bins", "10"),
        ("trust", "--target", f"trust/policy.yaml={policy}"),
        ("targets", "--remove", f"trust={gone}"),
    ]
    for role, *options in asked:
        done = run("ceremony", "propose", role, *options, *at)
        assert done.exit_code == 0, done.stderr
    assert [body["change"] for _, body in ceremony.bodies] == [
        {"bins": 10},
        {"targets": {"trust/policy.yaml": "YWxsb3c="}},
        {"remove": [{"role": "trust", "keyid": gone}]},
    ]
    again = run("ceremony", "propose", "registry", "--renew", *at)
    assert again.exit_code == 1
    assert "there is an open event of registry" in again.stderr


def test_keys_that_cannot_sign_end_in_words(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """A key that is missing, locked or no key ends 1; one in no list signs, with a note that it does not count yet."""
    pinned(run, ceremony, tmp_path)
    event = ceremony.open("targets")
    locked = key_file(tmp_path, signer("targets"), "correct horse battery")
    broken = tmp_path / "broken.pem"
    broken.write_text("no key")
    told = ("--sha256", event.payload_sha256, "--yes", "--repository", ceremony.url, "--out", tmp_path / "s")
    for uri in ("file2:/nowhere", f"file2:{broken}", locked, locked.replace("pkcs8", "file2"), "x", "file2:"):
        done = run("ceremony", "sign", event.id, "--key", uri, *told, COUNTERMARK_KEY_SECRET="wrong passphrase")
        assert done.exit_code == 1, uri
        assert "key:" in done.stderr
        assert not (tmp_path / "s").exists()
    stranger = run("ceremony", "sign", event.id, "--key", key_file(tmp_path, signer("mallory")), *told)
    assert stranger.exit_code == 0
    assert "in no list that is asked now" in stranger.stderr


def test_what_is_closed_is_not_signed(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """An event that is withdrawn, final or past its time takes no signatures."""
    root = pinned(run, ceremony, tmp_path)
    event = ceremony.open("targets")
    key = key_file(tmp_path, signer("targets"))
    for fields in ({"state": "withdrawn"}, {"state": "final"}, {"expires_at": now()}):
        carried = event_file(tmp_path, event, **fields)
        done = run("ceremony", "sign", carried, "--root", root, "--key", key, "--out", tmp_path / "s", input="y\n")
        assert done.exit_code == 1
        assert not (tmp_path / "s").exists()


def test_status_withdraw_and_their_json(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """Open events are listed with what is missing; one can be looked at, and withdrawn; all have a JSON form."""
    event = ceremony.open("trust")
    at = ("--repository", ceremony.url)
    listed = run("ceremony", "status", *at).stdout
    assert listed.startswith(f"{event.id}\ttrust\t2\topen\t")
    assert listed.endswith("missing: 2 of the keys that it needs\n")
    assert len(objects(run("ceremony", "status", "--all", "--json", *at).stdout)) == 5
    (seen,) = objects(run("ceremony", "status", event.id, "--json", *at).stdout)
    assert (seen["missing"], seen["signed"]) == ({"new": 2}, [])
    assert run("ceremony", "status", event.id, "--out", tmp_path / "x", *at).exit_code == 1
    assert run("ceremony", "status", "--out", tmp_path / "x", *at).exit_code == 2
    assert not (tmp_path / "x").exists()
    done = run("ceremony", "withdraw", event.id, "--reason", "no need", "--json", *at)
    assert objects(done.stdout) == [{"event": event.id, "role": "trust", "state": "withdrawn"}]
    again = run("ceremony", "withdraw", event.id, "--reason", "no need", *at)
    assert (again.exit_code, "no open event" in again.stderr) == (1, True)


def test_each_step_has_its_json(
    run: Run, ceremony: CeremonyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proposing, signing into a file of the event's name, submitting and finalising each print one object a line."""
    monkeypatch.chdir(tmp_path)
    pinned(run, ceremony, tmp_path)
    at = ("--json", "--repository", ceremony.url)
    (made,) = objects(run("ceremony", "propose", "trust", "--renew", "--reason", "yearly", *at).stdout)
    assert (made["role"], made["version"], made["missing"]) == ("trust", 2, {"new": 2})
    files = []
    for number in (0, 1):
        told = ("--yes", "--sha256", made["payload_sha256"], "--key", key_file(tmp_path, signer("trust", number)))
        signed = objects(run("ceremony", "sign", made["event"], *told, *at).stdout)[-1]
        assert signed["file"] == f"{made['event']}-{signed['keyid'][:16]}.signature.json"
        files.append(signed["file"])
    counted = objects(run("ceremony", "submit", *files, *at).stdout)
    assert [each["missing"] for each in counted] == [{"new": 1}, {"new": 0}]
    done = objects(run("ceremony", "finalise", made["event"], *at).stdout)
    assert done == [{"event": made["event"], "role": "trust", "version": 2, "state": "final"}]
    (failed,) = objects(run("ceremony", "finalise", made["event"], *at).stdout)
    assert (failed["ok"], failed["exit"], failed["error"]) == (False, 1, "RegistryRefused")


def test_roles_are_listed_with_their_keys(run: Run, ceremony: CeremonyServer) -> None:
    """Key ids are what removals are proposed with; what is missing of a first ceremony is told; others end 1."""
    keys = [{"keyid": "ab" * 32, "scheme": "ed25519", "holder": "Ada\nBob"}]
    root = {"role": "root", "version": 2, "expires_at": "2027-11-26T00:00:00Z", "threshold": 1, "keys": keys}
    bins: dict[str, object] = {"role": "bins", "version": None, "expires_at": None, "threshold": 1, "keys": []}
    answer = {"profile": "small", "missing": ["trust is not proposed"], "roles": [root, bins]}
    ceremony.server.paths["/api/v1/trust"] = always(answer)
    at = ("--repository", ceremony.url)
    done = run("ceremony", "roles", *at)
    assert done.stdout.splitlines() == [
        "root: version 2, expires 2027-11-26T00:00:00Z, 1 of 1 keys must sign",
        f'  {"ab" * 32} (ed25519, said to be held by "Ada Bob")',
        "bins: signed for each index, 1 of 0 keys must sign",
    ]
    assert "of the first ceremony is missing: trust is not proposed" in done.stderr
    assert objects(run("ceremony", "roles", "--json", *at).stdout) == [root, bins]
    odd: list[object] = [{"roles": [1], "missing": []}, {"roles": [{"keys": None}], "missing": []}, {"roles": []}]
    for document in odd:
        ceremony.server.paths["/api/v1/trust"] = always(document)
        assert run("ceremony", "roles", *at).exit_code == 1


def test_files_are_never_written_over(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """--out writes the same event once more without complaint, and never over another file."""
    pinned(run, ceremony, tmp_path)
    event = ceremony.open("trust")
    out = tmp_path / "event.json"
    show = ("ceremony", "show", event.id, "--repository", ceremony.url, "--out", out)
    assert [run(*show).exit_code, run(*show).exit_code] == [0, 0]
    out.write_text("mine")
    done = run(*show)
    assert (done.exit_code, out.read_text()) == (1, "mine")
