"""The rows that say what the deployment's key holders signed for attestations: the policy and the Sigstore roots.

Read only, and nothing here is believed: `shared.attesting.trusted` has the signatures verified, and compares the bytes
of targets with what was signed.
Source: trust contract sections 1.4, 2.3 and 4; architecture section 11.3.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.attestations.trust_material import TrustMaterial
from shared.catalogue.signing_events import kept_targets
from shared.catalogue.tables import TrustFile
from shared.trust.links import MAX_ROOTS, TRUST_CHAIN, TrustFiles

POLICY = "trust/policy.yaml"
"""Target path of the policy."""

_DEFAULT_ROOT = "trusted_root.json"
_ROOT_SUFFIX = ".trusted_root.json"

_MAX_FILE, _MAX_FILES = 512_000, 8_000_000
"""Bytes of one file, and of all that are looked at; a root has some 3,000."""

Newest = Mapping[str, tuple[int, str]]
"""Role (root, targets, trust) -> version and sha256 of its newest file."""


async def newest(connection: AsyncConnection) -> Newest:
    """Return which files are the newest; what is told here is told by nobody's signature.

    Not by `shared.catalogue.trust`: that knows metadata by the TUF library, which services that judge do without.
    """
    rows = await connection.execute(
        select(TrustFile.role, TrustFile.version, TrustFile.sha256)
        .ext(distinct_on(TrustFile.role))
        .where(TrustFile.role.in_(TRUST_CHAIN))
        .order_by(TrustFile.role, TrustFile.version.desc())
    )
    return {row.role: (row.version, row.sha256) for row in rows}


async def trust_files(connection: AsyncConnection, wanted: Newest) -> TrustFiles:
    """Return the files that show what trust signs.

    Raises:
        LookupError: one is missing, or there is more of it than is looked at.
    """
    versions = {role: version for role, (version, _) in wanted.items()}
    if absent := [role for role in TRUST_CHAIN if role not in versions]:
        raise LookupError(f"the catalogue has no file of {' and of '.join(absent)}")
    if versions["root"] > MAX_ROOTS:
        raise LookupError(f"there are more than {MAX_ROOTS} roots")
    is_root = (TrustFile.role == "root") & (TrustFile.version <= versions["root"])
    below = [(TrustFile.role == role) & (TrustFile.version == versions[role]) for role in ("targets", "trust")]
    here = is_root | below[0] | below[1]
    length = func.octet_length(TrustFile.content)
    if (await connection.scalar(select(func.sum(length)).where(here)) or 0) > _MAX_FILES:
        raise LookupError(f"the files of root, targets and trust have more than {_MAX_FILES} bytes")
    columns = select(TrustFile.role, TrustFile.version, TrustFile.content)
    rows = await connection.execute(columns.where(here, length <= _MAX_FILE))
    found: dict[tuple[str, int], bytes] = {(row.role, row.version): row.content for row in rows}

    def file(role: str, version: int) -> bytes:
        try:
            return found[role, version]
        except KeyError:
            raise LookupError(f"the catalogue lacks version {version} of {role}, or it is too long") from None

    roots = tuple(file("root", version) for version in range(1, versions["root"] + 1))
    return TrustFiles(roots, file("targets", versions["targets"]), file("trust", versions["trust"]))


async def named_material(connection: AsyncConnection, named: Mapping[str, str], version: int | None) -> TrustMaterial:
    """Return what a file of trust names, which may be an older one: an index goes on to the newest when it publishes.

    Args:
        named: its targets, path -> sha256. That the bytes have it is for the caller to see.

    Raises:
        LookupError: the catalogue lacks the bytes of one, so that nothing may be judged.
        BadTrustMaterial: there is more of it than is looked at.
    """
    wanted = {path: digest for path, digest in named.items() if is_material(path, with_policy=POLICY in named)}
    kept = await kept_targets(connection, wanted.values()) if wanted else {}
    absent = sorted(path for path, digest in wanted.items() if digest not in kept)
    if absent:
        raise LookupError(f"the catalogue lacks the bytes of {', '.join(absent)}: propose trust again with them")
    found = {path: kept[digest] for path, digest in wanted.items()}
    return TrustMaterial(found.pop(POLICY, None), found, version)


def is_material(path: str, *, with_policy: bool) -> bool:
    """Return whether a target is the policy or may be a root: without a policy that says which, by its name alone."""
    if path in (POLICY, _DEFAULT_ROOT) or path.endswith(_ROOT_SUFFIX):
        return True
    return with_policy and path.startswith("trust/") and path.endswith(".json")
