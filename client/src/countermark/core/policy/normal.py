"""Build provenance of several dialects in one form: what was built, by whom, from which commit. Pure.

What it returns is what the signer says. Nothing of it is proven: the policy compares it with the certificate.
Source: trust contract section 4 ("Normal form"); slsa-framework/slsa, spec/build-provenance.md, v1 and v0.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from countermark.core.policy.model import SLSA_V02, SLSA_V1

MAX_TEXT = 2048
"""Characters of a value that is looked at."""


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
        UnreadablePredicate: the type is another, or the predicate is not of it.
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
    metadata = _mapping(details.get("metadata", {}), "metadata")
    workflow = _mapping(outer.get("workflow", {}), "workflow")
    source = _optional(workflow.get("repository") or outer.get("repository") or outer.get("source"), "repository")
    commit = None
    for one in _list(definition.get("resolvedDependencies", []), "resolvedDependencies"):
        address, _ref = _parted(_text(_mapping(one, "resolvedDependencies").get("uri"), "uri"))
        if address == source:
            commit = _optional(_mapping(one.get("digest", {}), "digest").get("gitCommit"), "gitCommit")
            break
    return Normal(
        builder_id=_text(_mapping(details.get("builder"), "builder").get("id"), "builder.id"),
        build_type=_text(definition.get("buildType"), "buildType"),
        source=source,
        ref=_optional(workflow.get("ref"), "ref"),
        commit=commit,
        entry=_optional(workflow.get("path"), "path"),
        parameters=outer,
        started_on=_optional(metadata.get("startedOn"), "startedOn"),
        invocation=_optional(metadata.get("invocationId"), "invocationId"),
    )


def _v02(predicate: Mapping[str, Any]) -> Normal:
    invocation = _mapping(predicate.get("invocation", {}), "invocation")
    config = _mapping(invocation.get("configSource", {}), "configSource")
    metadata = _mapping(predicate.get("metadata", {}), "metadata")
    source, ref = _parted(_text(config.get("uri"), "configSource.uri"))
    return Normal(
        builder_id=_text(_mapping(predicate.get("builder"), "builder").get("id"), "builder.id"),
        build_type=_text(predicate.get("buildType"), "buildType"),
        source=source,
        ref=ref,
        commit=_optional(_mapping(config.get("digest", {}), "digest").get("sha1"), "sha1"),
        entry=_optional(config.get("entryPoint"), "entryPoint"),
        parameters=_mapping(invocation.get("parameters") or {}, "parameters"),
        started_on=_optional(metadata.get("buildStartedOn"), "buildStartedOn"),
        invocation=_optional(metadata.get("buildInvocationId"), "buildInvocationId"),
    )


def _parted(uri: str) -> tuple[str, str | None]:
    """Return the address of a repository, and the ref that stands behind it."""
    address, _, ref = uri.removeprefix("git+").partition("@")
    return address, ref or None


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
    return None if value is None else _text(value, what)
