"""Metadata is encoded as the library that clients use encodes it, only faster."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Snapshot, TargetFile, Targets

from shared.trust.metadata import canonical, registry_metadata, to_publish, verify_with
from shared.trust.roles import Role

EXPIRES = datetime(2030, 1, 1, tzinfo=UTC)
SIGNER, STRANGER = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
REGISTRY = registry_metadata({Role.BINS: [SIGNER.public_key]}, 8, 1, EXPIRES).to_bytes()

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
_DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
_TARGETS = st.dictionaries(_TEXTS, st.tuples(st.integers(0, 1 << 53), _DIGESTS, _TEXTS), max_size=6)


def bin_of(targets: dict[str, tuple[int, str, str]]) -> Metadata[Targets]:
    """A bin with targets of these paths: length, digest and kind."""
    made = Targets(version=7, expires=EXPIRES)
    for path, (length, digest, kind) in targets.items():
        made.targets[path] = TargetFile(length, {"sha256": digest}, path, {"custom": {"kind": kind}})
    return Metadata(made)


def publish(metadata: Metadata[Any], signer: CryptoSigner = SIGNER) -> bytes:
    """Sign metadata, which then has that signature, and return what is published."""
    signed = metadata.signed.to_dict()
    signature = signer.sign(canonical(signed))
    metadata.signatures[signature.keyid] = signature
    return to_publish(signed, metadata.signatures)


@given(_TARGETS)
def test_what_is_signed_is_what_clients_check(targets: dict[str, tuple[int, str, str]]) -> None:
    """Whatever the texts, the bytes under the signature are those that the library derives from what was published."""
    metadata = bin_of(targets)
    payload = canonical(metadata.signed.to_dict())
    assert payload == metadata.signed_bytes
    published = publish(metadata)
    read = Metadata[Targets].from_bytes(published)
    assert read.signed == metadata.signed
    assert read.signed_bytes == payload
    SIGNER.public_key.verify_signature(read.signatures[SIGNER.public_key.keyid], read.signed_bytes)
    verify_with(REGISTRY, "b8-07", published)


@given(st.dictionaries(st.from_regex(r"[a-z0-9-]{1,12}\.json", fullmatch=True), st.integers(1, 1 << 40), max_size=20))
def test_published_bytes_are_the_compact_form(versions: dict[str, int]) -> None:
    """Where all texts are ASCII, the published bytes are the library's own."""
    metadata = Metadata(Snapshot(version=3, expires=EXPIRES, meta={k: MetaFile(v) for k, v in versions.items()}))
    assert publish(metadata) == metadata.to_bytes()


@given(_TARGETS, st.integers(0, 1 << 16))
def test_a_changed_byte_is_refused(targets: dict[str, tuple[int, str, str]], place: int) -> None:
    """Of a published bin no byte can be another one: it does not verify, or is no metadata."""
    published = bytearray(publish(bin_of(targets)))
    published[place % len(published)] ^= 1
    with pytest.raises((UnsignedMetadataError, ValueError)):
        verify_with(REGISTRY, "b8-07", bytes(published))


def test_another_key_is_refused() -> None:
    """A signature that its delegator does not name counts for nothing."""
    with pytest.raises(UnsignedMetadataError):
        verify_with(REGISTRY, "b8-07", publish(bin_of({}), STRANGER))
