"""Whether the claims of an identity token are those of a registered publisher, and which are not. Pure.

1. A publisher is found by its repository (GitHub, GitLab: however it is written) or by its `sub`.
2. Every claim that its kind lists must be there, and hold. What a token says beside them is not looked at.
3. The ids of repository and owner must be those that were registered, or that the first token told: a name that
   somebody else took since is not the same repository.

Source: contract python-index section 3.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from gateway.trusted_publishing.identities import PINNED, Exact, Identity, Pipeline

Claims = Mapping[str, Any]

_KEPT = {
    "github": (
        *("iss", "sub", "repository", "repository_id", "repository_owner", "repository_owner_id", "workflow_ref"),
        *("job_workflow_ref", "environment", "event_name", "ref", "sha", "run_id", "run_attempt", "actor"),
    ),
    "gitlab": (
        *("iss", "sub", "project_path", "project_id", "namespace_path", "namespace_id", "ci_config_ref_uri"),
        *("environment", "pipeline_source", "ref", "ref_path", "sha", "pipeline_id", "job_id", "user_login"),
    ),
}
"""Kind -> claims that are kept with the token: who it was, from which commit, in which run."""

_LISTED = {
    "github": (
        *("repository_owner", "repository_id", "repository_owner_id", "workflow_ref", "job_workflow_ref"),
        *("event_name", "sha", "run_id"),
    ),
    "gitlab": ("project_id", "namespace_id", "namespace_path", "ci_config_ref_uri", "sha", "pipeline_id", "job_id"),
}
"""Kind -> claims that must be there as texts, beside the one that a publisher is found by."""

_MOST_SHOWN = 200
"""Characters of a claim's value that are shown."""


def subjects_of(claims: Claims) -> list[str]:
    """Return by what publishers of a token are found; see `Identity.subject`."""
    repositories = (claims.get(name) for name in ("repository", "project_path"))
    found = [name.lower() for name in repositories if isinstance(name, str) and name.isascii()]
    return [*found, *([claims["sub"]] if isinstance(claims.get("sub"), str) else [])]


def is_found(identity: Identity, claims: Claims) -> bool:
    """Return whether a token is of the repository, or the subject, that a publisher is found by."""
    match identity:
        case Exact():
            return same_value(claims.get("sub"), identity.claims["sub"])
        case Pipeline():
            name = claims.get(_repository_claim(identity))
            return isinstance(name, str) and _same(name, identity.repository)


def faults_of(identity: Identity, pinned: Mapping[str, str], claims: Claims) -> list[str]:
    """Return what of a token's claims is not the publisher's, a clause each; nothing when it is the publisher's own.

    Only values of the token itself are told.

    Args:
        identity: one by which the token is found (`is_found`).
        pinned: claim -> id, of those that are known.
    """
    if not is_found(identity, claims):
        return ["it is another one's"]
    match identity:
        case Exact():
            differing = (name for name, value in identity.claims.items() if not same_value(claims.get(name), value))
            return [_differs(claims, name) for name in differing]
        case Pipeline():
            missing = [name for name in _LISTED[identity.kind] if _text(claims, name) is None]
            if missing:
                return [f"the claim {name} is missing" for name in missing]
            wrong = _github(identity, claims) if identity.kind == "github" else _gitlab(identity, claims)
            return [*wrong, *_constraints(identity, claims), *_moved(pinned, claims)]


def pins_of(identity: Identity, claims: Claims) -> dict[str, str]:
    """Return the ids of repository and owner that a token says; none where the kind has none."""
    return {name: str(claims[name]) for name in PINNED.get(identity.kind, ())}


def kept_of(identity: Identity, claims: Claims) -> dict[str, Any]:
    """Return the claims that are kept with a token: identifiers, bounded by the identity token's own length."""
    names = _KEPT.get(identity.kind) or ("iss", *(identity.claims if isinstance(identity, Exact) else ()))
    return {name: claims[name] for name in names if name in claims}


def name_of(identity: Identity, claims: Claims) -> str:
    """Return how a publisher is named as the one who uploads; no account can be called so."""
    match identity:
        case Exact():
            return f"oidc:{urlsplit(identity.issuer).netloc}/{identity.subject}"
        case Pipeline():
            return f"{identity.kind}:{claims[_repository_claim(identity)]}"


def same_value(found: Any, wanted: str | int | bool) -> bool:
    """Return whether two JSON values are one: neither 1 and true, nor 1 and "1"."""
    return type(found) is type(wanted) and bool(found == wanted)


def shown(value: object) -> str:
    """Return a claim's value for a message."""
    text = value if isinstance(value, str) else repr(value)
    return ascii(text[:_MOST_SHOWN])


def _repository_claim(identity: Pipeline) -> str:
    return "repository" if identity.kind == "github" else "project_path"


def _github(identity: Pipeline, claims: Claims) -> Iterator[str]:
    repository = str(claims["repository"])
    if not _same(str(claims["repository_owner"]), repository.partition("/")[0]):
        yield _differs(claims, "repository_owner")
    # A token's own ref and commit: a workflow of another branch is told as such by both.
    ends = [f"@{end}" for end in (_text(claims, "ref"), _text(claims, "sha")) if end is not None]
    own = {f"{repository}/.github/workflows/{identity.workflow}{end}" for end in ends}
    if identity.called_workflow is None:
        if claims["job_workflow_ref"] not in own:
            yield _differs(claims, "job_workflow_ref")
    else:
        if claims["workflow_ref"] not in own:
            yield _differs(claims, "workflow_ref")
        if claims["job_workflow_ref"] != identity.called_workflow:
            yield _differs(claims, "job_workflow_ref")
    if claims["event_name"] == "pull_request_target":
        yield "the claim event_name is 'pull_request_target': what strangers propose could publish so"


def _gitlab(identity: Pipeline, claims: Claims) -> Iterator[str]:
    project = str(claims["project_path"])
    if not str(claims["sub"]).startswith(f"project_path:{project}:"):
        yield _differs(claims, "sub")
    if not _same(str(claims["namespace_path"]), project.rpartition("/")[0]):
        yield _differs(claims, "namespace_path")
    ends = [f"@{end}" for end in (_text(claims, "ref_path"), _text(claims, "sha")) if end is not None]
    host = urlsplit(identity.issuer).netloc
    if claims["ci_config_ref_uri"] not in {f"{host}/{project}//{identity.workflow}{end}" for end in ends}:
        yield _differs(claims, "ci_config_ref_uri")


def _constraints(identity: Pipeline, claims: Claims) -> Iterator[str]:
    environment = _text(claims, "environment")
    if identity.environment is not None:
        same = _same_any_case if identity.kind == "github" else str.__eq__
        if environment is None or not same(environment, identity.environment):
            yield _differs(claims, "environment")
    ref = "ref" if identity.kind == "github" else "ref_path"
    if identity.ref is not None and not _within(_text(claims, ref), identity.ref):
        yield _differs(claims, ref)
    if identity.ref_protected and claims.get("ref_protected") != "true":
        yield _differs(claims, "ref_protected")
    if identity.runner_environment is not None and claims.get("runner_environment") != identity.runner_environment:
        yield _differs(claims, "runner_environment")


def _moved(pinned: Mapping[str, str], claims: Claims) -> Iterator[str]:
    for name, value in pinned.items():
        if claims[name] != value:
            told = f"the claim {name} is {shown(claims[name])}"
            yield f"{told}: the repository of this name is another one than at first, register the publisher anew"


def _within(ref: str | None, wanted: str) -> bool:
    if ref is None:
        return False
    return ref.startswith(wanted[:-1]) if wanted.endswith("*") else ref == wanted


def _differs(claims: Claims, name: str) -> str:
    if name not in claims:
        return f"the claim {name} is missing"
    return f"the claim {name} is {shown(claims[name])}, and the publisher was registered with another"


def _same(found: str, wanted: str) -> bool:
    # Names of repositories are ASCII: nothing else can be lower case for them.
    return found.isascii() and found.lower() == wanted.lower()


def _same_any_case(found: str, wanted: str) -> bool:
    return found.casefold() == wanted.casefold()


def _text(claims: Claims, name: str) -> str | None:
    value = claims.get(name)
    return value if isinstance(value, str) and value else None
