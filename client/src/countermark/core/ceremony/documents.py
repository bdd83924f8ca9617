"""The documents of ceremonies that travel as files and over the API: events, signatures, public keys. Pure.

Each is one JSON object; unknown fields, keys that are there twice and digests that do not fit are refused. An event's
words (who, why, how far) are what a server says: the payload alone is signed.

Source: trust contract section 2.5; ADR 0033.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from securesystemslib.signer import Key, Signature

from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.keys import key_document, parse_key
from countermark.core.ceremony.payload import load_strictly, parse_payload
from countermark.core.ceremony.tree import check_role
from countermark.core.digest import Sha256, sha256_of

MAX_DOCUMENT_BYTES = 1_000_000
"""Bytes of a document."""

MAX_SIGNATURES = 200
"""Signatures in a document."""

EVENT_TYPE = "countermark/signing-event/v1"
SIGNATURE_TYPE = "countermark/signature/v1"
KEY_TYPE = "countermark/public-key/v1"

STATES = ("open", "ready", "final", "withdrawn", "expired")

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_HEX = re.compile(r"[0-9a-f]{1,20000}\Z")
_KEYID = re.compile(r"[0-9a-f]{64}\Z")
_EVENT = frozenset(
    [
        *("type", "id", "role", "version", "payload", "payload_sha256", "previous", "delegator", "reason"),
        *("proposed_by", "proposed_at", "expires_at", "state", "signatures", "missing", "holders"),
    ]
)


@dataclass(frozen=True, slots=True)
class Submitted:
    """A signature as an event lists it; who handed it in is not proven, the signature itself is."""

    signature: Signature
    submitted_by: str
    submitted_at: datetime


@dataclass(frozen=True, slots=True)
class SigningEvent:
    """A signing event.

    Attributes:
        id: the server's name for it.
        role: the shared role.
        version: of the payload.
        payload: the exact bytes to sign.
        previous: the published file of the version before, None for the first.
        delegator: the published file of the role's delegator, None for the first root.
        state: one of `STATES`.
        missing: `old` and `new` -> how many signatures are missing, as the server counts.
        holders: key id -> who is said to hold it.
    """

    id: str
    role: str
    version: int
    payload: bytes
    previous: bytes | None
    delegator: bytes | None
    reason: str
    proposed_by: str
    proposed_at: datetime
    expires_at: datetime
    state: str
    signatures: tuple[Submitted, ...] = ()
    missing: Mapping[str, int] = field(default_factory=dict)
    holders: Mapping[str, str] = field(default_factory=dict)

    @property
    def payload_sha256(self) -> Sha256:
        """The digest that key holders read to each other."""
        return sha256_of(self.payload)

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "type": EVENT_TYPE,
            "id": self.id,
            "role": self.role,
            "version": self.version,
            "payload": _encode(self.payload),
            "payload_sha256": self.payload_sha256,
            "previous": None if self.previous is None else _encode(self.previous),
            "delegator": None if self.delegator is None else _encode(self.delegator),
            "reason": self.reason,
            "proposed_by": self.proposed_by,
            "proposed_at": _moment(self.proposed_at),
            "expires_at": _moment(self.expires_at),
            "state": self.state,
            "signatures": [
                _signature_fields(each.signature)
                | {"submitted_by": each.submitted_by, "submitted_at": _moment(each.submitted_at)}
                for each in self.signatures
            ],
            "missing": dict(self.missing),
            "holders": dict(self.holders),
        }


@dataclass(frozen=True, slots=True)
class SignatureFile:
    """Signatures of an event's payload, on their way to the server."""

    event: str
    payload_sha256: Sha256
    signatures: tuple[Signature, ...]

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "type": SIGNATURE_TYPE,
            "event": self.event,
            "payload_sha256": self.payload_sha256,
            "signatures": [_signature_fields(each) for each in self.signatures],
        }


@dataclass(frozen=True, slots=True)
class PublicKeyFile:
    """A public key, on its way from its holder to who proposes it."""

    holder: str
    key: Key

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        fields = {name: value for name, value in key_document(self.key).items() if name != "keyid"}
        return {"type": KEY_TYPE, "holder": self.holder, "keyid": self.key.keyid, "key": fields}


def to_bytes(document: SigningEvent | SignatureFile | PublicKeyFile) -> bytes:
    """Return a document as a file: JSON indented by one, for people to look into."""
    return (json.dumps(document.to_document(), indent=1) + "\n").encode("utf-8")


def parse_event(data: bytes | Mapping[str, Any]) -> SigningEvent:
    """Read an event, from a file's bytes or from the API's document.

    Raises:
        CeremonyFault: it breaks its form, its payload is no metadata of the role and version it says, or its digest is
            another one's.
    """
    fields = _document(data, EVENT_TYPE, _EVENT, optional={"holders"})
    role, payload = check_role(_text(fields, "role")), _decode(fields, "payload")
    if sha256_of(payload) != fields["payload_sha256"]:
        raise CeremonyFault("the event's payload does not have the sha256 that the event says")
    version = fields["version"]
    if type(version) is not int or parse_payload(role, payload).version != version:
        raise CeremonyFault("the event's payload is not of the version that the event says")
    state = _text(fields, "state")
    if state not in STATES:
        raise CeremonyFault(f"the event's state is none of {', '.join(STATES)}")
    return SigningEvent(
        id=_matching(fields, "id", _ID),
        role=role,
        version=version,
        payload=payload,
        previous=None if fields["previous"] is None else _decode(fields, "previous"),
        delegator=None if fields["delegator"] is None else _decode(fields, "delegator"),
        reason=_text(fields, "reason"),
        proposed_by=_text(fields, "proposed_by"),
        proposed_at=_time(fields, "proposed_at"),
        expires_at=_time(fields, "expires_at"),
        state=state,
        signatures=tuple(map(_submitted, _list(fields, "signatures"))),
        missing=_missing(fields["missing"]),
        holders=_holders(fields.get("holders", {})),
    )


def parse_signature_file(data: bytes) -> SignatureFile:
    """Read a signature file.

    Raises:
        CeremonyFault: it breaks its form.
    """
    fields = _document(data, SIGNATURE_TYPE, frozenset(["type", "event", "payload_sha256", "signatures"]))
    signatures = tuple(map(_signature, _list(fields, "signatures")))
    if not signatures:
        raise CeremonyFault("the signature file holds no signature")
    digest = Sha256(_matching(fields, "payload_sha256", _KEYID))
    return SignatureFile(_matching(fields, "event", _ID), digest, signatures)


def parse_public_key_file(data: bytes) -> PublicKeyFile:
    """Read a public key file.

    Raises:
        CeremonyFault: it breaks its form, or its key id is not its key's.
    """
    fields = _document(data, KEY_TYPE, frozenset(["type", "holder", "keyid", "key"]))
    if not isinstance(fields["key"], Mapping) or "keyid" in fields["key"]:
        raise CeremonyFault("the key of a public key file is an object without its id, which stands beside it")
    return PublicKeyFile(_text(fields, "holder"), parse_key({**fields["key"], "keyid": fields["keyid"]}))


def _document(
    data: bytes | Mapping[str, Any], kind: str, names: frozenset[str], optional: set[str] | None = None
) -> Mapping[str, Any]:
    fields = load_strictly(data, MAX_DOCUMENT_BYTES, "the document") if isinstance(data, bytes) else data
    if fields.get("type") != kind:
        raise CeremonyFault(f"this is no document of type {kind}")
    unknown, absent = fields.keys() - names, names - fields.keys() - (optional or set())
    if unknown or absent:
        wrong = f"it has an unknown field {min(unknown)[:40]!r}" if unknown else f"it lacks {min(absent)!r}"
        raise CeremonyFault(f"this is no usable document of type {kind}: {wrong}")
    return fields


def _submitted(fields: object) -> Submitted:
    if not isinstance(fields, Mapping) or fields.keys() != {"keyid", "sig", "submitted_by", "submitted_at"}:
        raise CeremonyFault("a signature of an event has keyid, sig, submitted_by and submitted_at")
    made = _signature({"keyid": fields["keyid"], "sig": fields["sig"]})
    return Submitted(made, _text(fields, "submitted_by"), _time(fields, "submitted_at"))


def _signature(fields: object) -> Signature:
    if not isinstance(fields, Mapping) or fields.keys() != {"keyid", "sig"}:
        raise CeremonyFault("a signature has keyid and sig")
    return Signature(_matching(fields, "keyid", _KEYID), _matching(fields, "sig", _HEX))


def _signature_fields(signature: Signature) -> dict[str, Any]:
    return {"keyid": signature.keyid, "sig": signature.signature}


def _missing(value: object) -> Mapping[str, int]:
    if not isinstance(value, Mapping) or not value.keys() <= {"old", "new"}:
        raise CeremonyFault("missing has the counts old and new")
    if any(type(count) is not int or count < 0 for count in value.values()):
        raise CeremonyFault("what is missing is counted in whole numbers")
    return dict(value)


def _holders(value: object) -> Mapping[str, str]:
    if not isinstance(value, Mapping) or len(value) > MAX_SIGNATURES:
        raise CeremonyFault(f"holders is an object of at most {MAX_SIGNATURES} fields")
    return {keyid: _text(value, keyid) for keyid in value}


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields[name]
    if not isinstance(value, list) or len(value) > MAX_SIGNATURES:
        raise CeremonyFault(f"{name} is a list of at most {MAX_SIGNATURES}")
    return value


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str) or len(value) > 2000:
        raise CeremonyFault(f"{name[:70]} is text of at most 2000 characters")
    return value


def _matching(fields: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = fields[name]
    if not isinstance(value, str) or not pattern.match(value):
        raise CeremonyFault(f"{name} has another form")
    return value


def _time(fields: Mapping[str, Any], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(fields, name))
    except ValueError as error:
        raise CeremonyFault(f"{name} is no time") from error
    if moment.tzinfo is None:
        raise CeremonyFault(f"{name} is a time without its zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise CeremonyFault(f"{name} is no time that UTC can tell") from error


def _moment(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decode(fields: Mapping[str, Any], name: str) -> bytes:
    value = fields[name]
    try:
        return base64.b64decode(value if isinstance(value, str) else "?", validate=True)
    except (binascii.Error, ValueError) as error:
        raise CeremonyFault(f"{name} is no base64") from error
