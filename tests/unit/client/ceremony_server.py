"""A server of ceremonies for tests: the routes of the API, in front of a book in memory and a served root."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from securesystemslib.signer import CryptoSigner, Signature

from countermark.ceremony.book import Book
from countermark.core.ceremony.changes import Change, parse_change
from countermark.core.ceremony.documents import PublicKeyFile, SignatureFile, SigningEvent, to_bytes
from countermark.core.ceremony.faults import CeremonyFault
from tests.support.ceremonies import THRESHOLDS, first_changes, signer
from tests.unit.client.conftest import Run
from tests.unit.client.loopback import Loopback, read_json, reply_json

API = "/api/v1/trust/events"


def now() -> datetime:
    """Return the time in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass
class CeremonyServer:
    """What answers below `/api/v1/trust`.

    Attributes:
        alter: changes an event's document before it is sent: what a server at fault does.
        bodies: what was posted, path by path.
    """

    server: Loopback
    book: Book = field(default_factory=Book)
    alter: Callable[[dict[str, Any]], dict[str, Any]] = lambda document: document
    bodies: list[tuple[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server.paths[API] = self._post(self._propose, status=201)
        for state in ("?state=open&", "?"):
            self.server.paths[f"{API}{state}limit=100"] = self._list

    @property
    def url(self) -> str:
        """The URL of an index of the deployment."""
        return f"{self.server.url}/root/stable"

    def bootstrap(self) -> None:
        """Publish the first version of every shared role."""
        for role, change in first_changes().items():
            self.publish(role, change, *range(THRESHOLDS[role]))

    def open(self, role: str, change: Change | None = None) -> SigningEvent:
        """Open an event, by whatever way but the API."""
        event = self.book.propose(role, change or Change(), "a test", "ada", now(), {})
        self._serve(event.id)
        return event

    def sign(self, event: SigningEvent, *keys: CryptoSigner) -> None:
        """Hand in signatures."""
        made = tuple(key.sign(event.payload) for key in keys)
        self.book.submit(SignatureFile(event.id, event.payload_sha256, made), "bob", now())

    def publish(self, role: str, change: Change, *numbers: int) -> SigningEvent:
        """Take a change through, signed by some of the first keys of its role."""
        event = self.open(role, change)
        self.sign(event, *(signer(role, number) for number in numbers))
        self.book.finalise(event.id)
        self.serve_roots()
        return event

    def serve_roots(self) -> None:
        """Serve all roots, as the index's tree does."""
        for number, content in enumerate(self.book.files.get("root", ()), 1):
            self.server.paths[f"/root/stable/+tuf/metadata/{number}.root.json"] = content

    def _serve(self, event: str) -> None:
        self.server.paths |= {
            f"{API}/{event}": lambda handler: self._send(handler, self.book.events[event]),
            f"{API}/{event}/signatures": self._post(lambda body: self._submit(event, body)),
            f"{API}/{event}/withdraw": self._post(lambda body: self.book.withdraw(event)),
            f"{API}/{event}/finalise": self._post(lambda body: self.book.finalise(event)),
        }

    def _propose(self, body: Any) -> SigningEvent:
        change = parse_change(body["change"])
        event = self.book.propose(body["role"], change, body["reason"], "ada", now(), body.get("holders"))
        self._serve(event.id)
        return event

    def _submit(self, event: str, body: Any) -> SigningEvent:
        made = tuple(Signature(each["keyid"], each["sig"]) for each in body["signatures"])
        return self.book.submit(SignatureFile(event, body["payload_sha256"], made), "bob", now())

    def _post(self, act: Callable[[Any], SigningEvent], status: int = 200) -> Callable[[BaseHTTPRequestHandler], None]:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            body = read_json(handler)
            self.bodies.append((handler.path, body))
            try:
                self._send(handler, act(body), status)
            except CeremonyFault as error:
                reply_json(handler, {"title": "Conflict", "detail": str(error)}, 409)

        return answer

    def _send(self, handler: BaseHTTPRequestHandler, event: SigningEvent, status: int = 200) -> None:
        reply_json(handler, self.alter(event.to_document()), status)

    def _list(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = {"open", "ready"} if "state=open" in handler.path else None
        found = [event for event in self.book.events.values() if wanted is None or event.state in wanted]
        hidden = {"payload", "previous", "delegator"}
        items = [{k: v for k, v in event.to_document().items() if k not in hidden} for event in found]
        reply_json(handler, {"items": items, "next": None})


def key_file(folder: Path, key: CryptoSigner, passphrase: str | None = None) -> str:
    """Write a private key into a folder, and return its URI."""
    path = folder / f"{key.public_key.keyid[:12]}.pem"
    protection = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    path.write_bytes(key._private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
    return f"{'pkcs8' if passphrase else 'file2'}:{path}"


def public_file(folder: Path, key: CryptoSigner, holder: str = "") -> Path:
    """Write a public key file into a folder."""
    path = folder / f"{key.public_key.keyid[:12]}.pub.json"
    path.write_bytes(to_bytes(PublicKeyFile(holder, key.public_key)))
    return path


def event_file(folder: Path, event: SigningEvent, **fields: Any) -> Path:
    """Write an event file, with some fields of the event replaced."""
    path = folder / "event.json"
    path.write_bytes(to_bytes(replace(event, **fields)))
    return path


def pinned(run: Run, server: CeremonyServer, folder: Path, number: int = 1) -> Path:
    """Pin a version of root for the deployment; return its file."""
    path = folder / f"{number}.root.json"
    path.write_bytes(server.book.files["root"][number - 1])
    done = run("root", "pin", server.url, path)
    assert done.exit_code == 0, done.stderr
    return path


def objects(text: str) -> list[Any]:
    """Return the JSON objects of an output stream."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]
