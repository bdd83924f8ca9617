"""Which CI identity a trusted publisher is: what its identity tokens must say. Pure.

Pipelines of GitHub and GitLab are named by repository and workflow, whatever runs elsewhere by exact values of claims.
Source: contract python-index section 3.4.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.outside import InvalidDestination, parse_destination

Kind = Literal["github", "gitlab", "generic"]

KINDS: tuple[Kind, ...] = ("github", "gitlab", "generic")

ISSUERS: Mapping[str, str] = {
    "github": "https://token.actions.githubusercontent.com",
    "gitlab": "https://gitlab.com",
}
"""Kind -> the issuer of the public forge; a company's own has another."""

PINNED: Mapping[str, tuple[str, str]] = {
    "github": ("repository_id", "repository_owner_id"),
    "gitlab": ("project_id", "namespace_id"),
}
"""Kind -> claims with the ids of the repository and of its owner, which a name that is taken anew does not have."""

_MOST_TEXT = 255
"""Characters of a name; GitHub's and GitLab's longest."""

_MOST_CLAIMS = 16
_MOST_BYTES = 2000
"""Bytes of an identity as JSON: an entry of a Postgres index has at most some 2,700."""

_REPOSITORY = {
    "github": re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}\Z"),
    "gitlab": re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*(/[A-Za-z0-9_.][A-Za-z0-9_.-]*)+\Z"),
}
_WORKFLOW = {
    "github": re.compile(r"[A-Za-z0-9._-]+\.ya?ml\Z"),
    "gitlab": re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*\.ya?ml\Z"),
}
_CALLED = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+/\.github/workflows/[A-Za-z0-9._-]+\.ya?ml@[!-~]+\Z")
_ID = re.compile(r"[0-9]{1,20}\Z")


class InvalidIdentity(ValueError):
    """An identity cannot be registered so; the message says why."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A workflow of a repository of GitHub or GitLab.

    Attributes:
        workflow: file name below `.github/workflows` (GitHub), path of the CI configuration (GitLab).
        environment: of the deployment, which people can guard with reviews; None for any, also for none.
        ref: `refs/heads/main`; one that ends with `*` stands for all that begin so; None for any.
        ref_protected: whether it must be a branch or tag that the forge protects.
        runner_environment: for example `github-hosted`; None for any.
        called_workflow: where `workflow` calls a reusable one of another repository (GitHub): that one, as
            `owner/repository/.github/workflows/file.yml@ref`.
    """

    kind: Literal["github", "gitlab"]
    issuer: str
    repository: str
    workflow: str
    environment: str | None = None
    ref: str | None = None
    ref_protected: bool = False
    runner_environment: str | None = None
    called_workflow: str | None = None

    @property
    def subject(self) -> str:
        """By what it is found: the repository, however it is written."""
        return self.repository.lower()

    @property
    def specificity(self) -> tuple[bool, int]:
        """How much it demands: of two that match, the one that names the environment wins, then the stricter one."""
        more = (self.ref, self.ref_protected or None, self.runner_environment)
        return self.environment is not None, sum(one is not None for one in more)

    def to_document(self) -> dict[str, Any]:
        """Return it as the catalogue keeps it: what is not demanded is left out."""
        texts = {name: getattr(self, name) for name in ("repository", "workflow", *_OPTIONAL)}
        kept = {name: value for name, value in texts.items() if value is not None}
        return kept | ({"ref_protected": True} if self.ref_protected else {})


_OPTIONAL = ("environment", "ref", "runner_environment", "called_workflow")


@dataclass(frozen=True, slots=True)
class Exact:
    """Whatever an issuer calls so: claims -> their exact values, `sub` among them."""

    issuer: str
    claims: Mapping[str, str | int | bool] = field(default_factory=dict)
    kind: Literal["generic"] = "generic"

    @property
    def subject(self) -> str:
        """By what it is found."""
        return str(self.claims["sub"])

    @property
    def specificity(self) -> tuple[bool, int]:
        """How much it demands."""
        return "environment" in self.claims, len(self.claims)

    def to_document(self) -> dict[str, Any]:
        """Return it as the catalogue keeps it."""
        return {"claims": dict(self.claims)}


Identity = Pipeline | Exact


def parse_identity(kind: str, issuer: str | None, given: Mapping[str, Any]) -> Identity:
    """Read an identity that somebody registers, or that the catalogue keeps.

    Args:
        issuer: None for that of the public forge.
        given: as `to_document` returns it.

    Raises:
        InvalidIdentity: it cannot be one.
    """
    if kind not in KINDS:
        raise InvalidIdentity(f"there is no kind {kind!r} of publishers: use {', '.join(KINDS)}")
    checked = _issuer(kind, issuer)
    identity: Identity
    if kind == "generic":
        identity = Exact(checked, _claims(given))
    else:
        identity = _pipeline("github" if kind == "github" else "gitlab", checked, given)
    if len(json.dumps(identity.to_document()).encode()) > _MOST_BYTES:
        raise InvalidIdentity(f"it is longer than {_MOST_BYTES} bytes")
    return identity


def parse_pins(kind: str, given: Mapping[str, str | None]) -> dict[str, str]:
    """Return the ids that a registration names, by their claims.

    Args:
        given: `repository_id` and `owner_id`; None for those that the first token will tell.

    Raises:
        InvalidIdentity: one is no number, or the kind has none.
    """
    told = {name: value for name, value in given.items() if value is not None}
    if not told:
        return {}
    if kind not in PINNED:
        raise InvalidIdentity("ids of a repository and its owner belong to GitHub and GitLab: demand claims instead")
    names = dict(zip(("repository_id", "owner_id"), PINNED[kind], strict=True))
    for name, value in told.items():
        if not _ID.match(value):
            raise InvalidIdentity(f"{name} must be a number")
    return {names[name]: value for name, value in told.items()}


def _issuer(kind: str, issuer: str | None) -> str:
    found = issuer or ISSUERS.get(kind)
    if found is None:
        raise InvalidIdentity("name the issuer of its identity tokens: an https URL")
    try:
        destination = parse_destination(found)
    except InvalidDestination as error:
        raise InvalidIdentity(f"the issuer {found[:100]!r} cannot be used: {error}") from error
    if destination.scheme != "https":
        raise InvalidIdentity("the issuer must be an https URL: its keys are fetched from there")
    if kind != next((name for name, known in ISSUERS.items() if known == found), kind):
        raise InvalidIdentity(f"identity tokens of {found} are of another kind than {kind}")
    return found


def _pipeline(kind: Literal["github", "gitlab"], issuer: str, given: Mapping[str, Any]) -> Pipeline:
    repository, workflow = given.get("repository"), given.get("workflow")
    if not isinstance(repository, str) or len(repository) > _MOST_TEXT or not _REPOSITORY[kind].match(repository):
        what = "owner/name" if kind == "github" else "group/project"
        raise InvalidIdentity(f"name the repository as {what}")
    if not isinstance(workflow, str) or len(workflow) > _MOST_TEXT or not _WORKFLOW[kind].match(workflow):
        what = "its file name, such as release.yml" if kind == "github" else "its path, such as .gitlab-ci.yml"
        raise InvalidIdentity(f"name the workflow by {what}")
    called, protected = given.get("called_workflow"), given.get("ref_protected", False)
    if called is not None and (kind != "github" or not isinstance(called, str) or not _CALLED.match(called)):
        raise InvalidIdentity("name a called workflow of GitHub as owner/repository/.github/workflows/file.yml@ref")
    if not isinstance(protected, bool):
        raise InvalidIdentity("ref_protected must be true or false")
    optional = {name: _optional(given, name) for name in _OPTIONAL}
    return Pipeline(kind, issuer, repository, workflow, ref_protected=protected, **optional)


def _optional(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < len(value) <= _MOST_TEXT or not value.isprintable():
        raise InvalidIdentity(f"{name} must have 1 to {_MOST_TEXT} printable characters")
    if name == "ref" and not value.startswith("refs/"):
        raise InvalidIdentity("name the ref in full, such as refs/heads/main or refs/tags/*")
    return value


def _claims(given: Mapping[str, Any]) -> dict[str, str | int | bool]:
    claims = given.get("claims")
    if not isinstance(claims, dict) or not 0 < len(claims) <= _MOST_CLAIMS:
        raise InvalidIdentity(f"demand 1 to {_MOST_CLAIMS} claims, sub among them")
    for name, value in claims.items():
        if not name or not name.isprintable() or not isinstance(value, str | int) or len(str(value)) > 2 * _MOST_TEXT:
            raise InvalidIdentity("a claim has a printable name, and a text, a whole number, true or false as value")
    if not isinstance(claims.get("sub"), str) or not claims["sub"] or not claims["sub"].isprintable():
        raise InvalidIdentity("demand the claim sub: it says who a token is about")
    return dict(claims)
