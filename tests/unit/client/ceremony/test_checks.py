"""What `countermark ceremony` checks before it signs or sends: the server's words, roots, targets and signatures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from countermark.core.ceremony.changes import Change
from countermark.core.ceremony.payload import canonical_bytes, metadata_bytes
from tests.support.ceremonies import first_changes, signer
from tests.unit.client.ceremony_server import (
    API,
    CeremonyServer,
    event_file,
    key_file,
    pinned,
)
from tests.unit.client.conftest import Run
from tests.unit.client.loopback import Loopback
from tests.unit.client.test_commands import always


def test_words_of_a_server_stay_on_their_line(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """Reason, proposer and holders' names cannot write lines of their own, such as another digest."""
    root = pinned(run, ceremony, tmp_path)
    new = signer("root", 7)
    event = ceremony.open("root", Change(add=(("root", new.public_key),)))
    forged = f"x\nsha256 of the payload: {'0' * 64}\r\n\u2028WARNING"
    carried = event_file(
        tmp_path, event, reason=forged, proposed_by=forged, holders={new.public_key.keyid: forged}, signatures=()
    )
    shown = run("ceremony", "show", carried, "--root", root)
    assert shown.exit_code == 0, shown.stderr
    digests = [line for line in shown.stdout.splitlines() if line.startswith("sha256")]
    assert digests == [f"sha256 of the payload: {event.payload_sha256}"]


def test_a_second_first_version_is_warned_about(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """A server that hides the versions before and asks for a first one of targets is not believed silently."""
    root = pinned(run, ceremony, tmp_path)
    hidden = CeremonyServer(Loopback())
    hidden.book.files["root"] = ceremony.book.files["root"]
    event = hidden.open("targets", first_changes()["targets"])
    shown = run("ceremony", "show", event_file(tmp_path, event), "--root", root)
    assert shown.exit_code == 0, shown.stderr
    assert "WARNING: it is said to be the first version of targets: sign only if you know of none" in shown.stdout


def test_what_the_server_made_of_a_proposal_is_checked(run: Run, ceremony: CeremonyServer) -> None:
    """A server that adds a key of its own to a renewal is caught by who proposed it."""

    def add_key(document: dict[str, object]) -> dict[str, object]:
        other = CeremonyServer(Loopback())
        other.bootstrap()
        made = other.open("root", Change(add=(("root", signer("mallory").public_key),)))
        return made.to_document()

    ceremony.alter = add_key
    done = run("ceremony", "propose", "root", "--renew", "--reason", "yearly", "--repository", ceremony.url)
    assert done.exit_code == 1
    assert "the server made something else of what was proposed" in done.stderr


def test_targets_are_compared_with_files(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """`show --target` says that a target is a file of this machine, or refuses."""
    pinned(run, ceremony, tmp_path)
    event = ceremony.open("trust", Change(targets={"trust/policy.yaml": b"allow"}))
    policy = tmp_path / "policy.yaml"
    policy.write_bytes(b"allow")
    at = ("--repository", ceremony.url)
    same = run("ceremony", "show", event.id, "--target", f"trust/policy.yaml={policy}", *at)
    assert same.stdout.endswith(f"target trust/policy.yaml is {policy}\n")
    policy.write_bytes(b"deny")
    for path in ("trust/policy.yaml", "trust/other"):
        assert run("ceremony", "show", event.id, "--target", f"{path}={policy}", *at).exit_code == 1


def test_a_forged_root_is_refused(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """An event that builds on another root than the trusted one, or on one by strangers, is not signed."""
    root = pinned(run, ceremony, tmp_path)
    event = ceremony.open("root")
    document = json.loads(root.read_bytes())["signed"]
    document["expires"] = "2030-01-01T00:00:00Z"
    forged = canonical_bytes(document)
    stranger = metadata_bytes(forged, [signer("mallory").sign(forged)])
    done = run("ceremony", "show", event_file(tmp_path, event, previous=stranger), "--root", root)
    assert (done.exit_code, "another root of version 1" in done.stderr) == (1, True)
    document["version"] = 2
    forged = canonical_bytes(document)
    stranger = metadata_bytes(forged, [signer("mallory").sign(forged)])
    document["version"] = 3
    later = replace(event, payload=canonical_bytes({**document, "expires": "2027-10-01T00:00:00Z"}), version=3)
    done = run("ceremony", "show", event_file(tmp_path, later, previous=stranger), "--root", root)
    assert (done.exit_code, "signed by 0/2 keys" in done.stderr) == (1, True)


def test_roots_between_are_walked_where_there_is_a_network(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """A machine that trusts an old root gets the ones between from the index; without a network it asks for one."""
    first = pinned(run, ceremony, tmp_path)
    for _ in range(3):
        ceremony.publish("root", Change(), 0, 1)
    event = ceremony.open("root")
    online = run("ceremony", "show", event.id, "--repository", ceremony.url)
    assert online.exit_code == 0, online.stderr
    assert "compared with root version 4, proven from root version 1" in online.stdout
    carried = event_file(tmp_path, event)
    offline = run("ceremony", "show", carried, "--root", first)
    assert (offline.exit_code, "builds on root version 4" in offline.stderr) == (2, True)
    newer = tmp_path / "4.root.json"
    newer.write_bytes(ceremony.book.files["root"][3])
    assert run("ceremony", "show", carried, "--root", newer).exit_code == 0
    old = event_file(tmp_path, event, previous=ceremony.book.files["root"][2])
    assert run("ceremony", "show", old, "--root", newer).exit_code == 1


def test_what_was_overtaken_is_refused(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """An event on a root that this machine trusts, and that a newer one replaced, is refused where one can see it."""
    pinned(run, ceremony, tmp_path)
    root, targets = ceremony.open("root"), ceremony.open("targets")
    ceremony.book.withdraw(root.id)
    at = ("--repository", ceremony.url)
    assert run("ceremony", "show", targets.id, *at).exit_code == 0
    ceremony.publish("root", Change(), 0, 1)
    for event in (root, targets):
        done = run("ceremony", "show", event.id, *at)
        assert (done.exit_code, "there is version 2 already" in done.stderr) == (1, True)


def test_the_file_above_must_be_signed(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """A targets file that the root's keys did not sign proves no key of trust."""
    root = pinned(run, ceremony, tmp_path)
    event = ceremony.open("trust")
    assert run("ceremony", "show", event_file(tmp_path, event), "--root", root).exit_code == 0
    document = json.loads(ceremony.book.files["targets"][0])["signed"]
    forged = canonical_bytes({**document, "version": 2})
    above = metadata_bytes(forged, [signer("mallory").sign(forged)])
    done = run("ceremony", "show", event_file(tmp_path, event, delegator=above), "--root", root)
    assert (done.exit_code, "not signed by the keys that root lists" in done.stderr) == (1, True)


def test_a_version_before_by_retired_keys_is_not_compared_with(
    run: Run, ceremony: CeremonyServer, tmp_path: Path
) -> None:
    """When the keys of trust were replaced, all that the next version says is told, with a warning."""
    root = pinned(run, ceremony, tmp_path)
    new = [signer("trust", number) for number in (7, 8)]
    ceremony.publish(
        "targets",
        Change(
            add=tuple(("trust", key.public_key) for key in new),
            remove=tuple(("trust", signer("trust", number).public_key.keyid) for number in range(3)),
        ),
        0,
        1,
    )
    done = run("ceremony", "show", event_file(tmp_path, ceremony.open("trust")), "--root", root)
    assert done.exit_code == 0, done.stderr
    assert "WARNING: the version before is not signed by keys that count now" in done.stdout
    assert "trust version 2, told whole" in done.stdout
    assert "target trust/policy.yaml is added" in done.stdout


def test_signatures_are_checked_before_they_are_sent(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """A signature of another payload, a wrong one and a damaged file are refused, and nothing is sent."""
    pinned(run, ceremony, tmp_path)
    event = ceremony.open("targets")
    key = key_file(tmp_path, signer("targets"))
    at = ("--repository", ceremony.url)
    out = tmp_path / "s.json"
    assert run("ceremony", "sign", event.id, "--key", key, "--out", out, *at, input="y\n").exit_code == 0
    good = json.loads(out.read_bytes())
    wrong = [{"keyid": signer("targets").public_key.keyid, "sig": "00"}]
    for fields, code in (({"payload_sha256": "0" * 64}, 1), ({"signatures": wrong}, 1), ({"note": 1}, 2)):
        out.write_text(json.dumps(good | fields))
        done = run("ceremony", "submit", out, *at)
        assert done.exit_code == code, done.stderr
    assert ceremony.bodies == []


def test_answers_that_are_no_events_are_refused(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """A server that answers something else, or another event, is not believed; a name that is no id ends 2."""
    pinned(run, ceremony, tmp_path)
    event, other = ceremony.open("trust"), ceremony.open("targets")
    at = ("--repository", ceremony.url)
    false = event.to_document() | {"payload_sha256": "0" * 64}
    answers: list[object] = [{"items": []}, other.to_document(), false]
    for document in answers:
        ceremony.server.paths[f"{API}/{event.id}"] = always(document)
        assert run("ceremony", "show", event.id, *at).exit_code == 1
    unknown = run("ceremony", "status", "event-99", *at)
    assert (unknown.exit_code, "answered 404" in unknown.stderr) == (1, True)
    assert run("ceremony", "show", "../secrets", *at).exit_code == 2
    assert run("ceremony", "show", event.id).exit_code == 2
