"""What the API of ceremonies takes and answers. Source: `countermark.core.ceremony.documents`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from securesystemslib.signer import Signature

from countermark.core.ceremony.documents import EVENT_TYPE, MAX_SIGNATURES
from services.signing.ceremonies.views import EventView

MAX_REASON = 1000
"""Characters."""


def _readable(text: str) -> str:
    """Refuse what a terminal would not just show: people decide by these words."""
    if not text.replace("\n", "").isprintable():
        raise ValueError("no control characters")
    return text


# The length is no part of the pattern: counted there, it would weigh 6 MB once compiled.
Hex = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]+$", max_length=20000)]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON), AfterValidator(_readable)
]
HolderName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), AfterValidator(_readable)
]
Shown = Literal["open", "ready", "final", "withdrawn", "expired"]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class ProposalBody(_Asked):
    """A change of a shared role."""

    role: str = Field(max_length=40, description="root, targets, trust or registry")
    change: dict[str, Any] = Field(
        default_factory=dict, description="add, remove, thresholds, bins, targets, untargets; empty to renew"
    )
    reason: Reason
    holders: dict[Digest, HolderName] = Field(
        default_factory=dict, max_length=64, description="key id -> who holds it, of keys that are added"
    )


class GivenSignature(_Asked):
    """A signature over the payload."""

    keyid: Digest
    sig: Hex

    def signature(self) -> Signature:
        """Return it as metadata have it."""
        return Signature(self.keyid, self.sig)


class SignaturesBody(_Asked):
    """Signatures of an event's payload; all are kept or none."""

    payload_sha256: Digest
    signatures: list[GivenSignature] = Field(min_length=1, max_length=MAX_SIGNATURES)


class ReasonBody(_Asked):
    """Why an event is withdrawn."""

    reason: Reason


class KeptSignature(_Answer):
    """A signature that an event has; it was verified."""

    keyid: str
    sig: str
    submitted_by: str
    submitted_at: datetime


class EventSummary(_Answer):
    """A signing event, without the files it is about."""

    type: Literal["countermark/signing-event/v1"] = EVENT_TYPE  # type: ignore[assignment]
    id: str
    role: str
    version: int
    payload_sha256: str
    reason: str
    proposed_by: str
    proposed_at: datetime
    expires_at: datetime
    state: Shown
    signatures: list[KeptSignature]
    missing: dict[str, int] = Field(description="old, new -> how many signatures are missing; empty when it is closed")
    holders: dict[str, str] = Field(description="key id -> who is said to hold it")

    @classmethod
    def of(cls, view: EventView) -> Self:
        """Return what is shown of an event."""
        return cls.model_validate(view.document().to_document())


class EventDocument(EventSummary):
    """A signing event as key holders take it to their machines; base64 of the files."""

    payload: str
    previous: str | None = Field(description="published file of the version before")
    delegator: str | None = Field(description="file whose keys must sign")


class RoleKey(_Answer):
    """A key of a role."""

    keyid: str
    scheme: str
    holder: str | None = Field(description="who is said to hold it")


class RoleState(_Answer):
    """A role as it is published now."""

    role: str
    version: int | None = Field(description="null for roles that each index signs for itself")
    expires_at: datetime | None
    sha256: str | None
    threshold: int
    keys: list[RoleKey]
    online: bool = Field(description="whether the server itself signs it")


class TrustState(_Answer):
    """The shared roles, and what is missing before anything can be published."""

    profile: str
    missing: list[str] = Field(description="empty once the first ceremony is done")
    roles: list[RoleState]
