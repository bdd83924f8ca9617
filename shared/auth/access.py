"""From a request to a principal that may do what it asks, or the refusal in the words every face shares.

Source: architecture sections 5.8 and 11.5; contract python-index sections 1.7 and 2.2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from packaging.utils import NormalizedName

from countermark.core.names import IndexName
from shared.auth.directory import Directory, IndexRecord
from shared.auth.permissions import Decision, authorize, authorize_some_project
from shared.auth.principal import NOBODY, Principal, Verb
from shared.auth.verifier import BadCredentials, Verifier
from shared.errors import ErrorKind, ServiceError

_T = TypeVar("_T")

_OF_THE_DIRECTORY = frozenset([ErrorKind.FORBIDDEN, ErrorKind.NOT_FOUND])
"""Refusals that something made a moment ago may end. Missing credentials are missing whatever the catalogue says, and
unknown ones the verifier looks up itself: so the first request of an installer, sent without, costs no look."""


async def decided(directory: Directory, decide: Callable[[], Awaitable[_T]]) -> _T:
    """Return what `decide` finds; a refusal stands only when nothing was granted or made a moment ago elsewhere.

    Args:
        decide: reads `directory` and changes nothing; called again when the catalogue says more than memory did.

    Raises:
        ServiceError: what `decide` refuses with.
    """
    before = directory.generation
    try:
        return await decide()
    except ServiceError as refusal:
        if refusal.kind not in _OF_THE_DIRECTORY:
            raise
        await directory.look_again()
        if directory.generation == before:
            raise
    return await decide()


def credentials_in(headers: Mapping[str, str]) -> str | None:
    """Return the credentials of a request as an Authorization header; the devpi client's own header wins.

    Source: contract devpi section 2.
    """
    devpi = headers.get("x-devpi-auth")
    return headers.get("authorization") if devpi is None else f"Basic {devpi}"


async def reader(verifier: Verifier, header: str | None) -> Principal:
    """Return who reads; wrong credentials on a read count as none, so that what is open stays open."""
    try:
        return await verifier.verify(header)
    except BadCredentials:
        return NOBODY


async def identified(verifier: Verifier, header: str | None) -> Principal:
    """Return who asks, nobody without credentials; where what is asked for is not open, wrong ones are an error.

    Raises:
        ServiceError: unauthenticated for wrong credentials, too-many after too many of them.
    """
    try:
        return await verifier.verify(header)
    except BadCredentials as error:
        kind = ErrorKind.UNAUTHENTICATED if error.retry_after is None else ErrorKind.TOO_MANY
        raise ServiceError(kind, f"{error}.", retry_after=error.retry_after) from error


async def writer(verifier: Verifier, header: str | None) -> Principal:
    """Return who writes.

    Raises:
        ServiceError: unauthenticated, when there are no credentials or wrong ones; too-many after too many wrong ones.
    """
    principal = await identified(verifier, header)
    if principal.is_anonymous:
        raise ServiceError(
            ErrorKind.UNAUTHENTICATED,
            "Credentials are needed: send a token as password with any user name, or as Bearer.",
        )
    return principal


def is_administrator(directory: Directory, principal: Principal) -> bool:
    """Return whether `principal` may change what belongs to the deployment: it may configure the default index."""
    record = None if directory.default_index is None else directory.index(directory.default_index)
    return record is not None and authorize(principal, Verb.CONFIGURE, record.resource()) is Decision.ALLOWED


def resolve(directory: Directory, name: IndexName | None) -> IndexRecord:
    """Return the index a path means; None means the deployment's default index.

    Raises:
        ServiceError: not-found.
    """
    wanted = name or directory.default_index
    record = None if wanted is None else directory.index(wanted)
    if record is None:
        raise ServiceError(ErrorKind.NOT_FOUND, f"There is no index {wanted}.")
    return record


def may_read(principal: Principal, index: IndexRecord) -> bool:
    """Return whether `principal` may read an index. For hot paths: from memory."""
    return authorize(principal, Verb.READ, index.resource()) is Decision.ALLOWED


def require(principal: Principal, verb: Verb, index: IndexRecord, project: NormalizedName | None = None) -> None:
    """Return when `principal` may do `verb` to an index, or to a project in it.

    Raises:
        ServiceError: unauthenticated for nobody, forbidden for somebody; the words say what is missing.
    """
    _refuse(authorize(principal, verb, index.resource(project)), principal, verb, index)


def require_some_project(principal: Principal, verb: Verb, index: IndexRecord) -> None:
    """Return when `principal` may do `verb` to at least some project of an index: the check before a body is read."""
    _refuse(authorize_some_project(principal, verb, index.resource()), principal, verb, index)


def _refuse(decision: Decision, principal: Principal, verb: Verb, index: IndexRecord) -> None:
    if decision is Decision.ALLOWED:
        return
    if decision is Decision.NEEDS_CREDENTIALS:
        detail = f"Index {index.name}: credentials are needed to {verb}: send a token as password, with any user name."
        raise ServiceError(ErrorKind.UNAUTHENTICATED, detail)
    reason = decision.value
    raise ServiceError(ErrorKind.FORBIDDEN, f"{principal.account} may not {verb} on {index.name}: {reason}.")
