"""A rehearsal: everything that key holders ever do, with throw-away keys, on this machine alone, in seconds.

Each step runs the code that a real ceremony runs: the same rules, differences, files and counts. Only the people and
their keys are made up, and the server is a book in memory.

Source: trust contract sections 2.3, 2.5 and 2.8; ADR 0033.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.exceptions import RepositoryError

from countermark.ceremony.book import Book
from countermark.ceremony.holders import Holder
from countermark.ceremony.proposing import check_proposed
from countermark.ceremony.publishing import Tree
from countermark.ceremony.words import missing_words
from countermark.core.ceremony.changes import Change
from countermark.core.ceremony.documents import SigningEvent
from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.payload import canonical_bytes, metadata_bytes
from countermark.core.digest import sha256_of
from countermark.core.errors import CeremonyRefused, ClientError

POLICY = "trust/policy.yaml"
POINTER = "pointers/widget/widget-1.0-py3-none-any.whl.pointer"
_ROLES = ("root", "targets", "trust", "registry")


@dataclass(frozen=True, slots=True)
class Step:
    """What happened, in words."""

    title: str
    lines: tuple[str, ...]


def rehearse(folder: Path, now: datetime) -> Iterator[Step]:
    """Walk through all ceremonies, yielding each step when it is done.

    Args:
        folder: an empty one; the caller removes it.
        now: aware UTC.

    Raises:
        ClientError: something did not go as it must: a fault of this program or machine.
    """
    stage = _Stage(folder, now)
    yield stage.gather()
    yield from stage.bootstrap()
    yield stage.publish()
    yield stage.add_holder()
    yield stage.remove_holder()
    yield stage.rotate_root()
    yield stage.change_policy()
    yield stage.refuse()
    yield stage.verify()


class _Stage:
    """The people, their keys and what they signed so far."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self._folder = folder
        self._now = now
        self._book = Book()
        self._tree = Tree(folder / "repository")
        self._people = {
            name: Holder(name, folder / name, is_connected=name != "Carol") for name in ("Ada", "Bob", "Carol", "Dora")
        }
        self._keys: dict[tuple[str, str], Key] = {}
        self._targets = {
            POLICY: b'schema: "policy/v1"\npackages:\n  - {match: "*", deny: true}\n',
            POINTER: b"pointer:\n",
        }

    def gather(self) -> Step:
        """Have three people make their keys."""
        lines = []
        for name in ("Ada", "Bob", "Carol"):
            holder = self._people[name]
            for role in _ROLES:
                self._keys[name, role] = holder.make_key(role)
            how = "in files" if holder.is_connected else "in encrypted files on a machine without a network"
            lines.append(f"{name} makes four keys {how}: " + ", ".join(self._short(name, role) for role in _ROLES))
        lines.append("The server makes the online keys: bins, snapshot, timestamp")
        return Step("Three key holders make their keys, and give their public key files to who proposes", tuple(lines))

    def bootstrap(self) -> Iterator[Step]:
        """Sign the first version of every shared role."""
        online = self._tree.keys
        names = ("Ada", "Bob", "Carol")
        firsts = {
            "root": Change(
                add=(
                    *(("root", self._keys[name, "root"]) for name in names),
                    *(("targets", self._keys[name, "targets"]) for name in names),
                    *((role, online[role].public_key) for role in ("snapshot", "timestamp")),
                ),
                thresholds={"root": 2, "targets": 2},
            ),
            "targets": Change(
                add=tuple((role, self._keys[name, role]) for role in ("trust", "registry") for name in names),
                thresholds={"trust": 2, "registry": 2},
            ),
            "trust": Change(targets={POLICY: self._targets[POLICY]}),
            "registry": Change(add=(("bins", online["bins"].public_key),), bins=1),
        }
        for role, change in firsts.items():
            lines = self._sign_all(role, change, "the first ceremony", ["Ada", "Carol"])
            if role == "root":
                root = self._book.files["root"][0]
                for name in ("Ada", "Bob"):
                    self._people[name].trust(root)
                lines.append(f"All read the sha256 of the root file to each other and keep it: {sha256_of(root)}")
            yield Step(f"First ceremony: {role}, by two of three", tuple(lines))

    def publish(self) -> Step:
        """Publish an index and read it with a stock client."""
        self._tree.publish(self._book, self._targets, self._now)
        version, found = self._read("client that stays")
        return Step(
            "The server publishes an index; python-tuf's own client reads it, knowing root version 1 alone",
            (f"It has root version {version}, and verified {' and '.join(sorted(found))}",),
        )

    def add_holder(self) -> Step:
        """Let a fourth person in."""
        dora = self._people["Dora"]
        self._keys["Dora", "root"] = dora.make_key("root")
        dora.trust(self._book.files["root"][0])
        change = Change(add=(("root", self._keys["Dora", "root"]),))
        lines = self._sign_all("root", change, "Dora joins", ["Ada", "Carol"])
        return Step("A key holder is added: Dora joins root", tuple(lines))

    def remove_holder(self) -> Step:
        """Let one go: Bob leaves root, and trust."""
        bob = Change(remove=(("root", self._keys["Bob", "root"].keyid),))
        lines = self._sign_all("root", bob, "Bob leaves", ["Dora", "Carol"])
        trust = Change(remove=(("trust", self._keys["Bob", "trust"].keyid),))
        lines += self._sign_all("targets", trust, "Bob leaves", ["Ada", "Carol"])
        return Step("A key holder is removed: Bob leaves root and trust, and need not sign that", tuple(lines))

    def rotate_root(self) -> Step:
        """Replace all keys of root."""
        names = ("Ada", "Carol", "Dora")
        old = {name: self._keys[name, "root"] for name in names}
        for name in names:
            self._keys[name, "root"] = self._people[name].make_key("root")
        change = Change(
            add=tuple(("root", self._keys[name, "root"]) for name in names),
            remove=tuple(("root", old[name].keyid) for name in names),
        )
        event = self._propose("root", change, "new hardware")
        lines = self._told(event, "Ada")
        lines += [self._sign(event, name, earlier=True) for name in ("Ada", "Dora")]
        lines += [self._sign(event, name) for name in ("Carol", "Dora")]
        lines += self._finalise(event)
        return Step("Root is rotated: everyone has a new key; old and new ones sign", tuple(lines))

    def change_policy(self) -> Step:
        """Change a target of trust."""
        self._targets[POLICY] = self._targets[POLICY].replace(b'"*"', b'"widget-*"')
        change = Change(targets={POLICY: self._targets[POLICY]})
        return Step(
            "The policy is changed by trust",
            tuple(self._sign_all("trust", change, "a narrower rule", ["Ada", "Carol"])),
        )

    def refuse(self) -> Step:
        """Try what must not work."""
        self._tree.publish(self._book, self._targets, self._now)
        return Step("What is wrong is refused", tuple(self._refusals()))

    def verify(self) -> Step:
        """Read everything with stock clients, one of which has seen only the first publication."""
        self._tree.publish(self._book, self._targets, self._now)
        lines = []
        for client in ("client that stays", "client that comes new"):
            version, found = self._read(client)
            if version != len(self._book.files["root"]) or found != self._targets:
                raise CeremonyRefused(f"the {client} read something else than what was signed")
            lines.append(f"The {client}, knowing root version 1, walks to version {version} and verifies all targets")
        return Step("python-tuf's own client verifies the whole chain from the first root", tuple(lines))

    def _refusals(self) -> Iterator[str]:
        book, ada, carol = self._book, self._people["Ada"], self._people["Carol"]
        mallory = [CryptoSigner.generate_ed25519() for _ in range(2)]
        event = self._propose("root", Change(), "yearly renewal")
        document = json.loads(event.payload)
        key = mallory[0].public_key
        document["keys"][key.keyid] = key.to_dict()
        document["roles"]["root"]["keyids"].append(key.keyid)
        other = replace(event, id="event-forged", payload=canonical_bytes(document))
        yield f"Ada is shown the sha256 {event.payload_sha256}; Carol is sent another payload by the same name:"
        yield from (f"  - {line}" for line in carol.review(other, self._now, self._root).differences[2:])
        yield f"Carol reads out {other.payload_sha256}: they differ, and nobody signs"
        yield _refused("Ada, who proposed a renewal, is told", lambda: check_proposed("root", Change(), other))
        signature = ada.sign(event, "root", self._now, self._root)
        moved = replace(signature, payload_sha256=other.payload_sha256)
        yield _refused("Ada's signature put under another payload", lambda: book.submit(moved, "Mallory", self._now))
        book.submit(signature, "Ada", self._now)
        yield _refused("Finalising with one signature", lambda: book.finalise(event.id))
        document = json.loads(event.payload)
        document["roles"]["root"]["threshold"] = 9
        hopeless = replace(event, id="event-hopeless", payload=canonical_bytes(document))
        yield _refused("A threshold that cannot be met", lambda: carol.review(hopeless, self._now, self._root))
        document = json.loads(event.payload)
        document["version"] -= 1
        document["roles"]["root"] = {"keyids": [each.public_key.keyid for each in mallory], "threshold": 2}
        document["keys"] |= {each.public_key.keyid: each.public_key.to_dict() for each in mallory}
        forged = canonical_bytes(document)
        root = metadata_bytes(forged, [each.sign(forged) for each in mallory])
        based = replace(event, id="event-based", previous=root)
        yield _refused("An event that builds on a forged root", lambda: ada.review(based, self._now, self._root))
        book.withdraw(event.id)
        number = len(book.files["root"]) + 1
        document["version"] = number
        forged = canonical_bytes(document)
        self._tree.put_root(number, metadata_bytes(forged, [each.sign(forged) for each in mallory]))
        yield _refused("The stock client, served a root by two strangers", lambda: self._read("client that stays"))
        self._tree.put_root(number, None)

    def _propose(self, role: str, change: Change, reason: str) -> SigningEvent:
        holders = {key.keyid: name for (name, _), key in self._keys.items()}
        event = self._book.propose(role, change, reason, "Ada", self._now, holders)
        check_proposed(role, change, event)
        return event

    def _sign_all(self, role: str, change: Change, reason: str, names: Sequence[str]) -> list[str]:
        """Take one role through its ceremony; return what happened."""
        event = self._propose(role, change, reason)
        lines = self._told(event, names[0])
        lines += [self._sign(event, name) for name in names]
        return lines + self._finalise(event)

    def _told(self, event: SigningEvent, name: str) -> list[str]:
        reviewed = self._people[name].review(event, self._now, self._root)
        lines = [f"{name} sees, compared with {reviewed.basis}:", *(f"  - {line}" for line in reviewed.differences)]
        lines += [f"  WARNING: {line}" for line in reviewed.warnings]
        return [*lines, f"  sha256 of the payload: {event.payload_sha256}"]

    def _sign(self, event: SigningEvent, name: str, *, earlier: bool = False) -> str:
        holder = self._people[name]
        file = holder.sign(self._book.events[event.id], event.role, self._now, self._root, earlier=earlier)
        missing = missing_words(self._book.submit(file, name, self._now).missing)
        what = "the outgoing key" if earlier else "a key"
        how = "" if holder.is_connected else " from an event file, and brings back a signature file"
        return f"{name} signs with {what}, {file.signatures[0].keyid[:16]}…{how}; missing: {missing}"

    def _finalise(self, event: SigningEvent) -> list[str]:
        self._book.finalise(event.id)
        lines = [f"{event.role} version {event.version} is final"]
        if event.role == "root":
            self._people["Carol"].trust(self._book.files["root"][-1])
            how = ", and her machine checks it by the one it had" if event.previous else ""
            lines.append(f"Carol is brought the root file{how}")
        return lines

    def _root(self, number: int) -> bytes | None:
        roots = self._book.files.get("root", [])
        return roots[number - 1] if number <= len(roots) else None

    def _read(self, client: str) -> tuple[int, dict[str, bytes]]:
        return self._tree.read(self._folder / client, self._book.files["root"][0], sorted(self._targets))

    def _short(self, name: str, role: str) -> str:
        return f"{role} {self._keys[name, role].keyid[:16]}…"


def _refused(what: str, attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except (ClientError, CeremonyFault, RepositoryError) as error:
        return f"{what}: refused. {error}"
    raise CeremonyRefused(f"not refused, as it must be: {what}")
