"""Which index a route of the gateway is about, and whether the caller may do there what the route is for."""

from __future__ import annotations

from gateway.v1.callers import Callers
from gateway.writer import index_name_from
from shared.auth.access import decided, require, resolve
from shared.auth.directory import IndexRecord
from shared.auth.principal import Principal, Verb
from shared.errors import ErrorKind, ServiceError


async def may(callers: Callers, principal: Principal, verb: Verb, owner: str, index: str) -> IndexRecord:
    """Return the index that a path names, to which `principal` may do `verb`.

    Raises:
        ServiceError: NOT_FOUND, UNAUTHENTICATED, FORBIDDEN.
    """

    async def decide() -> IndexRecord:
        try:
            name = index_name_from(f"{owner}/{index}")
        except ServiceError as error:
            raise ServiceError(ErrorKind.NOT_FOUND, "There is no such index.") from error
        record = resolve(callers.directory, name)
        require(principal, verb, record)
        return record

    return await decided(callers.directory, decide)
