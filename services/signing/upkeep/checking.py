"""Compares what an index has signed with what the catalogue says it should have: every target, both ways.

For the time after a key or a database was in strange hands: a target that nobody uploaded, one with other bytes, one
that is missing. Nothing is written. Source: trust contract section 2.8 ("diff every bin against the catalogue").
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection
from tuf.api.exceptions import RepositoryError

from countermark.core.digest import Sha256, sha256_of
from countermark.core.names import TargetPath
from services.signing.publication import rules
from services.signing.publication.auditing import shown_head
from services.signing.publication.summaries import is_summary, pointer_of_summary
from shared.catalogue import file_states, publications, signing_events, trust
from shared.catalogue.publication_rows import IndexFacts, NewTufFile
from shared.formats.registry import FORMATS
from shared.ids import IndexId, ProjectId
from shared.outside_address import index_url
from shared.resources import Resources
from shared.trust.metadata import read_bin, succinct_roles_of, verify_with

_DIGESTS_AT_ONCE = 5000
"""Summaries looked up with one query."""

PROJECTS_AT_ONCE = 200
"""Projects whose files are read with one query."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a comparison found.

    Attributes:
        targets: how many are signed.
        strange: signed, and of no file or project that the catalogue shows.
        missing: of the catalogue, and not signed.
        differing: signed with other bytes than the catalogue renders.
        unverified: bins whose signature does not verify under the registry's key.
    """

    index: str
    targets: int
    strange: tuple[str, ...]
    missing: tuple[str, ...]
    differing: tuple[str, ...]
    unverified: tuple[str, ...]

    @property
    def faults(self) -> list[str]:
        """A line for each fault."""
        words = (
            ("signed, and of nothing that was uploaded", self.strange),
            ("uploaded, and not signed", self.missing),
            ("signed with other bytes", self.differing),
            ("not signed by the key of the bins", self.unverified),
        )
        return [f"{path}: {said}" for said, paths in words for path in paths]


async def check(resources: Resources, index_id: IndexId) -> Checked | None:
    """Compare an index's bins with its rows, as of one moment; None when it was never published."""
    async with resources.engine.connect() as connection:
        # One view of all tables: a publication meanwhile changes both sides.
        connection = await connection.execution_options(isolation_level="REPEATABLE READ")
        index = await publications.index_facts(connection, index_id)
        head = await publications.head_state(connection, index_id)
        if index is None or head is None:
            return None
        registry = (await trust.trust_files_in_use(connection, head.registry_version))["registry"].content
        bins = await _bins(connection, index_id, registry)
        address = index_url(resources.settings, index.name)
        wanted = {path: sha256_of(content) for path, content in (await shown_head(connection, index)).items()}
        projects = await publications.visible_projects(connection, index_id)
        for start in range(0, len(projects), PROJECTS_AT_ONCE):
            some = dict(projects[start : start + PROJECTS_AT_ONCE])
            part = await rendered_targets(connection, index, some, address)
            wanted |= {path: sha256_of(content) for path, content in part.items()}
        signed = signed_digests(file.content for file in bins)
        wanted |= await kept_summaries_digests(connection, signed, wanted)
    return Checked(
        str(index.name),
        len(signed),
        tuple(sorted(path for path in signed if path not in wanted)),
        tuple(sorted(path for path in wanted if path not in signed)),
        tuple(sorted(path for path, digest in wanted.items() if signed.get(path, digest) != digest)),
        tuple(sorted(_unverified(bins, registry))),
    )


async def kept_summaries_digests(
    connection: AsyncConnection, signed: Mapping[str, str], wanted: Collection[str]
) -> dict[TargetPath, Sha256]:
    """Return the signed summaries that this deployment has made, of files that it shows, path -> sha256.

    Args:
        wanted: the targets that there should be, pointers among them.
    """
    mine = {path: digest for path, digest in signed.items() if is_summary(path) and pointer_of_summary(path) in wanted}
    kept, digests = set[str](), list(mine.values())
    for start in range(0, len(digests), _DIGESTS_AT_ONCE):
        kept |= await signing_events.kept_digests(connection, digests[start : start + _DIGESTS_AT_ONCE])
    return {TargetPath(path): Sha256(digest) for path, digest in mine.items() if digest in kept}


async def kept_summaries(connection: AsyncConnection, signed: Mapping[str, str]) -> dict[TargetPath, bytes]:
    """Return the bytes of signed summaries, which no row can tell again.

    Args:
        signed: target path -> sha256, of any targets.
    """
    mine = {path: digest for path, digest in signed.items() if is_summary(path)}
    kept = await signing_events.kept_targets(connection, mine.values()) if mine else {}
    return {TargetPath(path): kept[digest] for path, digest in mine.items() if digest in kept}


def signed_digests(bins: Iterable[bytes]) -> dict[str, str]:
    """Return what bins say: target path -> sha256; equal bins are read once."""
    digests: dict[str, str] = {}
    for content in set(bins):
        digests |= {path: entry["hashes"]["sha256"] for path, entry in read_bin(content).items()}
    return digests


async def rendered_targets(
    connection: AsyncConnection, index: IndexFacts, serials: Mapping[ProjectId, int], address: str | None
) -> dict[TargetPath, bytes]:
    """Render the current targets of some projects, each as of the serial of its current page.

    Pointers name the attestations that they were signed with, whatever was added since.

    Args:
        address: what the addresses of provenance objects begin with (`shared.outside_address`).
    """
    states = await publications.project_states(connection, list(serials))
    files = await file_states.file_states(connection, list(serials), ())
    targets: dict[TargetPath, bytes] = {}
    for state in states:
        mine = [file.as_signed() for file in files if file.project_id == state.id]
        plan = rules.plan_project(
            index.name, serials[state.id], state, mine, over=index.is_over(state), index_url=address
        )
        targets |= FORMATS[state.format].render(plan.page, {file.file_name for file in mine})
    return targets


async def _bins(connection: AsyncConnection, index_id: IndexId, registry: bytes) -> list[NewTufFile]:
    """Return the bins that the registry delegates to; nobody asks for those of an earlier count."""
    prefix = f"{succinct_roles_of(registry).name_prefix}-"
    return [file for file in await publications.all_current_files(connection, index_id) if file.role.startswith(prefix)]


def _unverified(bins: Iterable[NewTufFile], registry: bytes) -> Iterable[str]:
    for file in bins:
        try:
            verify_with(registry, file.role, file.content)
        except (ValueError, RepositoryError):
            yield file.role
