"""Payloads: the exact bytes that are signed, read strictly and put into the file to publish. Pure.

Source: TUF specification 1.0.34 section 4.2 (canonical form); trust contract sections 1.3 and 2.5.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from securesystemslib.exceptions import Error as SecureSystemsError
from securesystemslib.formats import encode_canonical
from securesystemslib.signer import Signature
from tuf.api.metadata import Root, Targets
from tuf.api.serialization import DeserializationError

from countermark.core.ceremony.faults import CeremonyFault
from countermark.core.ceremony.key_lists import key_lists
from countermark.core.ceremony.tree import check_role

MAX_PAYLOAD_BYTES = 512_000
"""Bytes. Source: trust contract section 1.3 (what clients take of a root at the most)."""

SPEC_VERSION = "1.0.31"
"""The specification version python-tuf declares in new metadata (trust contract section 1.3)."""

_BOOLEANS = frozenset(["consistent_snapshot", "terminating"])
_READING = (ValueError, KeyError, TypeError, AttributeError, RecursionError, SecureSystemsError, DeserializationError)


def canonical_payload(signed: Root | Targets) -> bytes:
    """Return the bytes to sign: OLPC canonical JSON.

    Raises:
        CeremonyFault: it holds what has no canonical form.
    """
    return canonical_bytes(signed.to_dict())


def canonical_bytes(document: Any) -> bytes:
    """Return the canonical form of JSON; see `canonical_payload`."""
    try:
        return (encode_canonical(document) or "").encode("utf-8")
    except (SecureSystemsError, UnicodeEncodeError, RecursionError) as error:
        raise CeremonyFault("it holds what has no canonical form") from error


def parse_payload(role: str, data: bytes) -> Root | Targets:
    """Read a payload, so strictly that the same content has no second form.

    Line ends stand in it as they are, in keys in PEM form: canonical JSON escapes quotation marks and backslashes only.

    Args:
        role: a shared role, whose kind of file it must be.
        data: at most `MAX_PAYLOAD_BYTES`.

    Raises:
        CeremonyFault: it is longer, no canonical JSON, metadata of another kind or specification version.
    """
    kind: type[Root] | type[Targets] = Root if check_role(role) == Root.type else Targets
    document = load_strictly(data, MAX_PAYLOAD_BYTES, "the payload", canonical=True)
    if document.get("_type") != kind.type:
        raise CeremonyFault(f"the payload is no {kind.type} metadata, as role {role} has it")
    if document.get("spec_version") != SPEC_VERSION:
        raise CeremonyFault(f"the payload is not of specification version {SPEC_VERSION}")
    if _has_stray_boolean(document):
        raise CeremonyFault("the payload holds a truth value where none belongs")
    try:
        signed = kind.from_dict(document)
        encoded = canonical_payload(signed)
    except CeremonyFault:
        raise
    except _READING as error:
        raise CeremonyFault(f"the payload is no {kind.type} metadata: {str(error)[:200]}") from error
    if encoded != data:
        raise CeremonyFault("the payload is not in its canonical form")
    for name, listed in key_lists(signed).items():
        if not isinstance(listed.keyids, list) or not all(isinstance(keyid, str) for keyid in listed.keyids):
            raise CeremonyFault(f"the key ids of role {name[:40]} are no list")
    return signed


def metadata_bytes(payload: bytes, signatures: Iterable[Signature]) -> bytes:
    """Return the file to publish: compact JSON of the payload with its signatures, sorted by key id.

    Its signed part is the payload, byte for byte but for line ends in PEM keys, which JSON wants escaped; in canonical
    form it is the payload again.

    Raises:
        CeremonyFault: the payload is no canonical JSON.
    """
    signed = load_strictly(payload, MAX_PAYLOAD_BYTES, "the payload", canonical=True)
    made = [{"keyid": each.keyid, "sig": each.signature} for each in sorted(signatures, key=lambda each: each.keyid)]
    document = {"signatures": made, "signed": signed}
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def read_metadata(data: bytes) -> tuple[bytes, tuple[Signature, ...]]:
    """Return the payload and the signatures of a published file; nothing is verified.

    Raises:
        CeremonyFault: it is no metadata file.
    """
    document = load_strictly(data, MAX_PAYLOAD_BYTES, "the metadata file")
    try:
        found = [Signature.from_dict(dict(each)) for each in document["signatures"]]
        signed = document["signed"]
        if not isinstance(signed, dict) or not all(isinstance(s.keyid + s.signature, str) for s in found):
            raise TypeError("other types")
    except _READING as error:
        raise CeremonyFault("the metadata file has no signed part and signatures") from error
    return canonical_bytes(signed), tuple(found)


def read_published(role: str, data: bytes) -> Root | Targets:
    """Return the signed part of a published file of a shared role; nothing is verified. See `parse_payload`."""
    try:
        return parse_payload(role, read_metadata(data)[0])
    except CeremonyFault as error:
        raise CeremonyFault(f"the published file of role {role} cannot be used: {error}") from error


def load_strictly(data: bytes, limit: int, what: str, *, canonical: bool = False) -> dict[str, Any]:
    """Return the JSON object that bytes hold.

    Args:
        data: UTF-8.
        limit: bytes, at the most.
        what: what it is, for the message.
        canonical: canonical JSON, where control characters stand as they are.

    Raises:
        CeremonyFault: too long, no JSON object, a key twice in an object, or a number that is not whole.
    """
    if len(data) > limit:
        raise CeremonyFault(f"{what} is longer than {limit} bytes")
    try:
        document = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_float=_refuse("a number that is not whole"),
            parse_constant=_refuse("a number that is not finite"),
            strict=not canonical,
        )
    except CeremonyFault as error:
        raise CeremonyFault(f"{what} holds {error}") from error
    except (ValueError, RecursionError) as error:
        raise CeremonyFault(f"{what} is no JSON in UTF-8") from error
    if not isinstance(document, dict):
        raise CeremonyFault(f"{what} is no JSON object")
    if canonical and canonical_bytes(document) != data:
        raise CeremonyFault(f"{what} is not in its canonical form")
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise CeremonyFault("a key twice in one object")
    return found


def _refuse(what: str) -> Callable[[str], Any]:
    def refuse(_: str) -> Any:
        raise CeremonyFault(what)

    return refuse


def _has_stray_boolean(value: Any, key: str = "") -> bool:
    if isinstance(value, dict):
        return any(_has_stray_boolean(inner, name) for name, inner in value.items())
    if isinstance(value, list):
        return any(_has_stray_boolean(inner) for inner in value)
    return isinstance(value, bool) and key not in _BOOLEANS
