"""An index whose signed tree a simulated signer made, as a commit of the real one leaves it in catalogue and store."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from countermark.core.digest import sha256_of
from shared.catalogue.heads import CHANNEL
from shared.catalogue.signing_events import keep_targets
from shared.catalogue.tables import PublishedFile, TrustFile, TufFile, TufHead
from shared.objects.interface import ObjectStores, Put
from shared.objects.keys import check_key, core_metadata_key
from tests.support.factories import MadeFile, MadeIndex, make_file, now
from tests.support.kept_bundles import Keeper
from tests.support.simulator import RepositorySimulator

_SHARED = ("targets", "trust", "registry")


@dataclass(slots=True)
class SignedIndex:
    """An index, its simulated signer, and who holds the password of catalogue and store."""

    engine: AsyncEngine
    stores: ObjectStores
    index: MadeIndex
    sim: RepositorySimulator = field(default_factory=RepositorySimulator)
    serial: int = 0
    files: dict[str, MadeFile] = field(default_factory=dict)

    async def add(
        self,
        name: str,
        content: bytes,
        bundle: bytes | None = None,
        *,
        core_metadata: bytes | None = None,
        **facts: Any,
    ) -> MadeFile:
        """Upload a file, with the bundle that its pointer is to name; `publish` shows it."""
        made = await make_file(self.engine, self.index, name, content, core_metadata=core_metadata)
        self.files[name] = made
        if core_metadata is not None:
            self.sim.core_metadata[name] = sha256_of(core_metadata)
            self.sim.objects[core_metadata_key(made.sha256, made.file_name)] = core_metadata
        self.sim.add_file(name, content, attestation=bundle)
        async with self.engine.begin() as connection:
            row = {"index_id": self.index.id, "file_id": made.id, "project_id": made.project_id}
            await connection.execute(insert(PublishedFile).values(**row, from_serial=self.serial + 1))
        if bundle is not None:
            await Keeper(self.engine, self.stores, self.index).keep(made, bundle, named=True, **facts)
        return made

    async def publish(self) -> None:
        """Sign everything and lay it into store and catalogue."""
        self.serial += 1
        self.sim.publish()
        store = self.stores.side(public=self.index.public)
        for key, body in self.sim.objects.items():
            # The simulator leaves the folder of a target without one empty.
            await store.put(check_key(key.replace("//", "/")), body, Put.REPLACE)
        deployment, until = self.sim.deployment, now() + timedelta(days=1)
        async with self.engine.begin() as connection:
            await keep_targets(connection, list(deployment.trust_targets.values()), at=now())
            for table in (TrustFile, TufFile, TufHead):
                await connection.execute(delete(table))
            for number, root in enumerate(deployment.roots, start=1):
                await connection.execute(insert(TrustFile).values(**_file("root", number, root, until)))
            for role in _SHARED:
                body = self.sim.objects[self.sim.key(f"metadata/{deployment.offline_version}.{role}.json")]
                row = insert(TrustFile).values(**_file(role, deployment.offline_version, body, until))
                await connection.execute(row)
            for key, body in self.sim.objects.items():
                await self._online(connection, key, body, until)
            head = {
                "serial": self.serial,
                "root_version": len(deployment.roots),
                "snapshot_version": self.sim.snapshot_version,
                "timestamp_version": self.sim.timestamp_version,
                "timestamp": self.sim.objects[self.sim.key("metadata/timestamp.json")],
            }
            times = {"snapshot_expires_at": until, "timestamp_expires_at": until, "committed_at": now()}
            await connection.execute(insert(TufHead).values(index_id=self.index.id, fence=1, **head, **times))
            await connection.execute(select(func.pg_notify(CHANNEL, str(self.index.id))))

    async def _online(self, connection: Any, key: str, body: bytes, until: Any) -> None:
        number, _, role = key.rpartition("/")[2].removesuffix(".json").partition(".")
        if "/metadata/" in key and role and role not in (*_SHARED, "root"):
            row = _file(role, int(number), body, until) | {"index_id": self.index.id, "current": False}
            await connection.execute(insert(TufFile).values(**row))

    async def tamper(self, statement: str, **values: object) -> None:
        """Write to the catalogue as who holds its password does; one row."""
        async with self.engine.begin() as connection:
            done = await connection.execute(text(statement), values)
            assert done.rowcount == 1

    async def flip(self, key: str, at: int = -1) -> None:
        """Change one byte of a stored object."""
        store = self.stores.side(public=self.index.public)
        async with store.open(check_key(key)) as opened:
            body = bytearray(b"".join([chunk async for chunk in opened.chunks]))
        body[at] ^= 1
        await store.put(check_key(key), bytes(body), Put.REPLACE)


def _file(role: str, version: int, body: bytes, until: Any) -> dict[str, Any]:
    return {
        "role": role,
        "version": version,
        "sha256": sha256_of(body),
        "length": len(body),
        "expires_at": until,
        "content": body,
    }
