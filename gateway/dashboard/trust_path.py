"""A file's trust path as its page shows it: commit, build, attestation, signed metadata, bytes. Pure.

Whatever stands on it says what it is: verified (a signature, log or digest bears it out), the publisher's claim (the
signer wrote it and nothing bears it out), or contradicted (a certificate says otherwise). What did not verify is no
evidence, and is not shown.
Source: trust contract sections 3.3 and 4; ADR 0039.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from countermark.core.attestations.facts import EXTENSIONS
from gateway.dashboard.shapes import StepLine, Verification
from gateway.words import bounded, utc

Evidence = Mapping[str, Any]


class Mark(StrEnum):
    """What a fact is."""

    VERIFIED = "verified"
    CLAIM = "claim"
    CONTRADICTED = "contradicted"
    UNPROVEN = "unproven"
    """Nobody even claims it, or not so that it can be read."""


class State(StrEnum):
    """How a station of the path stands."""

    VERIFIED = "verified"
    CLAIMED = "claimed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """Not looked at, or nothing is there."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A line of evidence; texts are bounded."""

    name: str
    value: str
    mark: Mark = Mark.VERIFIED
    note: str = ""


@dataclass(frozen=True, slots=True)
class Station:
    """A part of the path, with the steps of the chain that bear it out."""

    key: str
    title: str
    state: State
    facts: tuple[Fact, ...]
    steps: tuple[StepLine, ...]


@dataclass(frozen=True, slots=True)
class RoleLine:
    """A signed metadata file: which version, and who may sign it."""

    role: str
    version: str
    expires: str
    sha256: str
    signed_by: tuple[str, ...]
    may_sign: str


@dataclass(frozen=True, slots=True)
class CheckLine:
    """What the policy compared."""

    name: str
    wanted: str
    found: str
    ok: bool


@dataclass(frozen=True, slots=True)
class PolicyView:
    """What the policy says: `state` is UNKNOWN where it was not asked, as something before it failed."""

    state: State
    reason: str
    facts: tuple[Fact, ...]
    checks: tuple[CheckLine, ...]
    more: int


@dataclass(frozen=True, slots=True)
class TrustPath:
    """What the page shows; `attested` is None where the chain broke before that was known."""

    stations: tuple[Station, ...]
    roles: tuple[RoleLine, ...]
    policy: PolicyView
    attested: bool | None

    @property
    def named(self) -> bool:
        """Whether the pointer names the attestation that is shown."""
        facts = [fact for station in self.stations for fact in station.facts]
        return any(fact.name == _NAMED and fact.mark is Mark.VERIFIED for fact in facts)

    @property
    def contradicted(self) -> bool:
        """Whether the publisher claims something that its certificate denies."""
        return any(fact.mark is Mark.CONTRADICTED for station in self.stations for fact in station.facts)


_OF_BUNDLE = ("attestation digest", "statement", "subject", "signature", "identity", "log")
_STATIONS = (
    ("commit", "Commit", ()),
    ("build", "Build", ("identity",)),
    ("attestation", "Attestation", ("attestation digest", "statement", "subject", "signature", "log")),
    ("metadata", "Signed metadata (TUF)", ("root", "timestamp", "snapshot", "target", "pointer")),
    ("bytes", "Bytes", ("digest", "catalogue")),
)
_NAMED = "Named by the signed pointer"
_CHECKS = 40
_ROLES = 8
_KEYS = 8

_BORNE_OUT = (("Repository", 12, "source"), ("Ref", 14, "ref"), ("Commit", 13, "commit"))
"""Word, number below 57264.1, name of the claim: what a certificate can say of the source.
Source: the documentation of Fulcio's certificate extensions."""

_OF_RUN = (("Workflow", 18), ("Triggered by", 20), ("Runner", 11), ("Run", 21))
_CLAIMED = (
    ("Builder", "builder_id"),
    ("Build type", "build_type"),
    ("Entry", "entry"),
    ("Run, by the predicate", "invocation"),
    ("Started", "started_on"),
)


def trust_path(found: Verification, may_sign: Mapping[str, str]) -> TrustPath:
    """Return the path of a file.

    Args:
        found: what was verified just now.
        may_sign: role -> who may sign it, in words; roles of which nothing is known are left out.
    """
    steps = {step.name: step for step in found.steps}
    attested = _attested(steps)
    facts = {
        "commit": tuple(_commit(steps)),
        "build": tuple(_build(steps)),
        "attestation": tuple(_attestation(steps)),
        "metadata": tuple(_pointer(steps)),
        "bytes": tuple(_bytes(steps)),
    }
    stations = tuple(
        _station(key, title, facts[key], [steps[name] for name in names if name in steps])
        for key, title, names in _STATIONS
        if attested is not False or key in {"metadata", "bytes"}
    )
    return TrustPath(stations, tuple(_roles(steps, may_sign))[:_ROLES], _policy(steps), attested)


def _station(key: str, title: str, facts: tuple[Fact, ...], steps: Sequence[StepLine]) -> Station:
    results = {step.result for step in steps}
    marks = {fact.mark for fact in facts}
    if "failed" in results or Mark.CONTRADICTED in marks:
        state = State.FAILED
    elif "passed" in results:
        # A log that no rule demands may be left out; what was not reached is behind a failure. The catalogue, the last
        # of all, is not reached where a policy refuses, and the bytes are the signed ones all the same.
        cut = any(_is_cut(step) for step in steps if step.name != "catalogue")
        state = State.UNKNOWN if cut else State.VERIFIED
    elif steps or not facts:
        state = State.UNKNOWN
    else:
        state = State.VERIFIED if Mark.VERIFIED in marks else State.CLAIMED
    return Station(key, title, state, facts, tuple(steps))


def _attested(steps: Mapping[str, StepLine]) -> bool | None:
    """Return whether there is an attestation; None where nobody looked."""
    told = [steps[name] for name in _OF_BUNDLE if name in steps]
    if any(step.result != "skipped" for step in told) or _evidence(steps, "pointer").get("attestation_sha256"):
        return True
    return None if any(_is_cut(step) for step in told) else False


def _is_cut(step: StepLine) -> bool:
    """Return whether a step was not reached, as one in front of it failed."""
    return step.result == "skipped" and step.reason.startswith("not looked at")


def _evidence(steps: Mapping[str, StepLine], name: str) -> Evidence:
    """Return the evidence of a step that passed: of another nothing is proven."""
    step = steps.get(name)
    return step.evidence if step is not None and step.result == "passed" else {}


def _certificate(steps: Mapping[str, StepLine]) -> Mapping[int, str]:
    """Return what the certificate says, by number below 57264.1."""
    told = _evidence(steps, "identity").get("certificate")
    if not isinstance(told, dict):
        return {}
    named = {name.removeprefix(EXTENSIONS): text for name, text in told.items() if name.startswith(EXTENSIONS)}
    return {int(number): str(text) for number, text in named.items() if number.isdecimal() and text}


def _claims(steps: Mapping[str, StepLine]) -> Mapping[str, str]:
    """Return what the statement claims, once its signer is known: before, it is nobody's claim."""
    told = _evidence(steps, "statement").get("claims")
    if not isinstance(told, dict) or not _evidence(steps, "identity"):
        return {}
    return {str(name): str(text) for name, text in told.items() if text}


def _commit(steps: Mapping[str, StepLine]) -> Iterator[Fact]:
    certificate, claims = _certificate(steps), _claims(steps)
    for word, number, name in _BORNE_OUT:
        proven, said = certificate.get(number), claims.get(name)
        if proven is not None:
            yield Fact(word, bounded(proven), note="the signer's certificate says so")
        if said is None or said == proven:
            continue
        if proven is None:
            yield Fact(word, bounded(said), Mark.CLAIM, "no certificate bears it out")
        else:
            yield Fact(word, bounded(said), Mark.CONTRADICTED, "claimed, and the signer's certificate says otherwise")


def _build(steps: Mapping[str, StepLine]) -> Iterator[Fact]:
    identity, certificate, claims = _evidence(steps, "identity"), _certificate(steps), _claims(steps)
    for word, name in (("Signed by", "san"), ("Identity of", "issuer"), ("Signed by key", "key")):
        if identity.get(name):
            yield Fact(word, bounded(identity[name]))
    for word, number in _OF_RUN:
        if number in certificate:
            yield Fact(word, bounded(certificate[number]), note="the signer's certificate says so")
    san = str(identity.get("san") or "")
    borne_out = {
        "builder_id": (san, san.partition("@")[0]),
        "invocation": (certificate.get(21),),
        "entry": _entry(certificate),
    }
    for word, name in _CLAIMED:
        said = claims.get(name)
        if said is None:
            continue
        if said in borne_out.get(name, ()):
            yield Fact(word, bounded(said), note="the same as in the signer's certificate")
        else:
            yield Fact(word, bounded(said), Mark.CLAIM, "no certificate bears it out")
    if "unreadable" in claims:
        yield Fact("Predicate", bounded(claims["unreadable"]), Mark.UNPROVEN, "what it claims cannot be read")


def _entry(certificate: Mapping[int, str]) -> tuple[str, ...]:
    """Return what was run, as the certificate has it: the path between its repository and its ref.

    Forges write one or two slashes behind the repository.
    """
    source, workflow, ref = (certificate.get(number, "") for number in (12, 18, 14))
    if not (source and ref and workflow.startswith(f"{source}/") and workflow.endswith(f"@{ref}")):
        return ()
    path = workflow[len(source) + 1 : -len(ref) - 1]
    return (path, path.removeprefix("/"))


def _attestation(steps: Mapping[str, StepLine]) -> Iterator[Fact]:
    statement, identity, log = (_evidence(steps, name) for name in ("statement", "identity", "log"))
    digest = _evidence(steps, "attestation digest")
    for word, value in (
        ("SHA-256 of the bundle", statement.get("bundle_sha256") or digest.get("sha256")),
        ("Type of statement", statement.get("predicate_type")),
    ):
        if value:
            yield Fact(word, bounded(value))
    if statement.get("bundle_sha256"):
        yield _named(steps, statement["bundle_sha256"])
    if identity.get("root"):
        kind = {"ca": "an own authority, without a log", "key": "a key that the policy names"}
        words = kind.get(str(identity.get("root_kind")), "an authority with a transparency log")
        yield Fact("Root of trust", bounded(identity["root"]), note=words)
    if log.get("log") and log["log"] != "none":
        index = log.get("log_index")
        yield Fact("Log", bounded(log.get("log_origin") or "unnamed"), note=f"Rekor {bounded(log['log'], 10)}")
        if index is not None:
            yield Fact("Log index", bounded(index))
    if identity:
        yield _signed_at(identity.get("signed_at"))


def _named(steps: Mapping[str, StepLine], bundle: Any) -> Fact:
    """Return whether the metadata covers the bundle: clients begin with that one."""
    if _evidence(steps, "pointer").get("attestation_sha256") == bundle:
        return Fact(_NAMED, "yes", note="so that the signed metadata covers it")
    return Fact(_NAMED, "no", Mark.UNPROVEN, "it verifies by itself; a client looks for it where the policy demands it")


def _signed_at(seconds: Any) -> Fact:
    if isinstance(seconds, int) and 0 < seconds < 1 << 36:
        return Fact("Signed at", utc(datetime.fromtimestamp(seconds, UTC)), note="log or time stamp prove it")
    return Fact("Signed at", "not known", Mark.UNPROVEN, "no log and no time stamp says when")


def _pointer(steps: Mapping[str, StepLine]) -> Iterator[Fact]:
    pointer, target = _evidence(steps, "pointer"), _evidence(steps, "target")
    for word, value in (
        ("Target", target.get("target")),
        ("SHA-256 of the pointer", pointer.get("sha256")),
        ("Index, project, version", " ".join(str(pointer.get(one) or "") for one in ("index", "project", "version"))),
        ("It names the attestation", pointer.get("attestation_sha256")),
    ):
        if value and str(value).strip():
            yield Fact(word, bounded(value))


def _bytes(steps: Mapping[str, StepLine]) -> Iterator[Fact]:
    digest = _evidence(steps, "digest")
    for word, name in (("SHA-256, as signed", "sha256"), ("SHA-256 of the stored bytes", "found_sha256")):
        if digest.get(name):
            yield Fact(word, bounded(digest[name]))
    if digest.get("length") is not None:
        yield Fact("Length", f"{bounded(digest['length'], 30)} bytes")


def _roles(steps: Mapping[str, StepLine], may_sign: Mapping[str, str]) -> Iterator[RoleLine]:
    """Iterate over the metadata files, from the root to the bin."""
    for role in ("root", "timestamp", "snapshot"):
        if told := _evidence(steps, role):
            yield _role(role, told, may_sign.get(role))
    roles = _evidence(steps, "target").get("roles")
    for role, told in roles.items() if isinstance(roles, dict) else ():
        if isinstance(told, dict):
            yield _role(str(role), told, may_sign.get(str(role), may_sign.get("bins")))


def _role(role: str, told: Evidence, who: str | None) -> RoleLine:
    keys = told.get("keys")
    return RoleLine(
        role=bounded(role, 40),
        version=bounded(told.get("version", ""), 20),
        expires=bounded(told.get("expires", ""), 30),
        sha256=bounded(told.get("sha256", ""), 64),
        signed_by=tuple(bounded(key, 64) for key in keys[:_KEYS]) if isinstance(keys, list) else (),
        may_sign=who or "not known here",
    )


def _policy(steps: Mapping[str, StepLine]) -> PolicyView:
    step = steps.get("policy")
    evidence: Evidence = {} if step is None else step.evidence
    verdict = evidence.get("verdict")
    # Identity and log that the policy refuses fail at their own steps, and tell its checks there.
    refused = next((one for one in steps.values() if one.result == "failed" and "checks" in one.evidence), None)
    told: Evidence = verdict if isinstance(verdict, dict) else {} if refused is None else refused.evidence
    deciding = step if refused is None else refused
    states = {"passed": State.VERIFIED, "failed": State.FAILED}
    given = told.get("checks")
    checks = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    facts = [
        Fact(word, bounded(value))
        for word, value in (
            ("Rule", told.get("rule")),
            ("Builder it lets sign", told.get("builder")),
            ("Level it counts for", told.get("level")),
            ("Version of trust", evidence.get("trust_version")),
            ("SHA-256 of the policy", evidence.get("policy_sha256")),
        )
        if value is not None
    ]
    return PolicyView(
        state=State.UNKNOWN if deciding is None else states.get(deciding.result, State.UNKNOWN),
        reason="" if deciding is None else bounded(deciding.reason, 1000),
        facts=tuple(facts),
        checks=tuple(_check(one) for one in checks[:_CHECKS]),
        more=max(len(checks) - _CHECKS, 0),
    )


def _check(told: Evidence) -> CheckLine:
    found = told.get("found")
    return CheckLine(
        name=bounded(told.get("name", ""), 60),
        wanted=bounded(told.get("wanted", "")),
        found="nothing" if found is None else bounded(found),
        ok=told.get("ok") is True,
    )
