"""Which root a batch publishes with: the newest, once what the index shows already verifies under it.

A root lies in an index's tree before the timestamp of its batch, which comes last. As a rule that is well: a root is
made when everything is signed for it. But an index may not have been published since: it was new, or its signer's clock
was behind, or one ceremony follows another at once. Whoever reads its tree in between would have the new root and files
whose keys it does not name. So such an index is first signed anew with the root it has, and then published with the new
one.

Source: trust contract section 2.8 (the hitless order).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy.ext.asyncio import AsyncConnection
from tuf.api.exceptions import UnsignedMetadataError

from countermark.core.ceremony.key_lists import key_lists
from countermark.core.ceremony.payload import read_published
from shared.catalogue import publications, trust
from shared.catalogue.publication_rows import HeadState
from shared.catalogue.trust import StoredTrustFile
from shared.ids import IndexId
from shared.trust.metadata import verify_with
from shared.trust.roles import Role

_BELOW_ROOT = (Role.TIMESTAMP, Role.SNAPSHOT)
"""What a batch signs under the root."""


async def former_root(
    connection: AsyncConnection,
    index_id: IndexId,
    head: HeadState,
    shared: Mapping[str, StoredTrustFile],
    keyids: Collection[str],
) -> StoredTrustFile | None:
    """Return the root that an index has when a batch is to be published with it once more; None for the newest.

    Args:
        shared: the shared files of the batch, role -> newest.
        keyids: of the keys that sign it. When they are not enough for both roots nothing is gained, and the batch is as
            good, or as impossible, as without this.
    """
    newest = shared[Role.ROOT]
    if head.root_version >= newest.version:
        return None
    shown = await publications.current_contents(connection, index_id, [Role.SNAPSHOT])
    timestamp = await publications.head_timestamp(connection, index_id)
    targets = await trust.trust_file(connection, Role.TARGETS, head.targets_version)
    former = await trust.trust_file(connection, Role.ROOT, head.root_version)
    if timestamp is None or targets is None or former is None:
        return None
    shown |= {Role.TIMESTAMP: timestamp, Role.TARGETS: targets.content}
    if _verify(newest.content, shown):
        return None
    makes_good = all(_suffice(root.content, keyids) for root in (former, newest))
    both: dict[str, bytes] = {Role.TARGETS: shared[Role.TARGETS].content}
    return former if makes_good and all(_verify(root.content, both) for root in (former, newest)) else None


def _verify(root: bytes, files: Mapping[str, bytes]) -> bool:
    try:
        for role, content in files.items():
            verify_with(root, role, content)
    except UnsignedMetadataError:
        return False
    return True


def _suffice(root: bytes, keyids: Collection[str]) -> bool:
    lists = key_lists(read_published(Role.ROOT, root))
    return all(len(set(lists[role].keyids) & set(keyids)) >= lists[role].threshold for role in _BELOW_ROOT)
