"""What an index shows of mirrored files: a page to read it, and a form for who may configure the index.

The gateway owns policies, so these pages write them directly (architecture section 11.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import quote_plus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.dashboard.desk import Desk, Visitor
from gateway.policies import own_policy
from gateway.policy_values import LONGEST_AGE, Given, written_age
from shared.auth.directory import IndexRecord
from shared.errors import ErrorKind, ServiceError
from shared.reading.policy import Policy

MOST_WRITTEN = 12_000
"""Bytes of all lists, as a form sends them, that the page lets people edit: a form takes little more."""

_LISTS = ("reserved", "denied", "allowed", "quarantined")


class PolicyPages:
    """The page `/indexes/{owner}/{index}/policy`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        base = "/indexes/{owner}/{index}/policy"
        self.routes: list[BaseRoute] = [Route(base, self.policy), Route(base, self.change, methods=["POST"])]

    async def policy(self, request: Request) -> Response:
        """Show the policy in a form."""
        visitor = await self._desk.visitor(request)
        record = self._desk.configured(visitor, request)
        saved = request.query_params.get("done") == "saved"
        return self._form(visitor, record, _written(await self._policy(record)), saved=saved)

    async def change(self, request: Request) -> Response:
        """Set what the form says; with a fault, show it again and what is wrong."""
        visitor, fields = await self._desk.posted(request)
        record = self._desk.configured(visitor, request)
        given: Given = {"min_age": fields.get("min_age", "").strip() or "0"}
        if all(name in fields for name in _LISTS):
            given["reserved"] = _lines(fields["reserved"])
            given["denied"] = _reasons(fields["denied"])
            given["allowed"] = _lines(fields["allowed"]) if "allowed_only" in fields else None
            given["quarantined"] = _reasons(fields["quarantined"])
        try:
            await self._desk.policies(visitor).change(record.name, given)
        except ServiceError as error:
            if error.kind is not ErrorKind.INVALID:
                raise
            kept = _written(await self._policy(record))
            typed = {name: fields.get(name, kept[name]) for name in ("min_age", *_LISTS)}
            typed["allowed_only"] = "on" if "allowed_only" in fields else ""
            return self._form(visitor, record, typed, fault=error.detail)
        await self._desk.directory.refresh()
        return RedirectResponse(f"/indexes/{record.name}/policy?done=saved", 303)

    async def _policy(self, record: IndexRecord) -> Policy:
        async with self._desk.backing.engine.connect() as connection:
            return await own_policy(connection, record.name, record.id)

    def _form(
        self,
        visitor: Visitor,
        record: IndexRecord,
        written: Mapping[str, str],
        *,
        fault: str | None = None,
        saved: bool = False,
    ) -> Response:
        length = sum(len(quote_plus(written[name])) for name in _LISTS)
        return self._desk.answer(
            "policy.html",
            visitor,
            200 if fault is None else 400,
            index=record,
            written=written,
            editable=fault is not None or length <= MOST_WRITTEN,
            everywhere=self._desk.backing.reserved,
            max_days=LONGEST_AGE.days,
            fault=fault,
            notice="Done. It counts for every page and file from now on." if saved else None,
        )


def _written(policy: Policy) -> dict[str, str]:
    """Return a policy as the form's fields have it: a line for each entry, its reason behind a colon."""
    return {
        "min_age": written_age(policy.min_age),
        "reserved": "\n".join(policy.reserved),
        "denied": _joined(policy.denied.items()),
        "allowed": "\n".join(sorted(policy.allowed or ())),
        "allowed_only": "" if policy.allowed is None else "on",
        "quarantined": _joined(policy.quarantined.items()),
    }


def _joined(reasons: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{name}: {reason}" for name, reason in sorted(reasons))


def _lines(text: str) -> list[str]:
    return [line for written in text.splitlines() if (line := written.strip())]


def _reasons(text: str) -> dict[str, str]:
    """Return what stands before the first colon of each line -> what stands behind it."""
    pairs = (line.partition(":") for line in _lines(text))
    return {name.strip(): reason.strip() for name, _, reason in pairs}
