"""The job queue on arq and Redis (or Valkey).

What arq does by itself and what is done about it here:

- a worker that is killed leaves a mark at its job that holds others off for the job's whole timeout: the mark is made
  short-lived and renewed while the job runs (`claim_lifetime`);
- a job keeps its row's number as its id, so that sending a row again while its job waits or runs adds nothing;
- a job's description expires in a minute, so that whatever state the queue was left in, a row sent again gets through;
- an error that its worker does not expect ends it: `consume` starts it again;
- its worker finds work by looking: it looks seldom, and at once when a publication says that something came or a job
  ended;
- jobs never fail in arq's eyes (`Handler`), so its own retries serve interrupted jobs only.

Source: infrastructure facts, "Valkey and arq"; arq 0.28 `worker.py`, `connections.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.utils import timestamp_ms
from arq.worker import Worker
from arq.worker import func as arq_function
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, WatchError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.jobs.messages import QUEUES, Envelope, InvalidMessage
from shared.jobs.queue import Handler, QueueUnavailable
from shared.jobs.redis_faults import redis_fault
from shared.jobs.wire import FUNCTION, dump_job, envelope_of, load_job, payload_of

log = structlog.get_logger()

SEND_TIMEOUT: Final = 2.0
"""Seconds in which an envelope must be handed over; the outbox tries again."""

LISTEN_TURN: Final = 2.0
"""Seconds after which waiting for a publication begins anew."""

_KEEP_ALIVE: Final = {
    "socket_keepalive": True,
    "socket_keepalive_options": {
        getattr(socket, name): value
        for name, value in {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}.items()
        if hasattr(socket, name)
    },
}
"""Ends a connection to a machine that is gone after 25 seconds, where the system lets us say so."""

DESCRIPTION_LIFETIME: Final = timedelta(seconds=60)
"""How long a job's description stays in the queue unless its row is sent again."""

RESTART_PAUSE: Final = 0.2
"""Seconds before a worker that ended is started again."""

STOP_TIMEOUT: Final = 2.0
"""Seconds given to a worker that is to end, and then to its jobs, to leave the queue as the next worker wants it."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker looks for jobs.

    `at_once` jobs run at a time; between two looks into the queue lie `poll_delay` and up to `idle_delay`, cut short
    when something is sent or a job ends; a job whose worker was killed is taken by another after `claim_lifetime`;
    `job_timeout` is a last resort, above what `shared.jobs.consumer` enforces. When it is to end, jobs under way get
    `patience` to end by themselves, then they are interrupted and go back into the queue.
    """

    at_once: int = 10
    poll_delay: timedelta = timedelta(milliseconds=20)
    idle_delay: timedelta = timedelta(milliseconds=250)
    claim_lifetime: timedelta = timedelta(seconds=6)
    job_timeout: timedelta = timedelta(seconds=130)
    patience: timedelta = timedelta(0)


class ArqQueue:
    """One arq queue per name in `QUEUES`, in one Redis database."""

    def __init__(self, redis_url: str, options: WorkerOptions | None = None) -> None:
        """Prepare; connects on first use.

        Args:
            redis_url: `redis://`, `rediss://` or `unix://`, as redis-py reads them.
        """
        self._url = redis_url
        self._options = options or WorkerOptions()
        # Who waits for a send must soon hear that it failed.
        self._sender = self._connect(Retry(ExponentialBackoff(cap=0.1, base=0.02), 2))
        # arq writes a line per job, with its payload; `shared.jobs.consumer` writes ours.
        logging.getLogger("arq").setLevel(logging.ERROR)

    async def send(self, envelope: Envelope) -> None:
        """Hand an envelope to the queue its message names; see `JobQueue.send`."""
        with self._unavailable():
            async with asyncio.timeout(SEND_TIMEOUT):
                key, job_id = _key_of(envelope.message.queue), str(envelope.outbox_id)
                sent = await self._sender.enqueue_job(
                    FUNCTION, payload_of(envelope), _job_id=job_id, _queue_name=key, _expires=DESCRIPTION_LIFETIME
                )
                if sent is None:
                    # It waits or runs. Should its place in the queue be lost, this gives it one.
                    await self._sender.zadd(key, {job_id: timestamp_ms()}, nx=True)
                await self._sender.publish(key, b"")

    async def consume(self, queue: str, handler: Handler) -> None:
        """Run `handler` on what arrives in `queue`, several at once, until cancelled; see `JobQueue.consume`."""
        if queue not in QUEUES:
            raise ValueError(f"no such queue: {queue!r}")
        # A worker waits for Redis as long as it takes.
        redis = self._connect(Retry(ExponentialBackoff(cap=1, base=0.05), -1))
        workers: list[_StoppableWorker] = []
        woken = asyncio.Event()
        waking = asyncio.create_task(_wake(redis, _key_of(queue), woken))
        try:
            while True:
                # Jobs of a worker that ended run on: nothing is wrong with them.
                workers = [worker for worker in workers if worker.has_jobs]
                workers.append(self._worker(queue, redis, handler))
                workers[-1].wake_by(woken, self._options.idle_delay)
                await self._run_worker(queue, workers[-1], redis)
                await asyncio.sleep(RESTART_PAUSE)
        finally:
            await asyncio.gather(*(worker.stop(self._options.patience) for worker in workers), _cancel(waking))
            await redis.aclose(close_connection_pool=True)

    async def ping(self) -> None:
        """Return when the queue answers; see `JobQueue.ping`."""
        with self._unavailable():
            async with asyncio.timeout(SEND_TIMEOUT):
                await self._sender.ping()

    async def close(self) -> None:
        """Free the connections of `send` and `ping`; `consume` frees its own."""
        await self._sender.aclose(close_connection_pool=True)

    def _connect(self, retry: Retry) -> ArqRedis:
        pool = ConnectionPool.from_url(
            self._url,
            # No `socket_timeout`: with it redis-py sends through `asyncio.wait_for`, which on Python 3.11 loses a
            # cancellation that arrives as the bytes go out (43 of 100 did). Dead peers are found by keep-alive.
            **({} if self._url.startswith("unix:") else _KEEP_ALIVE),
            socket_connect_timeout=2,
            retry=retry,
            retry_on_timeout=True,
            retry_on_error=[RedisConnectionError, RedisTimeoutError],
        )
        return ArqRedis(pool, job_serializer=dump_job, job_deserializer=load_job)

    async def _run_worker(self, queue: str, worker: _StoppableWorker, redis: ArqRedis) -> None:
        try:
            await worker.run_until_stopped()
        except (RedisConnectionError, RedisTimeoutError, WatchError, OSError) as error:
            log.warning("queue_worker_restarts", queue=queue, error=str(error))
        except Exception:
            # Something lies in the queue that none of us put there. The outbox sends again what is open.
            log.exception("queue_emptied", queue=queue)
            with contextlib.suppress(RedisError):
                await redis.delete(_key_of(queue))

    def _worker(self, queue: str, redis: ArqRedis, handler: Handler) -> _StoppableWorker:
        async def deliver(context: dict[str, Any], payload: object) -> None:
            try:
                envelope = envelope_of(payload)
                if envelope.message.queue != queue:
                    raise InvalidMessage(f"{envelope.message.kind} does not belong here")
            except InvalidMessage as error:
                log.error("queue_message_dropped", queue=queue, reason=str(error)[:200])
                return
            async with self._claim(redis, context["job_id"]):
                await handler(envelope)

        worker = _StoppableWorker(
            functions=[arq_function(deliver, name=FUNCTION)],  # type: ignore[arg-type]
            queue_name=_key_of(queue),
            redis_pool=redis,
            handle_signals=False,
            max_jobs=self._options.at_once,
            job_timeout=self._options.job_timeout,
            keep_result=0,
            poll_delay=self._options.poll_delay,
            # Tries count interruptions: a job that brings its worker down five times waits for the relay.
            max_tries=5,
            job_serializer=dump_job,
            job_deserializer=load_job,
        )
        worker.in_progress_timeout_s = self._options.claim_lifetime.total_seconds()
        return worker

    @asynccontextmanager
    async def _claim(self, redis: ArqRedis, job_id: str) -> AsyncIterator[None]:
        """Keep other workers off a job while it runs here."""
        lifetime = self._options.claim_lifetime

        async def renew() -> None:
            while True:
                await asyncio.sleep(lifetime.total_seconds() / 3)
                with contextlib.suppress(RedisError):
                    await redis.pexpire(in_progress_key_prefix + job_id, lifetime)

        renewing = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewing.cancel()

    @contextmanager
    def _unavailable(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError, TimeoutError) as error:
            text, passing = redis_fault(error)
            raise QueueUnavailable(text, passing=passing) from error


def _key_of(queue: str) -> str:
    return f"countermark:queue:{queue}"


class _StoppableWorker(Worker):
    """An arq worker that sleeps while there is nothing to do, and can be asked to end between two looks into the queue.

    Cancelling arq's loop is no way to end it: in the middle of taking a job it would leave the job marked as running.
    """

    _task: asyncio.Task[None] | None = None
    _stopping = False
    _ended = 0

    def wake_by(self, woken: asyncio.Event, idle_delay: timedelta) -> None:
        """Look at once when `woken` is set; to be called before it runs."""
        self._woken = woken
        self._idle_delay = idle_delay.total_seconds()

    async def run_until_stopped(self) -> None:
        """Run arq's loop; what ends it is raised, but not that it was asked to end."""
        self._task = asyncio.create_task(self.main())
        with contextlib.suppress(_Stopped):
            await asyncio.shield(self._task)

    @property
    def has_jobs(self) -> bool:
        """Whether jobs of this worker still run."""
        return any(not task.done() for task in self.tasks.values())

    async def heart_beat(self) -> None:
        """Rest, or end if asked to: arq awaits this after each look into the queue."""
        if self._stopping:
            raise _Stopped
        await super().heart_beat()
        ended = self.jobs_complete + self.jobs_failed + self.jobs_retried
        # Jobs that ended since the last look made room for others that may wait. While jobs run and nothing comes,
        # there is nothing to find: each look costs a question to Redis for every one of them.
        if ended == self._ended:
            await self._until_woken()
        self._ended = ended
        self._woken.clear()

    async def _until_woken(self) -> None:
        """Wait for a publication or for the end of a job, at most `idle_delay`."""
        woken = asyncio.create_task(self._woken.wait())
        running = [task for task in self.tasks.values() if not task.done()]
        try:
            await asyncio.wait([woken, *running], timeout=self._idle_delay, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def stop(self, patience: timedelta) -> None:
        """End the loop and let jobs end within `patience`, then interrupt those that still run; each of these goes back
        into the queue for the next worker."""
        self.allow_pick_jobs = False
        self._stopping = True
        self._woken.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_TIMEOUT)
            await _cancel(self._task)
        if self.has_jobs and patience:
            await asyncio.wait(self.tasks.values(), timeout=patience.total_seconds())
        until = asyncio.get_running_loop().time() + STOP_TIMEOUT
        while self.has_jobs and asyncio.get_running_loop().time() < until:
            # Only the handlers are cancelled: what arq does around them puts the job back.
            for job in self.job_tasks.values():
                job.cancel()
            await asyncio.wait(self.tasks.values(), timeout=0.05)
        await asyncio.gather(*(_cancel(task) for task in self.tasks.values()))


class _Stopped(Exception):
    """The worker was asked to end."""


async def _wake(redis: ArqRedis, channel: str, woken: asyncio.Event) -> None:
    """Set `woken` whenever something is published; a publication that is missed costs the worker's `idle_delay`."""
    while True:
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as subscription:
                await subscription.subscribe(channel)
                while True:
                    if await subscription.get_message(timeout=LISTEN_TURN) is not None:
                        woken.set()
        except (RedisError, OSError) as error:
            log.warning("queue_subscription_restarts", error=str(error))
            await asyncio.sleep(RESTART_PAUSE)


async def _cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task until it ends; whatever it ends with is of no interest any more."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)
    if not task.cancelled():
        task.exception()
