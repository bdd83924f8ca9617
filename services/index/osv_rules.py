"""What a query for advisories asks: a project, maybe a version, and where its answer goes on. Pure.

Source: the OSV API, "POST /v1/query" and "POST /v1/querybatch"; the package URL specification, type "pypi".
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote

from countermark.core.names import InvalidName, NormalizedName, parse_project_name
from shared.errors import ErrorKind, ServiceError
from shared.formats.python.osv import ECOSYSTEM, MAX_VERSION, is_id

MAX_QUERIES = 1_000
"""Queries of one batch, as the public service has it."""

_PURL = "pkg:pypi/"

_AFTER = "after:"
"""Begins a page token; the id of the last advisory that was told follows."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A query.

    Attributes:
        version: None for every advisory about the project.
        after: id of the last advisory that was told, "" at the beginning.
    """

    project: NormalizedName
    version: str | None
    after: str


@dataclass(frozen=True, slots=True)
class Query:
    """The members of a query as they were sent."""

    name: str | None
    ecosystem: str | None
    purl: str | None
    version: str | None
    commit: str | None
    page_token: str | None


def read_query(query: Query) -> Asked:
    """Return what a query asks.

    An ecosystem of which nothing is kept is refused: to say that nothing is known of it would be taken for good news.

    Raises:
        ServiceError: INVALID, with what to ask instead.
    """
    if query.commit:
        raise _invalid("Commits are not looked up here: ask for a package and its version.")
    if query.purl:
        if query.name or query.ecosystem:
            raise _invalid("A package is named by purl, or by name and ecosystem, not by both.")
        name, version = read_purl(query.purl)
        if version is not None and query.version:
            raise _invalid("The version stands in the purl or in `version`, not in both.")
    else:
        if query.ecosystem != ECOSYSTEM:
            raise _invalid(f"Only packages of the ecosystem {ECOSYSTEM} are known here.")
        name, version = query.name or "", None
    version = version or query.version or None
    if version is not None and len(version) > MAX_VERSION:
        raise _invalid(f"A version has {MAX_VERSION} characters at the most.")
    try:
        project = parse_project_name(name)
    except InvalidName as error:
        raise _invalid(f"{error}.") from error
    return Asked(project, version, "" if not query.page_token else read_token(query.page_token))


def read_purl(purl: str) -> tuple[str, str | None]:
    """Return name and version of a package URL of a PyPI package.

    Raises:
        ServiceError: INVALID; it is another one's, or none.
    """
    scheme, path = purl[: len(_PURL)], purl[len(_PURL) :]
    if scheme.lower() != _PURL:
        raise _invalid(f"Only package URLs of the type pypi are known here: {_PURL}NAME@VERSION.")
    name, _, version = path.partition("#")[0].partition("?")[0].partition("@")
    return unquote(name), unquote(version) or None


def token_after(last: str) -> str:
    """Return the token of what follows an advisory; "" for the beginning."""
    return _AFTER + last


def read_token(token: str) -> str:
    """Return the advisory after which a page begins.

    Raises:
        ServiceError: INVALID; the token is none of ours.
    """
    last = token.removeprefix(_AFTER)
    if not token.startswith(_AFTER) or (last and not is_id(last)):
        raise _invalid("The page token is none of this server: start without one.")
    return last


def written(moment: datetime) -> str:
    """Return a time as OSV writes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _invalid(detail: str) -> ServiceError:
    return ServiceError(ErrorKind.INVALID, detail)
