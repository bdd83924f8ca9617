"""What becomes of a file whose chain broke when it was read: refused in words, and held where the fault is its own.

| whose fault | answer | held | alarm |
|---|---|---|---|
| the file's: bytes, digests, attestations, identities, rows | 403 | yes | when the hold is asked for |
| the policy's: it does not take what holds | 403 | no | once per file and policy |
| the index's: metadata, what to judge by, a store that lacks something | 503 | no | once a minute and file |

Source: ADR 0039; ADR 0044.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from services.download.entries import Hosted
from services.download.verification.steps import NAMES, POLICY, Fault, Step, fault_of
from shared.auth.directory import IndexRecord
from shared.catalogue import audit
from shared.catalogue.tables import File, Outbox
from shared.catalogue.unit_of_work import UnitOfWork
from shared.errors import ErrorKind, ServiceError
from shared.jobs.messages import HoldFile
from shared.resources import Resources

log = structlog.get_logger()

_MOST = 50_000
"""Files of which the last alarms are remembered, one of each fault."""

_AGAIN_SECONDS = 60.0
"""Between two alarms that the same file of a broken index gives."""

_MOST_WORDS = 400
_RETRY_AFTER = timedelta(seconds=5)


About = tuple[str, int, object]
"""What an alarm is about: the step, the exit code, and the digest of the policy that was asked."""


@dataclass(frozen=True, slots=True)
class _Alarm:
    """The last alarm of a file and a fault; the same is not given again until then (monotonic seconds)."""

    about: About
    until: float


class Refusals:
    """Refuses files, with alarms."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        # From the beginning: the first alarm of a series that nobody has seen would be no increase to who watches it.
        resources.metrics.expect_refused_reads(
            [(name, fault) for name in NAMES for fault in Fault if (fault is not Fault.OF_THE_POLICY or name == POLICY)]
        )
        self._alarms: OrderedDict[tuple[Hashable, Fault], _Alarm] = OrderedDict()

    def forget(self, key: Hashable) -> None:
        """Note that a file's chain holds: the next that breaks is another alarm."""
        for fault in Fault:
            self._alarms.pop((key, fault), None)

    async def refuse(self, key: Hashable, owner: IndexRecord, hosted: Hosted, failure: Step) -> ServiceError:
        """Return what is told of a file whose chain is broken; give the alarm, and have it held where it is its own
        fault."""
        fault = fault_of(failure)
        facts = {"step": failure.name, "exit_code": str(failure.exit_code)}
        why = f"verification on read failed at step {failure.number}, {failure.name}: {_ascii(failure.reason)}"
        why = why[:_MOST_WORDS]
        if self._is_new(key, failure):
            match fault:
                case Fault.OF_THE_FILE:
                    await self._hold(key, owner, hosted, failure, why)
                case Fault.OF_THE_POLICY:
                    self._alarm(owner, hosted, failure, why)
                    self._note(key, failure, math.inf)
                case Fault.OF_THE_INDEX:
                    self._alarm(owner, hosted, failure, why)
                    self._note(key, failure, _AGAIN_SECONDS)
        match fault:
            case Fault.OF_THE_FILE:
                return ServiceError(ErrorKind.FORBIDDEN, f"{hosted.file_name} is held for review: {why}", facts=facts)
            case Fault.OF_THE_POLICY:
                return _refused_by_policy(owner, hosted, failure, facts)
            case Fault.OF_THE_INDEX:
                words = (
                    f"{hosted.file_name} cannot be served: {why}. The operator sees it in the log; nothing was sent."
                )
                return ServiceError(ErrorKind.UNAVAILABLE, words, retry_after=_RETRY_AFTER, facts=facts)

    def _is_new(self, key: Hashable, failure: Step) -> bool:
        last = self._alarms.get((key, fault_of(failure)))
        return last is None or last.about != _about(failure) or last.until <= time.monotonic()

    def _note(self, key: Hashable, failure: Step, seconds: float) -> None:
        """Remember that an alarm was given, for some seconds."""
        place = key, fault_of(failure)
        self._alarms[place] = _Alarm(_about(failure), time.monotonic() + seconds)
        self._alarms.move_to_end(place)
        if len(self._alarms) > _MOST:
            self._alarms.popitem(last=False)

    def _alarm(self, owner: IndexRecord, hosted: Hosted, failure: Step, why: str) -> None:
        fault = fault_of(failure)
        self._resources.metrics.refused_read(failure.name, fault)
        told = {"step": failure.name, "exit_code": str(failure.exit_code), "policy": _about(failure)[2], "reason": why}
        level = log.warning if fault is Fault.OF_THE_POLICY else log.error
        level("read_refused", index=str(owner.name), file=hosted.file_name, fault=str(fault), **told)

    async def _hold(self, key: Hashable, owner: IndexRecord, hosted: Hosted, failure: Step, why: str) -> None:
        """Have a file held, with an alarm; a catalogue that is away is asked at the next read."""
        try:
            asked = await self._ask_to_hold(owner, hosted, failure, why)
        except (SQLAlchemyError, OSError) as error:
            log.error("hold_not_asked", file=hosted.file_name, error=str(error)[:500])
            self._alarm(owner, hosted, failure, why)
            return
        if asked:
            self._alarm(owner, hosted, failure, why)
            self._note(key, failure, _AGAIN_SECONDS)

    async def _ask_to_hold(self, owner: IndexRecord, hosted: Hosted, failure: Step, why: str) -> bool:
        """Ask the upload service to hold a file; returns False where it is asked or done already.

        Raises:
            SQLAlchemyError, OSError: the catalogue cannot be used now.
        """
        told: dict[str, Any] = {
            "file": hosted.file_name,
            "reason": why,
            "step": failure.name,
            "code": failure.exit_code,
        }
        waiting = select(Outbox.id).where(
            Outbox.index_id == owner.id,
            Outbox.kind == HoldFile.kind,
            Outbox.ids["file_id"].astext == str(hosted.id),
            Outbox.done_at.is_(None),
            Outbox.dead_at.is_(None),
        )
        held = select(File.id).where(File.id == hosted.id, File.held_at.is_not(None))
        async with UnitOfWork(self._resources.engine) as work:
            if await work.connection.scalar(select(waiting.exists() | held.exists())):
                return False
            audit_id = await audit.record(
                work.connection,
                at=self._resources.clock.now(),
                actor="download",
                action="file.unverified",
                subject=f"{owner.name}/{hosted.file_name}",
                **told,
            )
            await work.enqueue(HoldFile(owner.id, hosted.id, audit_id))
            await work.commit()
        return True


def _about(failure: Step) -> About:
    return failure.name, failure.exit_code, failure.evidence.get("policy_sha256")


def _refused_by_policy(owner: IndexRecord, hosted: Hosted, failure: Step, facts: dict[str, str]) -> ServiceError:
    """Return which rule does not take a file, and what ends that: nothing is to be released by anybody."""
    verdict = failure.evidence.get("verdict") or {}
    rule = _ascii(str(verdict.get("rule") or "none"))[:200]
    words = (
        f"{hosted.file_name} is not served by {owner.name}, whose signed policy does not take it (rule {rule}): "
        f"{_ascii(failure.reason)[:_MOST_WORDS]}. It is not held: it is served again as soon as the policy takes it, "
        f"by a newer attestation of it, or by what the holders of trust sign next."
    )
    return ServiceError(ErrorKind.FORBIDDEN, words, facts=facts | {"rule": rule})


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
