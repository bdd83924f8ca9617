"""The servers of the real profile that are not ours: Postgres, Redis and an S3 server over TLS, on a folder."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from deploy.postgres import PostgresServer
from deploy.stack.certificates import make_certificates
from deploy.stack.ports import choose_ports
from deploy.stack.programs import Programs
from deploy.stack.s3_server import REGION, S3Place, S3Server
from deploy.supervisor import first_cause
from deploy.valkey import ValkeyServer
from shared.clock import SystemClock

PUBLIC_BUCKET, PRIVATE_BUCKET = "countermark-public", "countermark-private"
"""The buckets of a deployment, as `shared.settings` calls them by default."""

_PORTS = ("postgres", "redis", "s3")


@dataclass(frozen=True, slots=True)
class RealServers:
    """The three servers. Each can be stopped and started again; addresses and passwords stay as they are."""

    postgres: PostgresServer
    redis: ValkeyServer
    s3: S3Server

    def settings(self) -> dict[str, str]:
        """Return the settings that lead a process of ours to them: key -> value, with passwords."""
        options = self.s3.options
        assert options.access_key is not None
        assert options.secret_key is not None
        return {
            "database.url": self.postgres.url,
            "queue.url": self.redis.url,
            "objects.kind": "s3",
            "objects.endpoint_url": self.s3.url,
            "objects.region": REGION,
            "objects.ca_file": str(self.s3.ca_file),
            "objects.public_bucket": PUBLIC_BUCKET,
            "objects.private_bucket": PRIVATE_BUCKET,
            "objects.access_key": options.access_key.get_secret_value(),
            "objects.secret_key": options.secret_key.get_secret_value(),
        }

    async def start(self) -> None:
        """Start all at once, and make the buckets that are not there yet.

        Raises:
            LaunchError: one does not start; says which and why.
        """
        try:
            async with asyncio.TaskGroup() as starting:
                for server in (self.postgres, self.redis, self.s3):
                    starting.create_task(server.start())
        except BaseExceptionGroup as errors:
            await self.stop()
            raise first_cause(errors) from errors
        await self.s3.make_buckets((PUBLIC_BUCKET, PRIVATE_BUCKET))

    async def stop(self) -> None:
        """End them one after the other; the catalogue last."""
        for server in (self.s3, self.redis, self.postgres):
            await server.stop()


def make_servers(folder: Path, programs: Programs) -> RealServers:
    """Return servers that are not started yet.

    Args:
        folder: of these servers alone; what is there from an earlier start is gone on with.

    Raises:
        LaunchError: no port is free.
    """
    # Others may pass through, not look inside: started by root, Postgres runs as another user.
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    ports = choose_ports(_PORTS, folder / "server-ports.json")
    certificates = make_certificates(folder / "tls", SystemClock())
    return RealServers(
        PostgresServer(folder / "postgres", programs.postgres, ports["postgres"]),
        ValkeyServer(folder / "redis", programs.redis, ports["redis"]),
        S3Server(folder / "s3", programs.versitygw, S3Place(ports["s3"], certificates)),
    )
