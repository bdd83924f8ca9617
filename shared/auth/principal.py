"""Who a request is, and what it wants to do: the arguments of `authorize`. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from countermark.core.names import IndexName, NormalizedName
from shared.ids import TokenId


class Verb(StrEnum):
    """What can be done to an index; the verbs of the grant table (architecture section 11.1)."""

    READ = "read"
    UPLOAD = "upload"
    TEST_RESULT = "test-result"
    REMOVE = "remove"
    APPROVE = "approve"
    CONFIGURE = "configure"


ANONYMOUS = ":ANONYMOUS:"
"""Grant subject: everyone, with or without credentials."""

AUTHENTICATED = ":AUTHENTICATED:"
"""Grant subject: everyone with valid credentials."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What a token may be used for; None means any index, or any project."""

    index: IndexName | None
    project: NormalizedName | None
    verbs: frozenset[Verb]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request.

    Attributes:
        account: the account's name; None for the anonymous principal. Of a trusted publisher its own name, which no
            account has.
        groups: group names without the leading colon.
        scopes: limits of the token used; None when the account itself signed in (password or session).
        token_id: the token used, if one was.
        publisher: whether it is a trusted publisher: the scopes are all its rights, and no grants are asked for.
    """

    account: str | None
    groups: frozenset[str] = frozenset()
    scopes: tuple[Scope, ...] | None = None
    token_id: TokenId | None = None
    publisher: bool = False

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody is known to be asking."""
        return self.account is None


NOBODY = Principal(account=None)
"""The anonymous principal."""


@dataclass(frozen=True, slots=True)
class Grant:
    """`subject` may do `verb`: an account's name, `:group`, `:ANONYMOUS:` or `:AUTHENTICATED:`."""

    subject: str
    verb: Verb


@dataclass(frozen=True, slots=True)
class Resource:
    """The object an action was resolved to: an index and, where one is meant, a project in it."""

    index: IndexName
    grants: frozenset[Grant] = field(default_factory=frozenset)
    project: NormalizedName | None = None
