"""What the registry says of a file that waits for approvals, checked: nothing is taken from its prose.

The pointer's bytes alone say what is approved: its index, project, version, file, digest and length. Each signature is
verified against the key that comes with it; that the key is that person's is the registry's word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from countermark.core.approval.keys import ApprovalKey, InvalidKey, parse_key
from countermark.core.approval.message import Approval, InvalidApproval, approval_of
from countermark.core.approval.signatures import BadSignature, verify
from countermark.core.binding import Asked, check_pointer
from countermark.core.digest import Measured, measure
from countermark.core.errors import (
    AttestationUnreadable,
    LocalState,
    PointerMismatch,
    PointerUnreadable,
    RegistryRefused,
    UsageFault,
    WrongDigest,
    WrongLength,
)
from countermark.core.filenames import parse_distribution
from countermark.core.names import IndexName, InvalidName
from countermark.core.pointer import Pointer

_CHUNK = 1 << 20

MAX_APPROVALS = 1000
"""Approvals of one file that are read."""


@dataclass(frozen=True, slots=True)
class SignedBy:
    """One approval; `fault` says why its signature does not count, None when it verifies. `said` is what the document
    says of it, as it was sent."""

    account: str
    key: ApprovalKey | None
    said: Mapping[str, str]
    given_at: str
    fault: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file that waits, or waited, for approvals.

    Attributes:
        statement: what an approval of it signs, made from the pointer here.
        needed: approvals, as the registry says.
        state: as the registry says.
    """

    statement: Approval
    pointer: Pointer
    pointer_bytes: bytes
    approvals: Sequence[SignedBy]
    needed: int
    state: str
    words: str

    @property
    def good(self) -> list[SignedBy]:
        """The approvals whose signatures verify."""
        return [one for one in self.approvals if one.fault is None]

    def lines(self) -> list[str]:
        """Return what a person reads before they sign: all that the pointer says, and its digest."""
        file, attestation = self.pointer.file, self.pointer.attestation
        evidence = "no bundle"
        if attestation is not None:
            evidence = f"{attestation.uri}, sha256 {attestation.digest}, {attestation.length} bytes"
        return [
            f"index    {self.statement.index}",
            f"project  {self.statement.project}",
            f"version  {self.statement.version}",
            f"file     {self.statement.file_name}",
            f"sha256   {file.digest}",
            f"length   {file.length} bytes",
            f"uri      {file.uri}",
            f"attested by {evidence}",
            f"pointer  sha256 {self.statement.pointer_sha256}",
        ]

    def exported(self) -> dict[str, object]:
        """Return the document that `approvals check` takes, JSON-ready."""
        return {
            "format": "countermark release approvals, version 1",
            "message": self.statement.to_bytes().decode(),
            "pointer": self.pointer_bytes.decode(),
            "round": self.statement.round,
            "needed": self.needed,
            "state": self.state,
            "words": self.words,
            "approvals": [
                {**one.said, **({} if one.fault is None else {"fault": one.fault})} for one in self.approvals
            ],
        }


def read_waiting(view: Mapping[str, object], index: IndexName | None) -> Waiting:
    """Read what the registry, or an exported document, says of a file.

    Args:
        index: which the file has to be of; None for whichever.

    Raises:
        RegistryRefused: it is no such document.
        PointerUnreadable: its pointer is none.
        PointerMismatch: it is about another index, or contradicts the name of its file.
    """
    pointer, listed, in_round = view.get("pointer"), view.get("approvals"), view.get("round")
    if not isinstance(pointer, str) or not isinstance(listed, list) or not isinstance(in_round, int):
        raise RegistryRefused("this says nothing of approvals", "Is this the address of a registry?")
    if len(listed) > MAX_APPROVALS:
        raise RegistryRefused("this says nothing of approvals", "Is this the address of a registry?")
    try:
        data = pointer.encode()
        statement, parsed = approval_of(data, in_round)
    except (UnicodeEncodeError, InvalidApproval) as error:
        raise PointerUnreadable(f"what waits cannot be approved: {error}") from error
    if index is not None and statement.index != index:
        raise PointerMismatch(f"the pointer is of index {statement.index}, and not of {index}")
    _check_named(parsed)
    needed, state, words = view.get("needed"), view.get("state"), view.get("words")
    return Waiting(
        statement=statement,
        pointer=parsed,
        pointer_bytes=data,
        approvals=_each_once([_signed(one, statement) for one in listed]),
        needed=needed if isinstance(needed, int) else 0,
        state=state if isinstance(state, str) else "",
        words=words if isinstance(words, str) else "",
    )


def _check_named(pointer: Pointer) -> None:
    """Refuse a pointer that no client would take, or whose version reads as something else than it is."""
    if any(character == " " or not character.isprintable() for character in pointer.version):
        raise PointerUnreadable(f"what waits cannot be approved: {pointer.version[:80]!r} is no version")
    try:
        named = parse_distribution(pointer.file_name)
    except InvalidName:
        return  # Its name tells no version that could contradict.
    check_pointer(pointer, Asked(pointer.index, named))


def check_file(waiting: Waiting, path: Path) -> None:
    """Return when a file of this machine is the one that waits.

    Raises:
        UsageFault: it has another name.
        WrongLength: it is longer or shorter.
        WrongDigest: it has other bytes.
        LocalState: it cannot be read.
    """
    wanted = waiting.pointer.file
    if path.name != waiting.statement.file_name:
        raise UsageFault(f"{path.name} is not {waiting.statement.file_name}", "Give the file that waits.")
    found = _measured(path)
    if found.length != wanted.length:
        raise WrongLength(f"{path} has {found.length} bytes, and the file that waits {wanted.length}")
    if found.sha256 != wanted.digest:
        raise WrongDigest(f"{path} has sha256 {found.sha256}, and the file that waits {wanted.digest}")


def refuse_bad(waiting: Waiting) -> None:
    """Return when every signature verifies.

    Raises:
        AttestationUnreadable: one does not.
    """
    bad = [one for one in waiting.approvals if one.fault is not None]
    if bad:
        raise AttestationUnreadable(f"the approval of {bad[0].account} does not verify: {bad[0].fault}")


def _measured(path: Path) -> Measured:
    try:
        with path.open("rb") as file:
            return measure(iter(lambda: file.read(_CHUNK), b""))
    except OSError as error:
        raise LocalState(f"cannot read {path}: {error.strerror or error}", "Give a file that can be read.") from error


def _each_once(signed: Sequence[SignedBy]) -> list[SignedBy]:
    """Return approvals in which no person and no key counts twice: one key is one account's, which approves once."""
    seen: set[str] = set()
    counted = []
    for one in signed:
        names = {f"account {one.account}"} | ({f"key {one.key.keyid}"} if one.key is not None else set())
        if one.fault is None and names & seen:
            counted.append(replace(one, fault="this person or key is counted already"))
            continue
        if one.fault is None:
            seen |= names
        counted.append(one)
    return counted


def _signed(one: object, statement: Approval) -> SignedBy:
    fields = one if isinstance(one, dict) else {}
    said = {name: str(fields.get(name)) for name in ("account", "keyid", "public_key", "signature", "given_at")}
    key, fault = None, None
    try:
        key = parse_key(said["public_key"])
        verify(key, statement, said["signature"])
        if key.keyid != said["keyid"]:
            fault = "the key has another id"
    except (InvalidKey, BadSignature) as error:
        fault = str(error)
    return SignedBy(said["account"], key, said, said["given_at"], fault)
