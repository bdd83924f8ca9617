"""Build provenance of several dialects in one form: what was built, by whom, from which commit. Pure.

What it returns is what the signer says. Nothing of it is proven: the policy compares it with the certificate.
Source: trust contract section 4 ("Normal form"); slsa-framework/slsa, spec/build-provenance.md, v1 and v0.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from countermark.core.policy.dialects import Dialect, dialect_of
from countermark.core.policy.model import SLSA_V02, SLSA_V1

MAX_TEXT = 2048
"""Characters of a value that is looked at."""

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")


class UnreadablePredicate(ValueError):
    """A predicate that is not what its type describes, or that two readers might read differently."""


@dataclass(frozen=True, slots=True)
class Normal:
    """Build provenance, read.

    Attributes:
        source: address of the repository, without `git+` and ref.
        ref: full: `refs/tags/v1`.
        commit: hexadecimal.
        entry: what was run: the path of a workflow, the name of a job.
        parameters: that a person could choose.
        started_on: as written, RFC 3339.
        invocation: identifier or address of the run.
    """

    builder_id: str
    build_type: str
    source: str | None = None
    ref: str | None = None
    commit: str | None = None
    entry: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    started_on: str | None = None
    invocation: str | None = None


def normal_form(predicate_type: str, predicate: Mapping[str, Any] | None) -> Normal:
    """Read build provenance.

    Raises:
        UnreadablePredicate: the type is another, or the predicate is not of it; it has a parameter that its build type
            does not know; or it names its source twice and differently.
    """
    if predicate_type == SLSA_V1:
        return _v1(_mapping(predicate, "predicate"))
    if predicate_type == SLSA_V02:
        return _v02(_mapping(predicate, "predicate"))
    raise UnreadablePredicate(f"{predicate_type[:100]!r} is no type of build provenance")


def _v1(predicate: Mapping[str, Any]) -> Normal:
    definition = _mapping(predicate.get("buildDefinition"), "buildDefinition")
    details = _mapping(predicate.get("runDetails"), "runDetails")
    outer = _mapping(definition.get("externalParameters"), "externalParameters")
    metadata = _mapping(details.get("metadata") or {}, "metadata")
    build_type = _text(definition.get("buildType"), "buildType")
    dialect = dialect_of(build_type)
    _known(outer, dialect)
    workflow = _mapping((outer.get("workflow") if dialect.workflow else None) or {}, "externalParameters.workflow")
    _workflow_known(workflow, dialect)
    source = _one(dialect.sources, outer, workflow, "the source")
    ref = _one(dialect.refs, outer, workflow, "the ref")
    dependencies = _list(definition.get("resolvedDependencies") or [], "resolvedDependencies")
    if source is not None:
        source, inner = _parted(source)
        ref = _agreed(ref, inner)
        ref, commit = _confirmed(source, ref, dependencies, dialect)
    else:
        commit = None
    return Normal(
        builder_id=_text(_mapping(details.get("builder"), "builder").get("id"), "builder.id"),
        build_type=build_type,
        source=source,
        ref=ref,
        commit=commit,
        entry=_one(dialect.entries, outer, workflow, "the entry point"),
        parameters=outer,
        started_on=_optional(metadata.get("startedOn"), "startedOn"),
        invocation=_optional(metadata.get("invocationId"), "invocationId"),
    )


def _v02(predicate: Mapping[str, Any]) -> Normal:
    invocation = _mapping(predicate.get("invocation") or {}, "invocation")
    config = _mapping(invocation.get("configSource") or {}, "configSource")
    metadata = _mapping(predicate.get("metadata") or {}, "metadata")
    build_type = _text(predicate.get("buildType"), "buildType")
    dialect = dialect_of(build_type)
    source = ref = commit = None
    if (uri := _optional(config.get("uri"), "configSource.uri")) is not None:
        source, ref = _parted(uri)
        commit = _commit(config.get("digest"), dialect)
        materials = _list(predicate.get("materials") or [], "materials")
        if materials or dialect.lists_materials:
            first = _mapping(materials[0] if materials else None, "materials[0]")
            if first.get("uri") != uri:
                raise UnreadablePredicate("configSource.uri is not the first of the materials")
            _agreed(commit, _commit(first.get("digest"), dialect))
    return Normal(
        builder_id=_text(_mapping(predicate.get("builder"), "builder").get("id"), "builder.id"),
        build_type=build_type,
        source=source,
        ref=ref,
        commit=commit,
        entry=_optional(config.get("entryPoint"), "entryPoint"),
        parameters=_mapping(invocation.get("parameters") or {}, "parameters"),
        started_on=_optional(metadata.get("buildStartedOn"), "buildStartedOn"),
        invocation=_optional(metadata.get("buildInvocationId"), "buildInvocationId"),
    )


def _known(outer: Mapping[str, Any], dialect: Dialect) -> None:
    """Refuse parameters that might change what was built, and that nobody here looks at."""
    for key, value in outer.items():
        if key in dialect.parameters:
            continue
        # The runner of GitLab lists the names of all variables, without their values.
        if not dialect.lists_variables or not isinstance(value, str):
            raise UnreadablePredicate(f"externalParameters has {str(key)[:60]!r}, which its build type does not know")


def _workflow_known(workflow: Mapping[str, Any], dialect: Dialect) -> None:
    if unknown := sorted(map(str, workflow.keys() - dialect.workflow)):
        raise UnreadablePredicate(f"externalParameters.workflow has {unknown[0][:60]!r}, which is not known")


def _one(
    places: Sequence[tuple[str, ...]], outer: Mapping[str, Any], workflow: Mapping[str, Any], what: str
) -> str | None:
    """Return what stands at one of some places; the same where it stands at several."""
    found = None
    for place in places:
        inside = workflow if place[0] == "workflow" else outer
        value = _optional(inside.get(place[-1]), ".".join(place))
        if value is not None and found not in {None, value}:
            raise UnreadablePredicate(f"{what} is named twice and differently")
        found = found or value
    return found


def _confirmed(
    source: str, ref: str | None, dependencies: Sequence[Any], dialect: Dialect
) -> tuple[str | None, str | None]:
    """Return ref and commit of the source, as the dependency that is the source has them."""
    commits: set[str] = set()
    refs: set[str] = set()
    confirmed = False
    for one in dependencies:
        dependency = _mapping(one, "resolvedDependencies")
        uri = dependency.get("uri")
        address, stated = _parted(uri) if isinstance(uri, str) else ("", None)
        if address != source or (ref is not None and stated not in {None, ref}):
            continue
        confirmed = True
        refs |= set() if stated is None else {stated}
        if (commit := _commit(dependency.get("digest"), dialect)) is not None:
            commits.add(commit)
    if not confirmed:
        raise UnreadablePredicate("no resolved dependency is the source that the parameters name")
    if len(commits) > 1 or len(refs) > 1:
        raise UnreadablePredicate("the resolved dependencies name several commits of the source")
    return ref or next(iter(refs), None), next(iter(commits), None)


def _commit(digest: Any, dialect: Dialect) -> str | None:
    digests = _mapping(digest or {}, "digest")
    found = None
    for key in dialect.digests:
        value = _optional(digests.get(key), f"digest.{key}")
        if value is None:
            continue
        if not _COMMIT.match(value):
            raise UnreadablePredicate(f"digest.{key} is no commit: {value[:70]!r}")
        found = _agreed(found, value)
    return found


def _agreed(one: str | None, other: str | None) -> str | None:
    if one is not None and other is not None and one != other:
        raise UnreadablePredicate(f"the predicate says both {one[:80]!r} and {other[:80]!r}")
    return one if one is not None else other


def _parted(uri: str) -> tuple[str, str | None]:
    """Return the address of a repository, and the ref that stands behind it."""
    scheme, separator, rest = _text(uri, "uri").removeprefix("git+").partition("://")
    address, _, ref = rest.partition("@")
    # ssh://git@host/...: that `@` is no ref's.
    if ref and "/" not in address:
        address, _, ref = ref.partition("@")
        address = f"{rest.partition('@')[0]}@{address}"
    return f"{scheme}{separator}{address}", ref or None


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UnreadablePredicate(f"{what} is missing or no object")
    return value


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise UnreadablePredicate(f"{what} is no list")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT:
        raise UnreadablePredicate(f"{what} is missing, no text or longer than {MAX_TEXT} characters")
    return value


def _optional(value: Any, what: str) -> str | None:
    return None if value is None or value == "" else _text(value, what)
