"""Publication: from the changes that wait in an index to the commit that makes them visible.

1. Take the index's lease, or leave a request with its holder (`shared.catalogue.leases`).
2. Drain what waits into one batch.
3. Re-hash the bytes of every new file as the store holds them; refuse those that differ.
4. Render pointers and page documents; allocate a metadata version that was never used and store the intent.
5. Put the targets, then the bins and the snapshot, each signature verified before.
6. One commit under the fence makes the head current: it holds the timestamp.
7. Put the timestamp last, then the plain copies of the targets (`services.signing.publication.storing`).
Killed between any two steps, nothing is visible but what the head names; the outbox sends the work again.

Source: architecture section 5; trust contract section 2.6.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from countermark.core.names import page_target
from services.signing.ceremonies.trust_root import ceremony_needed
from services.signing.ceremonies.trust_targets import targets_of
from services.signing.keys.access import key_access
from services.signing.keys.custody import Custody, custody_of
from services.signing.keys.handles import load_handles
from services.signing.keys.signers import KeyUnusable, Signers, online
from services.signing.publication import rules, tree
from services.signing.publication.approving import publishable
from services.signing.publication.auditing import Heads, keep_head, with_head
from services.signing.publication.batch import Batch, Rendered
from services.signing.publication.bins import BinCache, bins_of
from services.signing.publication.holding import kept
from services.signing.publication.owing import Owing
from services.signing.publication.rendering import Renderer
from services.signing.publication.roots_to_take import former_root
from services.signing.publication.rules import ProjectPlan
from services.signing.publication.signatures import SignedFile, SignedRoles, SigningRequest, sign_batch
from services.signing.publication.storing import Committed, follow, make_good
from shared.catalogue import audit, leases, outbox, publications, signing_events, trust
from shared.catalogue.leases import Held, LeaseLost
from shared.catalogue.publication_rows import IntentLine, NewHead, NewPage, NewTufFile
from shared.catalogue.unit_of_work import UnitOfWork
from shared.clock import whole_seconds
from shared.faults import FaultPoint, reached
from shared.ids import IndexId
from shared.jobs.messages import LayPages, RefreshIndex
from shared.resources import Resources
from shared.trust.roles import PROFILES, Role

log = structlog.get_logger()


LEAVE_AFTER = 60.0
"""Seconds after which a job begins no further batch and leaves what waits to the next job: half of what a job may take,
so that under steady load none is cut in the middle of a batch."""


class Publisher:
    """The one writer of publications in this process."""

    def __init__(self, resources: Resources, *, leave_after: float = LEAVE_AFTER) -> None:
        self._resources = resources
        self._leave_after = leave_after
        self._profile = PROFILES[resources.settings.signing.profile]
        self._renderer = Renderer(resources)
        self._audit_heads = Heads(resources)
        self._bins = BinCache()
        self._owing = Owing(self._profile, self._bins)
        self._signers: tuple[frozenset[str], Signers] | None = None
        self._laid: set[tuple[IndexId, str, int]] = set()
        self._again: dict[IndexId, bool] = {}

    async def publish(self, index_id: IndexId) -> None:
        """Publish what waits in an index, batch after batch, and sign again what is due; returns when nothing is left,
        or after `LEAVE_AFTER`, having asked for another job to go on.

        Returns at once when this process is at it already, or another signer holds the lease: they will see to it.

        Raises:
            CeremonyNeeded: the deployment has no trust root.
            KeyUnusable: a key is missing or does not sign.
            ObjectStoreError: the store cannot be used. In all cases the work stays in the outbox.
        """
        if index_id in self._again:
            # Every upload sends a job: while one batch is signed, the others' jobs cost this and no query.
            self._again[index_id] = True
            return
        self._again[index_id] = True
        leave_at = time.monotonic() + self._leave_after
        try:
            while self._again[index_id]:
                self._again[index_id] = False
                if not await self._publish_under_lease(index_id, leave_at):
                    return
        finally:
            del self._again[index_id]

    async def _publish_under_lease(self, index_id: IndexId, leave_at: float) -> bool:
        """Publish until nothing waits, returning True, or until it is time to leave, returning False."""
        async with UnitOfWork(self._resources.engine) as work:
            held = await leases.acquire(work.connection, index_id)
            await work.commit()
        if held is None:
            self._resources.metrics.lease_conflicts.inc()
        else:
            reached(FaultPoint.SIGN_LEASED)
        while held is not None:
            try:
                async with kept(self._resources, held):
                    await make_good(self._resources, index_id)
                    while await self._round(held):
                        if time.monotonic() >= leave_at:
                            break
            except BaseException as error:
                if isinstance(error, LeaseLost):
                    self._resources.metrics.signing.fence_conflicts.inc()
                await self._release(held, even_if_requested=True)
                raise
            if time.monotonic() >= leave_at:
                await self._release(held, even_if_requested=True, go_on=True)
                return False
            held = await self._release(held)
        return True

    async def _release(self, held: Held, *, even_if_requested: bool = False, go_on: bool = False) -> Held | None:
        """Let go of the lease as `leases.release` says.

        Args:
            go_on: ask for a job that goes on with what waits; without it the relay sends that again in some seconds.
        """
        async with UnitOfWork(self._resources.engine) as work:
            left = await leases.release(work.connection, held, even_if_requested=even_if_requested)
            if go_on:
                await work.enqueue(RefreshIndex(held.index_id))
            await work.commit()
        return left

    async def _round(self, held: Held) -> bool:
        """Publish one batch; returns whether there was one."""
        began = time.monotonic()
        batch = await self._gather(held)
        if batch is None:
            return False
        rendered = await self._render(batch)
        reached(FaultPoint.SIGN_RENDERED)
        batch = await self._number(batch, rendered)
        reached(FaultPoint.SIGN_NUMBERED)
        signed = await self._sign(batch, rendered)
        reached(FaultPoint.SIGN_SIGNED)
        store = self._resources.objects.side(public=batch.index.public)
        await self._lay_shared(batch)
        await tree.put_targets(store, batch.index.name, rendered.targets, digests=rendered.digests())
        reached(FaultPoint.PUBLISH_TARGETS)
        await tree.put_metadata(store, batch.index.name, signed.files)
        reached(FaultPoint.PUBLISH_METADATA)
        if not await self._commit(batch, rendered, signed):
            return True
        reached(FaultPoint.SWITCH_COMMITTED)
        self._resources.metrics.publication_seconds.observe(time.monotonic() - began)
        self._resources.metrics.publication_changes.observe(len(batch.waiting))
        before = 0 if batch.head is None else batch.head.timestamp_version
        head = Committed(batch.index, batch.version, signed.timestamp.content, before)
        await follow(self._resources, head, rendered.targets, rendered.unset)
        return True

    async def _gather(self, held: Held) -> Batch | None:
        """Read what waits and what is current; None when there is nothing to do."""
        now = whole_seconds(self._resources.clock.now())
        found = await publishable(self._resources, held.index_id)
        async with self._resources.engine.connect() as connection:
            index, waiting = found or (None, [])
            head = await publications.head_state(connection, held.index_id)
            custody = custody_of(self._profile, await trust.keys_in_use(connection), now)
            audit_head = None if index is None else await self._audit_heads.due(connection, index, now)
            if index is None or (
                not waiting
                and audit_head is None
                and head is not None
                and not await self._owing.is_due(connection, held.index_id, head, custody, now)
            ):
                return None
            in_use = None if head is None else head.registry_version
            shared = await trust.trust_files_in_use(connection, in_use)
            if not trust.is_complete(shared):
                raise await ceremony_needed(connection, self._profile)
            asked = {w.message.audit_id for w in waiting if w.message.audit_id is not None}
            requests = await publications.requests(connection, asked)
            bins = await self._bins.current(connection, held.index_id, head)
            former = None if head is None else await former_root(connection, index.id, head, shared, custody.ids)
        batch = Batch(index, held, head, waiting, requests, shared, bins, now, custody, audit_head=audit_head)
        return batch if former is None else batch.with_former_root(former)

    async def _render(self, batch: Batch) -> Rendered:
        signers = await self._signers_of(batch.custody)
        try:
            return with_head(await self._renderer.render(batch, signers), batch.audit_head)
        except KeyUnusable:
            self._signers = None
            raise

    async def _number(self, batch: Batch, rendered: Rendered) -> Batch:
        """Give the batch a version and store what it is about to sign, in one commit, before any signature.

        Raises:
            LeaseLost: another signer holds the lease.
        """
        lines = [IntentLine(entry.path, "set", entry.sha256, entry.length) for entry in rendered.entries.values()]
        lines += [IntentLine(path, "unset", None, None) for path in rendered.unset]
        async with UnitOfWork(self._resources.engine) as work:
            held, version = await leases.allocate(work.connection, batch.held)
            await publications.insert_intents(work.connection, batch.index.id, version, held.fence, lines)
            await work.commit()
        return replace(batch, held=held, version=version)

    async def _sign(self, batch: Batch, rendered: Rendered) -> SignedRoles:
        """Edit and sign the touched bins, the snapshot and the timestamp."""
        signers = await self._signers_of(batch.custody)
        registry, names = bins_of(batch.shared["registry"].content)
        changes = rules.group_by_bin(rendered.entries.values(), rendered.unset, registry.get_role_for_target)
        spec, prefix = self._profile.roles[Role.BINS], f"{registry.name_prefix}-"
        share = -(-len(names) // 7)
        # A day's share goes with a refresh; beside changes, for which people wait, a small part of it.
        at_once = -(-share // 24) if batch.waiting else share
        due = rules.bins_due(batch.bins, spec, batch.started_at, share, at_once=at_once, prefix=prefix)
        due += batch.custody.owed_bins(batch.bins, prefix)
        existing = [name for name in {*changes, *due} if name in batch.bins]
        async with self._resources.engine.connect() as connection:
            above = batch.shared["registry"].content
            taken = await self._bins.take(connection, batch.index.id, existing, batch.bins, registry=above)
            anew = changes or due or batch.has_former_root
            snapshot = None if anew else await self._snapshot(connection, batch)
        request = SigningRequest(
            index=batch.index.name,
            profile=self._profile,
            now=batch.started_at,
            version=batch.version,
            shared=batch.shared,
            bins=batch.bins,
            bin_names=names,
            taken=taken,
            changes=changes,
            snapshot=snapshot,
            custody=batch.custody,
        )
        try:
            with self._resources.metrics.signing.seconds.time():
                return await asyncio.to_thread(sign_batch, signers, request)
        except KeyUnusable:
            # Loaded anew for the next batch: a key may have come back, or a credential that a key service hands out.
            self._signers = None
            raise

    async def _signers_of(self, custody: Custody) -> Signers:
        """Return the private halves of the keys that sign; loaded again when they are others than before."""
        if self._signers is None or self._signers[0] != custody.ids:
            handles = online(await load_handles(self._resources), custody.ids)
            signers = await asyncio.to_thread(Signers, handles, key_access(self._resources.settings))
            self._signers = custody.ids, signers
        return self._signers[1]

    async def _snapshot(self, connection: AsyncConnection, batch: Batch) -> SignedFile | None:
        """Return the current snapshot, None before the first publication."""
        if batch.head is None:
            return None
        contents = await publications.current_contents(connection, batch.index.id, ["snapshot"])
        head = batch.head
        return SignedFile("snapshot", head.snapshot_version, head.snapshot_expires_at, contents["snapshot"])

    async def _commit(self, batch: Batch, rendered: Rendered, signed: SignedRoles) -> bool:
        """The switch: everything of the batch becomes visible in one commit under the fence.

        Returns False when the index was deleted or made again meanwhile: what was rendered is not to be shown then. Or
        when a key that signed was retired: clients may not know it any more.
        """
        async with UnitOfWork(self._resources.engine) as work:
            await leases.guard(work.connection, batch.held)
            is_good = await publications.unchanged(work.connection, batch.index)
            if not is_good or not await trust.still_sign(work.connection, batch.custody.ids):
                log.info("publication_overtaken", index=str(batch.index.name), version=batch.version)
                return False
            head = _new_head(batch, rendered, signed, self._resources.clock.now())
            await publications.insert_head(work.connection, batch.index.id, head)
            await signing_events.keep_targets(work.connection, rendered.kept, at=batch.started_at)
            await keep_head(work.connection, batch)
            for outbox_id, fault in rendered.refused.items():
                await outbox.mark_failed(work.connection, outbox_id, fault, retry_in=None)
            done = [waiting.id for waiting in batch.waiting if waiting.id not in rendered.refused]
            await outbox.mark_done(work.connection, done)
            if batch.waiting:
                await work.enqueue(LayPages(batch.index.id))
                await audit.record(
                    work.connection,
                    at=batch.started_at,
                    actor="signing",
                    action="index.publish",
                    subject=str(batch.index.name),
                    serial=batch.serial,
                    version=batch.version,
                    fence=batch.held.fence,
                    changes=len(batch.waiting),
                    timestamp=signed.timestamp.sha256,
                )
            await work.commit()
        self._bins.keep(batch, signed)
        self._renderer.keep(batch, rendered)
        log.info(
            "published",
            index=str(batch.index.name),
            serial=batch.serial,
            version=batch.version,
            changes=len(batch.waiting),
            refused=len(rendered.refused),
        )
        return True

    async def _lay_shared(self, batch: Batch) -> None:
        """Put the deployment's shared trust files into an index's tree, once per process and version."""
        wanted = [(batch.index.id, file.role, file.version) for file in batch.shared.values()]
        if all(one in self._laid for one in wanted):
            return
        async with self._resources.engine.connect() as connection:
            newest = batch.shared[Role.ROOT].version
            roots = [root for root in await trust.roots(connection) if root.version <= newest]
            files = [*roots, *batch.shared.values()]
            targets = await targets_of(connection, batch.shared["trust"].content)
        store = self._resources.objects.side(public=batch.index.public)
        await tree.put_targets(store, batch.index.name, targets)
        await tree.put_metadata(
            store, batch.index.name, [SignedFile(f.role, f.version, f.expires_at, f.content) for f in files]
        )
        self._laid.update(wanted)


def _page(batch: Batch, plan: ProjectPlan, rendered: Rendered) -> NewPage:
    entry = rendered.entries[page_target(plan.project.name)]
    files = 0 if plan.project.status == rules.QUARANTINED else len(rendered.listings[plan.project.id])
    # While a part of its files still waits to be dropped it is not gone.
    gone = (plan.project.removed or batch.index.is_over(plan.project)) and not rendered.listings[plan.project.id]
    return NewPage(plan.project.id, plan.project.name, entry.sha256, entry.length, files, gone)


def _new_head(batch: Batch, rendered: Rendered, signed: SignedRoles, now: datetime) -> NewHead:
    return NewHead(
        fence=batch.held.fence,
        version=batch.version,
        serial=batch.serial,
        root_version=batch.shared["root"].version,
        registry_version=batch.shared["registry"].version,
        targets_version=batch.shared["targets"].version,
        trust_version=batch.shared["trust"].version,
        snapshot_version=signed.snapshot.version,
        snapshot_expires_at=signed.snapshot.expires_at,
        timestamp_expires_at=signed.timestamp.expires_at,
        timestamp=signed.timestamp.content,
        tuf_files=[NewTufFile(f.role, f.version, f.sha256, f.expires_at, f.content) for f in signed.files],
        pages=[_page(batch, plan, rendered) for plan in rendered.plans],
        shown=[(file.id, plan.project.id, file.named_sha256) for plan in rendered.plans for file in plan.added],
        repointed=[(file.id, file.named_sha256) for plan in rendered.plans for file in plan.repointed],
        hidden=[file.id for plan in rendered.plans for file in plan.dropped],
        journal=[line for plan in rendered.plans for line in plan.journal],
        changes=len(batch.waiting),
        started_at=batch.started_at,
        committed_at=now,
    )
