"""What the deployment's key holders signed for attestations: the policy and the Sigstore roots. Read only.

The bytes are those of targets of the offline role `trust`, by the digests that its published file names. Whoever judges
by them on the server believes the catalogue; clients verify the same targets by the role's keys.
Source: trust contract sections 1.4, 2.3 and 4; architecture section 11.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.attestations.trust_material import TrustMaterial
from countermark.core.digest import sha256_of
from shared.catalogue.signing_events import kept_targets
from shared.catalogue.tables import KeyHandle, TrustFile

POLICY = "trust/policy.yaml"
"""Target path of the policy."""

_DEFAULT_ROOT = "trusted_root.json"
_ROOT_SUFFIX = ".trusted_root.json"


async def current(connection: AsyncConnection, known: TrustMaterial | None = None) -> TrustMaterial:
    """Return what the newest published file of trust names; nothing of it before the deployment has one.

    With it comes whose signatures are no evidence: those of the deployment's own keys.

    Args:
        known: what was found before, which is returned while no newer version was published.

    Raises:
        LookupError: the catalogue lacks the bytes of one or has others, so that nothing may be judged.
        BadTrustMaterial: there is more of it than is looked at.
    """
    # Not by `shared.catalogue.trust`: that knows metadata by the TUF library, which services that judge do without.
    newest = select(TrustFile.version, TrustFile.content).where(TrustFile.role == "trust")
    row = (await connection.execute(newest.order_by(TrustFile.version.desc()).limit(1))).first()
    if row is None:
        return TrustMaterial()
    own = await _own_keys(connection)
    if known is not None and known.version == row.version:
        return known if known.own_keys == own else replace(known, own_keys=own)
    named = _targets(orjson.loads(row.content))
    material = replace(await named_material(connection, named, row.version), own_keys=own)
    found = dict(material.roots) if material.policy is None else {**material.roots, POLICY: material.policy}
    for path, content in found.items():
        if sha256_of(content) != named[path]:
            raise LookupError(f"{path} in the catalogue is not what trust names: nothing may be judged by it")
    return material


async def _own_keys(connection: AsyncConnection) -> frozenset[str]:
    """Return the sha256 of the SubjectPublicKeyInfo of every key that this deployment signs metadata with, or did."""
    found = await connection.scalars(select(KeyHandle.public_key))
    try:
        return frozenset(sha256_of(_der(key)) for key in found)
    except (ValueError, KeyError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        raise LookupError(f"a key of this deployment in the catalogue cannot be read: {str(error)[:200]}") from error


def _der(key: Mapping[str, Any]) -> bytes:
    """Return the DER of a public key that is kept as TUF has it: Ed25519 in hex, others in PEM."""
    public = key["keyval"]["public"]
    if key["keytype"] == "ed25519":
        loaded: Any = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    else:
        loaded = load_pem_public_key(public.encode())
    return bytes(loaded.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


async def named_material(connection: AsyncConnection, named: Mapping[str, str], version: int | None) -> TrustMaterial:
    """Return what a file of trust names, which may be an older one: an index goes on to the newest when it publishes.

    Args:
        named: its targets, path -> sha256.

    Raises:
        LookupError, BadTrustMaterial: as `current`.
    """
    wanted = {path: digest for path, digest in named.items() if is_material(path, with_policy=POLICY in named)}
    kept = await kept_targets(connection, wanted.values()) if wanted else {}
    absent = sorted(path for path, digest in wanted.items() if digest not in kept)
    if absent:
        raise LookupError(f"the catalogue lacks the bytes of {', '.join(absent)}: propose trust again with them")
    found = {path: kept[digest] for path, digest in wanted.items()}
    return TrustMaterial(found.pop(POLICY, None), found, version)


def _targets(document: dict[str, Any]) -> dict[str, str]:
    """Return the targets of a file of trust, path -> sha256."""
    return {path: target["hashes"]["sha256"] for path, target in document["signed"]["targets"].items()}


def is_material(path: str, *, with_policy: bool) -> bool:
    """Return whether a target is the policy or may be a root: without a policy that says which, by its name alone."""
    if path in (POLICY, _DEFAULT_ROOT) or path.endswith(_ROOT_SUFFIX):
        return True
    return with_policy and path.startswith("trust/") and path.endswith(".json")
