"""Whatever is changed of an attestation, it does not verify, and is never more than a report."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from countermark.core.attestations.results import document_of
from countermark.core.attestations.trust_root import Root
from countermark.core.attestations.verifying import ProvenanceVerifier
from countermark.core.digest import sha256_of
from tests.support.sigstore.instance import Instance, provenance

NAME, CONTENT = "thing-1.0-py3-none-any.whl", b"a wheel"
ODD: tuple[Any, ...] = (
    None,
    "",
    0,
    -1,
    1.0,
    True,
    1e300,
    [],
    {},
    [None],
    {"a": 1},
    "A" * 1000,
    "9" * 20,
    "-1",
    "\u2028",
)
UNPROVEN = {"environment", "claims"}
"""What may be different and is told: no certificate names an environment, and no claims are none."""

Path = tuple[str | int, ...]


@cache
def made() -> tuple[ProvenanceVerifier, Any, tuple[Path, ...]]:
    """Return a verifier, an object that it takes, and where something can be changed in that."""
    instance = Instance()
    document = json.loads(provenance(instance.attest(NAME, CONTENT)))
    paths = tuple(path for path in _paths(document, ()) if path[-1] not in UNPROVEN)
    return ProvenanceVerifier(Root(instance.trusted_root())), document, paths


def _paths(value: Any, path: Path) -> Iterator[Path]:
    if path:
        yield path
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _paths(part, (*path, key))


def _flipped(text: str, bit: int) -> str:
    """Return a text with one bit changed, of what it means where it is base64."""
    try:
        raw = bytearray(base64.b64decode(text, validate=True))
        raw[bit // 8 % len(raw)] ^= 1 << bit % 8
        return base64.b64encode(raw).decode()
    except (ValueError, ZeroDivisionError):
        at = bit % len(text)
        return f"{text[:at]}{chr(ord(text[at]) ^ 1)}{text[at + 1 :]}"


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_nothing_that_was_changed_verifies(data: st.DataObject) -> None:
    """One bit, one value or one key less, anywhere: a report that says no, and no other error."""
    verifier, good, paths = made()
    changed = copy.deepcopy(good)
    *way, last = data.draw(st.sampled_from(paths))
    holder = changed
    for key in way:
        holder = holder[key]
    if isinstance(holder[last], str) and holder[last] and data.draw(st.booleans()):
        holder[last] = _flipped(holder[last], data.draw(st.integers(0, 40_000)))
    elif data.draw(st.booleans()):
        del holder[last]
    else:
        holder[last] = data.draw(st.sampled_from(ODD))
    report = verifier.verify(json.dumps(changed).encode(), NAME, sha256_of(CONTENT))
    assert report.verified == (json.dumps(changed) == json.dumps(good))
    assert json.loads(json.dumps(document_of(report)))["verified"] == report.verified


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_bytes(body: bytes) -> None:
    """Anything at all is read, and refused."""
    assert not made()[0].verify(body, NAME, sha256_of(CONTENT)).verified
