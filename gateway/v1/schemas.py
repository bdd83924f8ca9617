"""What the gateway's routes of `/api/v1` take and answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from gateway.accounts import MAX_LABEL, MAX_SCOPES, MAX_TOKEN_LIFETIME
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


class GrantPayload(Payload):
    """What a subject may do, in place of what it could do before."""

    subject: Name = Field(description="an account, :group, :AUTHENTICATED: or :ANONYMOUS:")
    verbs: list[Verb] = Field(max_length=len(Verb))


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
    verbs: list[Verb] = Field(description="what the caller may do")


class Grant(Answer):
    """What a subject may do on an index."""

    subject: str
    verbs: list[Verb]


class Grants(Answer):
    """All grants of an index."""

    items: list[Grant]


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
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
