"""Verification summaries: what another verifier says that it found of a file. Strict, bounded, nothing believed. Pure.

Source: slsa-framework/slsa, spec/verification_summary.md (v1); trust contract section 4 (VSA); ADR 0043.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from countermark.core.digest import InvalidDigest, Sha256, parse_sha256

SUMMARY = "https://slsa.dev/verification_summary/v1"
"""Type of the predicate."""

OWN_RESOURCE = "countermark:{index}/{project}/{version}/{file}"
"""How a registry of this kind names a file in `resourceUri`; see `resource_uri`."""

PASSED, FAILED = "PASSED", "FAILED"

MAX_TEXT = 2048
"""Characters of a value."""

MAX_LEVELS, MAX_INPUTS = 64, 1024

_LEVEL = re.compile(r"SLSA_BUILD_LEVEL_([0-4])\Z")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})\Z")
_ALGORITHM = re.compile(r"[A-Za-z0-9_/-]{1,40}\Z")
_HEX = re.compile(r"[0-9a-f]{2,128}\Z")


class UnreadableSummary(ValueError):
    """A predicate that is no verification summary."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A verification summary, read.

    Attributes:
        resource_uri: of what was verified.
        policy_sha256: of the policy that it was verified by; None where only its address is given.
        passed: whether it passed; a `FAILED` among the levels is none.
        level: the highest build level that is claimed; what is no `SLSA_BUILD_LEVEL_n` never counts.
        verified_at: seconds since 1970; None where it is not said.
    """

    verifier_id: str
    resource_uri: str
    policy_uri: str
    policy_sha256: Sha256 | None
    passed: bool
    level: int
    verified_at: int | None


def read_summary(predicate: Mapping[str, Any] | None) -> Summary:
    """Read the predicate of a verification summary. Fields that are not known are ignored, as in-toto asks.

    Raises:
        UnreadableSummary: a field that is needed is missing, or one is not what its type describes.
    """
    fields = _mapping(predicate, "predicate")
    policy = _mapping(fields.get("policy"), "policy")
    result = fields.get("verificationResult")
    if result not in (PASSED, FAILED):
        raise UnreadableSummary(f"verificationResult is neither {PASSED} nor {FAILED}")
    levels = [_text(one, "verifiedLevels") for one in _list(fields.get("verifiedLevels"), "verifiedLevels", MAX_LEVELS)]
    _check_inputs(fields.get("inputAttestations"))
    _check_dependencies(fields.get("dependencyLevels"))
    if fields.get("slsaVersion") is not None:
        _text(fields["slsaVersion"], "slsaVersion")
    return Summary(
        verifier_id=_text(_mapping(fields.get("verifier"), "verifier").get("id"), "verifier.id"),
        resource_uri=_text(fields.get("resourceUri"), "resourceUri"),
        policy_uri=_text(policy.get("uri"), "policy.uri"),
        policy_sha256=None if policy.get("digest") is None else _sha256(policy["digest"], "policy.digest"),
        passed=result == PASSED and FAILED not in levels,
        level=max((int(found[1]) for one in levels if (found := _LEVEL.match(one))), default=0),
        verified_at=_time(fields.get("timeVerified")),
    )


def resource_uri(template: str, *, index: str, project: str, version: str, file_name: str) -> str:
    """Return the address of a file by which a verifier names it.

    Args:
        template: with `{index}`, `{project}`, `{version}`, `{file}`, each of which is put in percent-encoded (`+` as
            `%2B`; letters, digits, `-._~!` as they are, and the `/` of an index).
        index: `owner/name`.
        project: normalised.
        version: as its pointer has it.
        file_name: as pages list it.
    """
    values = {"index": quote(index, safe="!/"), "project": quote(project, safe="!")}
    values |= {"version": quote(version, safe="!"), "file": quote(file_name, safe="!")}
    # In one go: what is put in is text, whatever it looks like.
    return _PLACE.sub(lambda found: values[found[1]], template)


_PLACE = re.compile(r"\{(index|project|version|file)\}")


def _check_inputs(value: Any) -> None:
    if value is None:
        return
    for one in _list(value, "inputAttestations", MAX_INPUTS):
        _sha256(_mapping(one, "inputAttestations").get("digest"), "inputAttestations.digest")


def _check_dependencies(value: Any) -> None:
    if value is None:
        return
    levels = _mapping(value, "dependencyLevels")
    if len(levels) > MAX_LEVELS or any(type(count) is not int or count < 0 for count in levels.values()):
        raise UnreadableSummary(f"dependencyLevels is no object of at most {MAX_LEVELS} counts")


def _sha256(value: Any, what: str) -> Sha256 | None:
    """Return the sha256 of a set of digests, which are all hexadecimal; None where it has others alone."""
    digests = _mapping(value, what)
    if not 1 <= len(digests) <= MAX_LEVELS:
        raise UnreadableSummary(f"{what} is no set of 1 to {MAX_LEVELS} digests")
    for name, digest in digests.items():
        if not _ALGORITHM.match(str(name)) or not isinstance(digest, str) or not _HEX.match(digest):
            raise UnreadableSummary(f"{what} has {str(name)[:40]!r}, which is no hexadecimal digest")
    found = digests.get("sha256")
    try:
        # The prefix that other places may write has no place in a set of digests.
        return None if found is None else parse_sha256(found)
    except InvalidDigest as error:
        raise UnreadableSummary(f"{what}.sha256 is none") from error


def _time(value: Any) -> int | None:
    if value is None:
        return None
    try:
        if not isinstance(value, str) or not _TIME.match(value):
            raise ValueError(value)
        return int(datetime.fromisoformat(value).timestamp())
    except (ValueError, OverflowError) as error:
        raise UnreadableSummary("timeVerified is no time as 2026-01-02T03:04:05Z") from error


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UnreadableSummary(f"{what} is missing or no object")
    return value


def _list(value: Any, what: str, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise UnreadableSummary(f"{what} is missing or no list of at most {most}")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT:
        raise UnreadableSummary(f"{what} is missing, no text or longer than {MAX_TEXT} characters")
    return value
