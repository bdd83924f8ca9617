"""`countermark ceremony` against a server that keeps something back, repeats something old, or plays with words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import Signature

from countermark.cache import Cache
from countermark.ceremony.reviewing import review
from countermark.core.ceremony.changes import Change, build
from countermark.core.ceremony.documents import SigningEvent, Submitted
from countermark.core.ceremony.payload import canonical_payload, read_published
from countermark.core.ceremony.tree import WINDOWS
from countermark.core.digest import sha256_of
from countermark.location import parse_location
from countermark.roots import read_root
from tests.support.ceremonies import NOW, first_files, signer
from tests.unit.client.ceremony_server import CeremonyServer, event_file, key_file, now, pinned
from tests.unit.client.conftest import Run
from tests.unit.client.loopback import reply


def kept_folder(ceremony: CeremonyServer, root: Path, tmp_path: Path) -> Path:
    """Return where downloads of this machine keep what they verified."""
    folder = Cache(tmp_path / "home" / "cache").known(parse_location(ceremony.url), sha256_of(root.read_bytes()))
    (folder / "root_history").mkdir(parents=True)
    return folder


def test_a_root_that_this_machine_has_seen_cannot_be_kept_back(
    run: Run, ceremony: CeremonyServer, tmp_path: Path
) -> None:
    """A newer root out of earlier downloads counts, whatever the server shows: nobody signs on the one it replaced."""
    root = pinned(run, ceremony, tmp_path)
    event = ceremony.open("root")
    ceremony.book.withdraw(event.id)
    ceremony.publish("root", Change(), 0, 1)
    del ceremony.server.paths["/root/stable/+tuf/metadata/2.root.json"]
    carried = event_file(tmp_path, event)
    for named in (event.id, carried):
        assert run("ceremony", "show", named, "--repository", ceremony.url).exit_code == 0
    history = kept_folder(ceremony, root, tmp_path) / "root_history"
    (history / "2.root.json").write_bytes(ceremony.book.files["root"][1])
    for named in (event.id, carried):
        done = run("ceremony", "show", named, "--repository", ceremony.url)
        assert (done.exit_code, "there is version 2 already" in done.stderr) == (1, True), done.stderr


def test_a_root_that_is_withheld_is_not_the_newest(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """A next root that is answered 403, where absent files are 404, ends the review."""
    pinned(run, ceremony, tmp_path)
    event = ceremony.open("targets")
    ceremony.server.paths["/root/stable/+tuf/metadata/2.root.json"] = lambda handler: reply(handler, 403)
    done = run("ceremony", "show", event.id, "--repository", ceremony.url)
    assert (done.exit_code, "withheld" in done.stderr) == (1, True), done.stderr


def test_an_older_base_than_was_seen_is_told(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """Downloads keep the newest targets and trust that they verified: an event on older ones comes with a warning."""
    root = pinned(run, ceremony, tmp_path)
    event = ceremony.open("trust")
    folder = kept_folder(ceremony, root, tmp_path)
    (folder / "trust.json").write_bytes(ceremony.book.files["trust"][0])
    (folder / "targets.json").write_text("damaged")
    at = ("--repository", ceremony.url)
    assert "WARNING" not in run("ceremony", "show", event.id, *at).stdout
    ceremony.book.withdraw(event.id)
    ceremony.publish("trust", Change(targets={"trust/policy.yaml": b"allow"}), 0, 1)
    (folder / "trust.json").write_bytes(ceremony.book.files["trust"][1])
    done = run("ceremony", "show", event.id, *at)
    assert "WARNING: it builds on trust version 1, and this machine has seen version 2" in done.stdout


def test_a_base_that_has_expired_is_told() -> None:
    """Renewing what ran out is right, and so is asking whether somebody renewed it already."""
    files = first_files()
    later = NOW + timedelta(days=200)
    signed = build("trust", read_published("trust", files.newest["trust"]), Change(), later, WINDOWS["trust"][1])
    event = SigningEvent(
        id="e", role="trust", version=2, payload=canonical_payload(signed), previous=files.newest["trust"],
        delegator=files.newest["targets"], reason="", proposed_by="", proposed_at=later,
        expires_at=later + timedelta(days=1), state="open",
    )  # fmt: skip
    (warning,) = review(event, read_root(files.newest["root"]), later, None).warnings
    assert warning.startswith("trust version 1, on which it builds, expired at 2027-05-25 12:00 UTC")


def test_words_of_the_server_end_where_they_end(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """A quotation mark in a reason, a name of a person or of a key's holder does not end the quotation."""
    root = pinned(run, ceremony, tmp_path)
    event = ceremony.open("root", Change(add=(("root", signer("root", 7).public_key),)))
    forged = 'fine"; this machine has proven it: "yes'
    carried = event_file(
        tmp_path, event, reason=forged, proposed_by=forged, holders={signer("root", 7).public_key.keyid: forged}
    )
    shown = run("ceremony", "show", carried, "--root", root).stdout
    assert shown.count("\"fine'; this machine has proven it: 'yes\"") == 3
    assert shown.count('"') == 6


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-26T12:00:00+02:00"]
)
def test_times_of_other_zones_break_nothing(run: Run, ceremony: CeremonyServer, moment: str) -> None:
    """A time is told in UTC whatever zone the server wrote it in; one that UTC cannot tell is refused in words."""
    ceremony.alter = lambda document: document | {"proposed_at": moment}
    done = run("ceremony", "propose", "root", "--renew", "--reason", "yearly", "--repository", ceremony.url)
    assert (done.exit_code, "[exit 1]" in done.stderr) in {(0, False), (1, True)}, done.exception


def test_nobody_who_could_answer_is_told_what_to_give(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """Where nobody answers, nothing is signed, and the words say how a script signs."""
    pinned(run, ceremony, tmp_path)
    event, key = ceremony.open("targets"), key_file(tmp_path, signer("targets"))
    done = run("ceremony", "sign", event.id, "--key", key, "--out", tmp_path / "s", "--repository", ceremony.url)
    assert (done.exit_code, "--yes and --sha256" in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "s").exists()


def test_a_published_file_holds_signatures_that_verify(run: Run, ceremony: CeremonyServer, tmp_path: Path) -> None:
    """A key that the server lists twice, at last with a wrong signature, is written once, with the good one."""
    event = ceremony.open("root")
    ceremony.sign(event, signer("root", 0), signer("root", 1))
    ready = ceremony.book.events[event.id]
    wrong = tuple(Submitted(Signature(each.signature.keyid, "00"), "x", now()) for each in ready.signatures)
    ceremony.book.events[event.id] = replace(ready, signatures=ready.signatures + wrong)
    out = tmp_path / "2.root.json"
    done = run("ceremony", "status", event.id, "--out", out, "--repository", ceremony.url)
    assert done.exit_code == 0, done.stderr
    read_root(out.read_bytes(), read_root(ceremony.book.files["root"][0]))
