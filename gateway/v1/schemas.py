"""What the gateway's routes of `/api/v1` take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gateway.accounts import MAX_LABEL, MAX_SCOPES, MAX_TOKEN_LIFETIME
from gateway.policy_values import LONGEST_EXEMPTION, MAX_REASON
from gateway.writer import MAX_EMAIL
from shared.auth.principal import Verb

Name = Annotated[str, Field(min_length=1, max_length=200)]


class Payload(BaseModel):
    """A body that a client sends: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Answer(BaseModel):
    """What is answered."""

    model_config = ConfigDict(frozen=True)


class ScopePayload(Payload):
    """What a token is to be for."""

    index: Name | None = Field(None, description="owner/name; null for every index")
    project: Name | None = Field(None, description="one project; null for all")
    verbs: list[Verb] = Field(min_length=1, max_length=len(Verb))


class TokenPayload(Payload):
    """A token to be made."""

    label: Annotated[str, Field(min_length=1, max_length=MAX_LABEL)]
    scopes: list[ScopePayload] = Field(min_length=1, max_length=MAX_SCOPES)
    days: Annotated[int, Field(ge=1, le=MAX_TOKEN_LIFETIME.days)] | None = Field(
        None, description="days until it expires; left out: 90, or as long as the token that asks"
    )
    account: Name | None = Field(None, description="whose it is to be; left out: the caller's")


class AccountPayload(Payload):
    """An account to be made."""

    name: Name
    password: Annotated[str, Field(max_length=2000)] | None = None
    email: Annotated[str, Field(max_length=MAX_EMAIL)] | None = None


class PasswordPayload(Payload):
    """A new password."""

    password: Annotated[str, Field(max_length=2000)]


class IndexPayload(Payload):
    """An index to be made."""

    name: Name = Field(description="owner/name")
    visibility: Literal["public", "private"] = "public"
    description: Annotated[str, Field(max_length=1000)] | None = None


class IndexChange(Payload):
    """What of an index is to change; what is left out stays."""

    description: Annotated[str, Field(max_length=1000)] | None = None
    visibility: Literal["public", "private"] | None = Field(None, description="fixed: another one is refused")
    verify_on_read: bool | None = Field(
        None, description="whether files are served only while their chain holds; of stages alone"
    )


class GrantPayload(Payload):
    """What a subject may do, in place of what it could do before."""

    subject: Name = Field(description="an account, :group, :AUTHENTICATED: or :ANONYMOUS:")
    verbs: list[Verb] = Field(max_length=len(Verb))


class PolicyChange(Payload):
    """What of a policy is to change; what is left out stays, and a list that is given takes the place of the old."""

    min_age: int | Annotated[str, Field(max_length=20)] = Field(
        0, description="how old a mirrored file must be: seconds, or a number with s, m, h, d or w such as 7d"
    )
    reserved: list[Name] = Field([], description="beginnings of names that are never asked for upstream")
    denied: dict[Name, str] = Field({}, description="pattern of normalised names -> reason; * stands for anything")
    allowed: list[Name] | None = Field(None, description="patterns of the only names that mirrors show; null for all")
    quarantined: dict[Name, str] = Field({}, description="project -> reason")


class ExemptionPayload(Payload):
    """Leave for something to be shown before it is old enough."""

    project: Name
    version: Name | None = Field(None, description="null for all versions")
    reason: Annotated[str, Field(min_length=1, max_length=MAX_REASON)]
    days: Annotated[int, Field(ge=1, le=LONGEST_EXEMPTION.days)] | None = Field(
        None, description="for how long; left out, and without `until`: 7"
    )
    until: AwareDatetime | None = Field(None, description="when it ends, within 90 days")


class Scope(Answer):
    """What a token is for; null means every index, or every project."""

    index: str | None
    project: str | None
    verbs: list[Verb]


class Token(Answer):
    """A token without its secret."""

    id: UUID
    account: str
    label: str
    scopes: list[Scope]
    state: Literal["active", "expired", "revoked"]
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="to the minute")


class MintedToken(Answer):
    """A token as its owner gets it, this once."""

    id: UUID
    account: str
    token: str
    expires_at: datetime


class Me(Answer):
    """Who asks, and with what right."""

    name: str
    administrator: bool
    token: Token | None = Field(description="the token used; null for a password")


class Account(Answer):
    """An account."""

    name: str
    email: str | None
    has_password: bool
    created_at: datetime
    disabled_at: datetime | None


class Index(Answer):
    """An index; `serial` is null before its first publication."""

    name: str
    owner: str
    index: str
    type: str
    visibility: str
    description: str | None
    serial: int | None
    created_at: datetime
    verify_on_read: bool = Field(description="whether files are served only while their chain holds")
    verbs: list[Verb] = Field(description="what the caller may do")


class Grant(Answer):
    """What a subject may do on an index."""

    subject: str
    verbs: list[Verb]


class Grants(Answer):
    """All grants of an index."""

    items: list[Grant]


class Policy(Answer):
    """What an index shows of mirrored files."""

    index: str
    min_age: int = Field(description="seconds")
    min_age_words: str = Field(description="the same as people write it, for example 7d")
    reserved: list[str]
    reserved_everywhere: list[str] = Field(description="the operator's, for every index: setting mirrors.reserved")
    denied: dict[str, str]
    allowed: list[str] | None
    quarantined: dict[str, str]


class Exemption(Answer):
    """Leave that holds."""

    id: UUID
    project: str
    version: str | None
    owner: str
    reason: str
    created_at: datetime
    until: datetime


class Job(Answer):
    """A job that waits or runs (open), or was given up (dead)."""

    id: int
    kind: str
    ids: dict[str, Any]
    state: Literal["open", "dead"]
    created_at: datetime
    attempts: int
    last_error: str | None


class AuditEntry(Answer):
    """Who did what to which thing."""

    id: int
    at: datetime
    source: str | None
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
