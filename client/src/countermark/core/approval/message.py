"""What a person signs who approves a file, or registers a key to approve with: canonical bytes that name everything.

The first line parts these messages from all others that a key may sign, and one kind from the other. Lines are
`name: value` in a fixed order, LF, UTF-8; no value holds a control character, so that no two messages share their
bytes.

Source: architecture section 11.7; trust contract section 3.2 (the pointer, whose digest is signed).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from countermark.core.digest import InvalidDigest, Sha256, parse_sha256, sha256_of
from countermark.core.names import (
    FileName,
    IndexName,
    InvalidName,
    NormalizedName,
    parse_file_name,
    parse_index_name,
    parse_owner,
    parse_project_name,
)
from countermark.core.pointer import MalformedPointer, Pointer, parse_pointer

APPROVAL_NAMESPACE = "countermark-release-approval"
"""Namespace of SSH signatures of approvals: `ssh-keygen -Y sign -n countermark-release-approval`."""

KEY_NAMESPACE = "countermark-approval-key"
"""Namespace of SSH signatures by which a key proves that its holder registers it."""

MAX_MESSAGE_BYTES = 4096
"""Bytes of a message."""

_APPROVAL = "countermark release approval, version 1"
_KEY = "countermark approval key registration, version 1"
_MAX_VALUE = 512
_MAX_ROUND = 10**9
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_KEYID = re.compile(r"[0-9a-f]{64}\Z")


class InvalidApproval(ValueError):
    """The bytes are no message of ours, or one could not be made; the message says why."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What is approved: one file of one release in one index, and the pointer that will be signed for it.

    Attributes:
        round: how often the file was asked for, this time included: an approval that was given before a file was
            withdrawn or removed says nothing of the next time, whoever has kept it.

    Raises:
        InvalidApproval: a value is empty, too long or holds a control character; the round is none.
    """

    index: IndexName
    project: NormalizedName
    version: str
    file_name: FileName
    pointer_sha256: Sha256
    round: int

    namespace = APPROVAL_NAMESPACE

    def __post_init__(self) -> None:
        """Refuse what could be read in two ways."""
        _checked(str(self.index), self.project, self.version, self.file_name)
        if isinstance(self.round, bool) or not 1 <= self.round <= _MAX_ROUND:
            raise InvalidApproval("cannot be approved: rounds count from 1")

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which are signed."""
        return (
            f"{_APPROVAL}\nindex: {self.index}\nproject: {self.project}\nversion: {self.version}\n"
            f"file: {self.file_name}\npointer-sha256: {self.pointer_sha256}\nround: {self.round}\n"
        ).encode()


@dataclass(frozen=True, slots=True)
class KeyRegistration:
    """The statement that a key is this account's: nobody registers what somebody else holds."""

    account: str
    keyid: str

    namespace = KEY_NAMESPACE

    def __post_init__(self) -> None:
        """Refuse what is no account or no key id."""
        try:
            parse_owner(self.account)
        except InvalidName as error:
            raise InvalidApproval(str(error)) from error
        if not _KEYID.match(self.keyid):
            raise InvalidApproval("a key id is 64 lower-case hex characters")

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which are signed."""
        return f"{_KEY}\naccount: {self.account}\nkey: {self.keyid}\n".encode()


Statement = Approval | KeyRegistration
"""Whatever is signed by a key that approves."""


def approval_of(pointer: bytes, in_round: int) -> tuple[Approval, Pointer]:
    """Return what approving a pointer means, and the pointer.

    Args:
        pointer: its bytes; only canonical ones are taken, since only those are ever signed.
        in_round: how often its file was asked for.

    Raises:
        InvalidApproval: they are no pointer in canonical form.
    """
    try:
        read = parse_pointer(pointer)
    except MalformedPointer as error:
        raise InvalidApproval(f"the pointer is malformed: {error}") from error
    if read.to_bytes() != pointer:
        raise InvalidApproval("the pointer is not written in its one canonical form")
    return Approval(read.index, read.name, read.version, read.file_name, sha256_of(pointer), in_round), read


def parse_approval(data: bytes) -> Approval:
    """Return the approval that a message states.

    Raises:
        InvalidApproval: anything but the canonical bytes of one.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise InvalidApproval(f"longer than {MAX_MESSAGE_BYTES} bytes")
    try:
        lines = data.decode("utf-8").split("\n")
        if len(lines) != 8 or lines[0] != _APPROVAL or lines[7]:
            raise InvalidApproval("not a release approval of version 1")
        index, project, version, file_name, pointer, in_round = (line.partition(": ")[2] for line in lines[1:7])
        if not in_round.isascii() or not in_round.isdecimal() or len(in_round) > 10:
            raise InvalidApproval("not a release approval: its round is no number")
        read = Approval(
            parse_index_name(index),
            parse_project_name(project),
            version,
            parse_file_name(file_name),
            parse_sha256(pointer),
            int(in_round),
        )
    except (UnicodeDecodeError, InvalidName, InvalidDigest) as error:
        raise InvalidApproval(f"not a release approval: {error}") from error
    if read.to_bytes() != data:
        raise InvalidApproval("not in canonical form")
    return read


def _checked(*values: str) -> None:
    for value in values:
        if not value or len(value) > _MAX_VALUE or _CONTROL.search(value):
            raise InvalidApproval(f"cannot be approved: {value[:80]!r} is empty, too long or holds control characters")
