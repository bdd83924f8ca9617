"""Changes how many hash bins indexes have: shows what it would do, then does it index by index.

Works beside a running server, which goes on with either count. Source: docs/adr/0020-bin-counts.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager

from deploy.errors import LaunchError, UsageError
from deploy.open_resources import open_resources
from deploy.rebuilding import beside_server
from services.signing.ceremonies.trust_root import CeremonyNeeded, ensure_registry
from services.signing.keys.signers import KeyUnusable
from services.signing.upkeep.rebinning import BinsDamaged, IndexBusy, rebin
from shared.catalogue import binning, trust
from shared.catalogue.binning import BinnedIndex, BinSizes
from shared.catalogue.leases import LeaseLost
from shared.clock import SystemClock
from shared.objects.interface import ObjectStoreError
from shared.resources import Resources
from shared.settings import Settings
from shared.trust.metadata import succinct_roles_of
from shared.trust.roles import bin_prefix

Row = Mapping[str, object]

_NAME_BYTES = 29
"""Bytes of one bin in a snapshot. Source: trust contract section 1.5."""

_FAULTS = (BinsDamaged, CeremonyNeeded, IndexBusy, KeyUnusable, LeaseLost, ObjectStoreError)


async def plan_bins(settings: Settings, bits: int, index: str | None) -> list[Row]:
    """Return, for each index, what it has and what it would have with 2^`bits` bins; changes nothing.

    Raises:
        UsageError: `index` was never published.
        LaunchError: the deployment has no trust root.
    """
    async with _resources(settings) as resources:
        chosen = await _chosen(resources, index)
        rows = []
        async with resources.engine.connect() as connection:
            for one in chosen:
                in_use = await trust.trust_files_in_use(connection, one.registry_version)
                prefix = succinct_roles_of(in_use["registry"].content).name_prefix
                rows.append(_line(one, prefix, await binning.bin_sizes(connection, one.id), bits))
    return rows


async def change_bins(settings: Settings, bits: int, index: str | None, say: Callable[[str], None]) -> None:
    """Give indexes 2^`bits` bins: first the deployment's registry, then one index after the other.

    Args:
        say: takes a line for each index.

    Raises:
        UsageError: `index` was never published.
        LaunchError: it failed; what was moved stays moved, and running it again does the rest.
    """
    async with _resources(settings) as resources:
        try:
            await _chosen(resources, index)
            registry = await ensure_registry(resources, bits)
            say(f"registry version {registry.version} delegates to {1 << bits} bins; new indexes begin with it\n")
            # Listed again: an index may have begun with the earlier count meanwhile.
            for one in await _chosen(resources, index):
                done = await rebin(resources, one.id, _progress(one))
                if done is not None:
                    did = f"{done.targets} targets moved" if done.moved else "had them already"
                    say(f"{one.name}: {1 << bits} bins, {did}\n")
        except _FAULTS as error:
            raise LaunchError(f"{error} (run it again to do what is left)") from error


def _resources(settings: Settings) -> AbstractAsyncContextManager[Resources]:
    return open_resources(beside_server(settings), SystemClock())


async def _chosen(resources: Resources, index: str | None) -> list[BinnedIndex]:
    async with resources.engine.connect() as connection:
        if not await trust.newest_trust_files(connection):
            raise LaunchError("the deployment has no trust root yet: run countermark-server init")
        indexes = await binning.binned_indexes(connection)
    if index is None:
        return indexes
    chosen = [one for one in indexes if str(one.name) == index]
    if not chosen:
        raise UsageError(f"there is no published index {index}: see countermark-server index list")
    return chosen


def _line(index: BinnedIndex, prefix: str, sizes: Mapping[str, BinSizes], bits: int) -> Row:
    """Return what an index has and would have; sizes in bytes, uncompressed."""
    now = sizes.get(prefix, BinSizes(0, 0, 0))
    snapshot = sizes.get("snapshot", BinSizes(1, 0, 0)).total
    # Names of every earlier count stay listed (trust contract section 1.2).
    listed = 0 if bin_prefix(bits) in sizes else _NAME_BYTES * (1 << bits)
    return {
        "index": str(index.name),
        "bins": now.bins,
        "bin_bytes": now.total // max(now.bins, 1),
        "largest_bin": now.largest,
        "snapshot": snapshot,
        "new_bins": 1 << bits,
        "new_bin_bytes": now.total // (1 << bits) if now.bins != 1 << bits else now.total // now.bins,
        "new_snapshot": snapshot + listed,
        "to_sign": 0 if now.bins == 1 << bits else now.total,
    }


def _progress(index: BinnedIndex) -> Callable[[int, int], None]:
    def tell(done: int, of: int) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{index.name}: {done * 100 // of} %" + ("\n" if done == of else ""))
            sys.stderr.flush()

    return tell
