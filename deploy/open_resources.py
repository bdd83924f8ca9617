"""Opens what a process holds, in order, and closes it in the opposite order."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import timedelta

from redis.asyncio import Redis

from deploy.errors import UsageError
from shared.attesting.processes import Verifying
from shared.auth import directory as directory_module
from shared.auth.directory import Directory
from shared.auth.passwords import hash_password
from shared.catalogue import heads as heads_module
from shared.catalogue.engine import open_engine
from shared.catalogue.heads import Heads
from shared.catalogue.listener import Listener
from shared.clock import Clock
from shared.jobs.arq_queue import ArqQueue, WorkerOptions
from shared.metrics import Metrics
from shared.objects.absent import AbsentStore
from shared.objects.filesystem import FolderStore
from shared.objects.interface import ObjectStoreError, ObjectStores
from shared.objects.metered import metered
from shared.outgoing import Outgoing
from shared.outside import LOOPBACK
from shared.resources import Resources
from shared.settings import Settings

_S3_MODULE = "shared.objects.s3"
"""Loaded by name when it is used: the S3 library costs half a second and 30 MB, and folders do without."""


@asynccontextmanager
async def open_resources(
    settings: Settings, clock: Clock, *, job_patience: timedelta = timedelta(0), store: bool = True
) -> AsyncIterator[Resources]:
    """Open everything of `Resources`; nothing is connected to before its first use.

    Args:
        job_patience: how long jobs under way get to end when the process is to end.
        store: whether the process uses the object store.

    Raises:
        UsageError: the settings name no database or no queue, or a file of authorities that cannot be used.
    """
    database, queue = settings.database.url, settings.queue.url
    missing = [f"{key}.url" for key, url in (("database", database), ("queue", queue)) if url is None]
    if database is None or queue is None:
        names = " and ".join(f"COUNTERMARK_{key.replace('.', '__').upper()}" for key in missing)
        raise UsageError(f"{' and '.join(missing)} must be set for a process of its own: set {names}")
    async with AsyncExitStack() as stack:
        engine = open_engine(database.get_secret_value(), pool=settings.database.pool)
        stack.push_async_callback(engine.dispose)
        redis = Redis.from_url(queue.get_secret_value())
        stack.push_async_callback(redis.aclose)
        jobs = ArqQueue(queue.get_secret_value(), WorkerOptions(patience=job_patience))
        stack.push_async_callback(jobs.close)
        metrics = Metrics()
        absent = ObjectStores(AbsentStore(), AbsentStore())
        objects = await stack.enter_async_context(open_objects(settings, metrics)) if store else absent
        no_password = await asyncio.to_thread(hash_password, "") if settings.is_open_devpi else None
        reserved = settings.mirrors.reserved_prefixes
        directory, heads = Directory(engine, no_password=no_password, reserved=reserved), Heads(engine)
        listener = Listener(database.get_secret_value(), tick=settings.staleness_bound)
        # Rights first: what a new head shows is then judged by the newest rights.
        listener.subscribe(directory_module.CHANNEL, directory.wake)
        listener.subscribe(heads_module.CHANNEL, heads.wake)
        outside = settings.mirrors.outside
        if settings.is_open_devpi:
            # Scripts and suites made for a plain devpi-server have their upstreams on the same machine.
            outside = replace(outside, networks=(*outside.networks, *LOOPBACK))
        outgoing = await stack.enter_async_context(Outgoing(outside))
        verifying = await stack.enter_async_context(Verifying())
        following = (directory, heads, listener)
        resources = Resources(settings, clock, engine, objects, jobs, redis, *following, metrics, outgoing, verifying)
        # First of all: what was answered and is not kept yet needs the rest.
        stack.push_async_callback(resources.leisure.end)
        yield resources


@asynccontextmanager
async def open_objects(settings: Settings, metrics: Metrics) -> AsyncIterator[ObjectStores]:
    """Open both sides of the object store.

    Raises:
        UsageError: a file of authorities cannot be used.
    """
    given = settings.objects
    async with AsyncExitStack() as stack:
        if given.kind == "folder":
            root = given.folder or settings.data / "objects"
            stores = ObjectStores(FolderStore(root / "public"), FolderStore(root / "private", private=True))
        else:
            s3 = importlib.import_module(_S3_MODULE)
            options = s3.S3Options(
                given.endpoint_url, given.region, given.access_key, given.secret_key, ca_file=given.ca_file
            )
            try:
                connection = await stack.enter_async_context(s3.S3Connection.open(options))
            except ObjectStoreError as error:
                raise UsageError(str(error)) from error
            stores = ObjectStores(connection.store(given.public_bucket), connection.store(given.private_bucket))
        stack.push_async_callback(stores.public.close)
        stack.push_async_callback(stores.private.close)
        yield ObjectStores(metered(stores.public, metrics), metered(stores.private, metrics))
