"""Reads what an index is trusted by, all of it verified from the pinned root on. Imports sigstore.

Source: trust contract sections 2.3 (roles and targets) and 5.1 (trust material).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID
from sigstore_models.trustroot import v1 as models

from countermark.attesting.lasting import Kind, Part, RoleLife, SignedPolicy, SigstoreRoot, Trusted
from countermark.core.attestations.roots import read_roots
from countermark.core.attestations.trust_material import MAX_ROOT_BYTES, MAX_ROOTS
from countermark.core.attestations.trust_root import BadRoot, read_document
from countermark.core.digest import sha256_of
from countermark.core.errors import InvalidMetadata, PointerUnreadable
from countermark.core.names import TargetPath
from countermark.core.policy import MAX_POLICY_BYTES, InvalidPolicy, parse_policy
from countermark.updater import POLICY_TARGET, TrustedIndex

_TOP = ("root", "targets", "snapshot", "timestamp")
_DELEGATED = ("trust", "registry")
_DEFAULT_ROOT = "trusted_root.json"
_ANY_BIN = "pointers/countermark--trust/0.pointer"
"""A target that nobody can have published: looking for it reads the role registry."""


def read_trusted(index: TrustedIndex, folder: Path) -> Trusted:
    """Return what an index is trusted by.

    Args:
        index: refreshed.
        folder: where it keeps its verified metadata.

    Raises:
        InvalidMetadata: a role is not there, or signs more than anybody reads.
        ClientError: as `TrustedIndex.read_target`.
    """
    has_policy = index.holds(POLICY_TARGET)
    index.holds(_ANY_BIN)
    signed = {role: _signed(folder, role) for role in (*_TOP, *_DELEGATED)}
    policy = None
    if has_policy:
        policy = read_policy(index.read_target(TargetPath(POLICY_TARGET), MAX_POLICY_BYTES))
    targets = signed["trust"].get("targets", {})
    paths = [path for path in targets if _may_be_root(path, policy)]
    if len(paths) > MAX_ROOTS:
        raise InvalidMetadata(f"the role trust signs {len(paths)} roots, and {MAX_ROOTS} are read")
    roots = []
    for path in sorted(paths):
        names = () if policy is None else tuple(name for name, at in policy.roots.items() if at == path)
        try:
            content = index.read_target(TargetPath(path), MAX_ROOT_BYTES)
        except PointerUnreadable as error:
            raise InvalidMetadata(str(error.problem)) from error
        roots.append(read_root(path, content, names))
    shown = {POLICY_TARGET, *paths}
    others = {path: str(targets[path]["hashes"]["sha256"]) for path in sorted(targets) if path not in shown}
    return Trusted(tuple(_life(role, signed) for role in (*_TOP, *_DELEGATED)), policy, tuple(roots), others)


def read_policy(content: bytes) -> SignedPolicy:
    """Return what is shown of a policy."""
    digest = sha256_of(content)
    try:
        policy = parse_policy(content)
    except InvalidPolicy as error:
        return SignedPolicy(digest, fault=str(error))
    return SignedPolicy(digest, len(policy.rules), dict(policy.roots), policy.test_roots)


def read_root(path: str, content: bytes, names: tuple[str, ...] = ()) -> SigstoreRoot:
    """Return what a Sigstore root trusts, and whether verification would take it."""
    digest = sha256_of(content)
    try:
        parts = tuple(_parts(read_document(content)))
    except (BadRoot, ValueError) as error:
        return SigstoreRoot(path, digest, (), names, str(error))
    # Asked of what verifies: first whether it is usable at all, then whether only by who names test roots.
    [usable] = read_roots({path: content}, [path], [path])
    if usable.refusal is not None:
        return SigstoreRoot(path, digest, parts, names, usable.refusal.detail)
    [known] = read_roots({path: content}, [], [path])
    return SigstoreRoot(path, digest, parts, names, is_test=known.refusal is not None)


def _may_be_root(path: str, policy: SignedPolicy | None) -> bool:
    named = policy is not None and path in policy.roots.values()
    return named or path == _DEFAULT_ROOT or (path.startswith("trust/") and path.endswith(".trusted_root.json"))


def _parts(document: models.TrustedRoot) -> Iterator[Part]:
    for authority in document.certificate_authorities:
        yield _authority(Kind.AUTHORITY, authority)
    for log in document.tlogs:
        yield _log(Kind.LOG, log)
    for log in document.ctlogs:
        yield _log(Kind.CT_LOG, log)
    for authority in document.timestamp_authorities:
        yield _authority(Kind.STAMPS, authority)


def _authority(kind: Kind, authority: models.CertificateAuthority) -> Part:
    chain = [x509.load_der_x509_certificate(one.raw_bytes) for one in authority.cert_chain.certificates]
    ends = [one.not_valid_after_utc for one in chain]
    if authority.valid_for.end is not None:
        ends.append(authority.valid_for.end)
    ids = tuple(one.fingerprint(hashes.SHA256()).hex() for one in chain)
    whose = chain[0].subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME) if chain else []
    name = authority.uri or (str(whose[0].value) if whose else "without a name")
    return Part(kind, name, ids, authority.valid_for.start, min(ends, default=None))


def _log(kind: Kind, log: models.TransparencyLogInstance) -> Part:
    period = log.public_key.valid_for
    start, end = (None, None) if period is None else (period.start, period.end)
    return Part(kind, log.base_url, (bytes(log.log_id.key_id).hex(),), start, end)


def _signed(folder: Path, role: str) -> Mapping[str, Any]:
    """Return the signed part of what was verified a moment ago."""
    try:
        found: Mapping[str, Any] = json.loads((folder / f"{role}.json").read_bytes())["signed"]
    except FileNotFoundError:
        raise InvalidMetadata(f"the repository has no role {role} where this client looks for it") from None
    return found


def _life(role: str, signed: Mapping[str, Mapping[str, Any]]) -> RoleLife:
    own = signed[role]
    if role in _TOP:
        keys = signed["root"]["roles"][role]
    else:
        listed = signed["targets"].get("delegations", {}).get("roles", [])
        keys = next((one for one in listed if one["name"] == role), {})
    expires = datetime.fromisoformat(own["expires"]).astimezone(UTC)
    return RoleLife(role, int(own["version"]), expires, keys.get("threshold"), tuple(keys.get("keyids", ())))
