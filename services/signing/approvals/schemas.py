"""What the routes of approvals take and answer."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from countermark.core.approval.keys import MAX_KEY_TEXT, parse_key
from countermark.core.approval.message import approval_of
from countermark.core.approval.signatures import MAX_SIGNATURE_TEXT
from services.signing.approvals.usecases import MOST_PEOPLE, Asked
from shared.catalogue.approval_writing import KeptApproval, RegisteredKey
from shared.catalogue.approvals import Demand as DemandRow
from shared.catalogue.approvals import RequestLine


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ApprovalItem(_Answer):
    """A file that waits, or waited, for approvals."""

    id: UUID = Field(description="of the file")
    project: str
    version: str
    filename: str
    sha256: str
    length: int = Field(description="bytes")
    pointer_sha256: str
    round: int = Field(description="how often it was asked for; an approval is of one round")
    state: str = Field(description="waiting, approved, withdrawn or expired")
    words: str = Field(description="the state, as a part of a sentence")
    needed: int
    given: int = Field(description="approvals that count")
    given_by: list[str]
    people: list[str] | None = Field(description="whose approvals count; null: whoever may approve")
    own: bool = Field(description="whether whoever brought it may approve it")
    asked_by: str = Field(description="who brought it here")
    asked_at: datetime
    expires_at: datetime
    beside: int = Field(description="further files that came with it, wait as well and are published together with it")
    decided_at: datetime | None
    decided_by: str | None

    @classmethod
    def of(cls, line: RequestLine, now: datetime) -> ApprovalItem:
        """Return what a list shows of a request."""
        return cls.model_validate(_fields(line, now))


class GivenApproval(_Answer):
    """One approval, with all that is needed to verify it elsewhere."""

    account: str
    keyid: str = Field(description="sha256 of the key's SubjectPublicKeyInfo")
    kind: str = Field(description="ed25519, ecdsa-p256, ssh-ed25519 or ecdsa-sha2-nistp256")
    public_key: str
    signature: str = Field(description="base64; of SSH keys what ssh-keygen -Y sign writes")
    given_at: datetime
    key_revoked_at: datetime | None

    @classmethod
    def of(cls, kept: KeptApproval) -> GivenApproval:
        """Return what is shown of an approval."""
        return cls(
            account=kept.account,
            keyid=kept.keyid,
            kind=kept.kind,
            public_key=kept.public_key,
            signature=kept.signature,
            given_at=kept.given_at,
            key_revoked_at=kept.revoked_at,
        )


class ApprovalView(ApprovalItem):
    """A file that waits, or waited, with what is signed and who signed it."""

    pointer: str = Field(description="the bytes of the pointer, which is what will be published for the file")
    message: str = Field(description="what is signed: index, project, version, file, pointer's sha256, round")
    approvals: list[GivenApproval]

    @classmethod
    def shown(cls, asked: Asked, now: datetime) -> ApprovalView:
        """Return what is shown of a request."""
        message = approval_of(asked.line.pointer, asked.line.round)[0].to_bytes().decode()
        return cls.model_validate(
            _fields(asked.line, now)
            | {"pointer": asked.line.pointer.decode(), "message": message}
            | {"approvals": [GivenApproval.of(one) for one in asked.given]}
        )


def _fields(line: RequestLine, now: datetime) -> dict[str, object]:
    standing = line.standing
    return {
        "id": line.file_id,
        "project": line.project,
        "version": line.version,
        "filename": line.file_name,
        "sha256": line.sha256,
        "length": line.length,
        "pointer_sha256": line.pointer_sha256,
        "round": line.round,
        "state": standing.state(now),
        "words": standing.words(now),
        "needed": standing.needed,
        "given": len(standing.given),
        "given_by": list(standing.given),
        "people": None if standing.people is None else list(standing.people),
        "own": line.own,
        "asked_by": line.asked_by,
        "asked_at": line.opened_at,
        "expires_at": standing.expires_at,
        "beside": standing.others,
        "decided_at": line.decided_at,
        "decided_by": line.decided_by,
    }


class Approve(_Request):
    """An approval."""

    keyid: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the registered key that signed")
    signature: str = Field(min_length=1, max_length=MAX_SIGNATURE_TEXT)


class Demand(_Answer):
    """What is demanded of files before they are published."""

    project: str | None = Field(description="null: of the whole index")
    needed: int
    people: list[str] | None = Field(description="whose approvals count; null: whoever may approve")
    own: bool = Field(description="whether whoever brought a file may approve it")
    set_at: datetime
    set_by: str

    @classmethod
    def of(cls, row: DemandRow) -> Demand:
        """Return what is shown of a demand."""
        return cls(
            project=row.project,
            needed=row.needed,
            people=None if row.people is None else list(row.people),
            own=row.own,
            set_at=row.set_at,
            set_by=row.set_by,
        )


class Demands(_Answer):
    """All demands of an index: of the whole index first, then by project."""

    items: list[Demand]


class NewDemand(_Request):
    """How many approvals files need from now on."""

    needed: int = Field(ge=1, le=MOST_PEOPLE)
    people: list[str] | None = Field(None, max_length=MOST_PEOPLE, description="null: whoever may approve")
    own: bool = Field(False, description="whether whoever brought a file may approve it")


class Key(_Answer):
    """A key that somebody approves with."""

    keyid: str
    account: str
    kind: str
    public_key: str
    fingerprint: str
    label: str
    registered_at: datetime
    revoked_at: datetime | None
    revoked_by: str | None

    @classmethod
    def of(cls, key: RegisteredKey) -> Key:
        """Return what is shown of a key."""
        return cls(
            keyid=key.keyid,
            account=key.account,
            kind=key.kind,
            public_key=key.public_key,
            fingerprint=parse_key(key.public_key).fingerprint,
            label=key.label,
            registered_at=key.registered_at,
            revoked_at=key.revoked_at,
            revoked_by=key.revoked_by,
        )


class Keys(_Answer):
    """The keys of an account, oldest first."""

    items: list[Key]


class NewKey(_Request):
    """A public key, with the proof that whoever registers it holds the private half."""

    public_key: str = Field(min_length=1, max_length=MAX_KEY_TEXT, description="PEM, or the line of an SSH key")
    label: str = Field("", max_length=100)
    signature: str = Field(min_length=1, max_length=MAX_SIGNATURE_TEXT, description="over the registration's message")
