"""Lists of bundles: where those of a file lie that stand in no provenance object. Bounded, nothing believed. Pure.

::

    {"version": 1, "bundles": [{"uri": "/files/…", "digest": "…", "length": 5120, "predicate_type": "…"}]}

`uri`, `digest` and `length` are those of a pointer's `attestation`; `predicate_type` is for people. A list is no
evidence, and needs none: bundles prove themselves.
Source: trust contract section 3.2 (pointers); section 5.2 (what PEP 740 has no place for).
"""

from __future__ import annotations

from typing import Any

from countermark.core.attestations.bundle import MAX_BUNDLE_BYTES
from countermark.core.digest import InvalidDigest, Length, parse_sha256
from countermark.core.pointer import MalformedPointer, Resource, parse_uri
from countermark.core.strict_json import read_json

MAX_LIST_BYTES = 64 << 10
MAX_LISTED = 16
"""Bundles of a list: as many as a registry keeps of a file."""


class MalformedList(ValueError):
    """The bytes are no list of bundles; the message says which rule they break."""


def read_bundle_list(body: bytes) -> list[Resource]:
    """Return where the bundles lie that a list names, in its order; an empty list names none.

    Raises:
        MalformedList: it is too large, or no such list.
    """
    if len(body) > MAX_LIST_BYTES:
        raise MalformedList(f"it has more than {MAX_LIST_BYTES} bytes")
    try:
        document = read_json(body)
    except ValueError as error:
        raise MalformedList(f"it cannot be read: {error}") from error
    # Neither true nor 1.0, which are equal to it.
    if not isinstance(document, dict) or type(document.get("version")) is not int or document["version"] != 1:
        raise MalformedList("it is of a version that is not known here")
    bundles = document.get("bundles")
    if not isinstance(bundles, list) or len(bundles) > MAX_LISTED:
        raise MalformedList(f"its bundles are not a list of up to {MAX_LISTED}")
    return [_resource(bundle) for bundle in bundles]


def _resource(bundle: Any) -> Resource:
    if not isinstance(bundle, dict):
        raise MalformedList("a bundle is no object")
    uri, digest, length = (bundle.get(name) for name in ("uri", "digest", "length"))
    if not isinstance(uri, str) or not isinstance(digest, str):
        raise MalformedList("a bundle does not say where it lies and what it is")
    if type(length) is not int or not 1 <= length <= MAX_BUNDLE_BYTES:
        raise MalformedList(f"the length of a bundle is not 1 to {MAX_BUNDLE_BYTES}")
    try:
        return Resource(parse_uri(uri), parse_sha256(digest), Length(length))
    except (MalformedPointer, InvalidDigest) as error:
        raise MalformedList(str(error)) from error
