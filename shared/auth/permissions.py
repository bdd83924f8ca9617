"""The one authorisation decision. Pure; called with the object that was resolved, by every route of every service.

Source: architecture sections 5.8 and 11.5.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

from shared.auth.principal import ANONYMOUS, AUTHENTICATED, Grant, Principal, Resource, Scope, Verb


class Decision(Enum):
    """What `authorize` found, with the words for the person refused."""

    ALLOWED = "allowed"
    NEEDS_CREDENTIALS = "credentials are needed"
    NO_GRANT = "your account has no such right on this index"
    OUT_OF_SCOPE = "the token is not for this index, project or action"


def authorize(principal: Principal, verb: Verb, resource: Resource) -> Decision:
    """Decide whether `principal` may do `verb` to `resource`. Denies unless a grant and, for a token, a scope allow it.

    1. Some grant on the index names the verb and the principal: the account, one of its groups, everyone known,
    everyone. A trusted publisher has no account: whoever may configure the index gave it what its scopes say.
    2. A token's scopes narrow what its account may do. Reading what everyone may read needs no scope,
       so that a token for one index does not lock its bearer out of public ones.
    """
    if principal.publisher:
        return _authorize_publisher(principal, verb, resource)
    subjects = {ANONYMOUS}
    if principal.account is not None:
        subjects |= {AUTHENTICATED, principal.account, *(f":{group}" for group in principal.groups)}
    granted = {grant.subject for grant in resource.grants if grant.verb is verb} & subjects
    if not granted:
        return Decision.NEEDS_CREDENTIALS if principal.is_anonymous else Decision.NO_GRANT
    if principal.scopes is None or (verb is Verb.READ and ANONYMOUS in granted):
        return Decision.ALLOWED
    if any(_covers(scope, verb, resource) for scope in principal.scopes):
        return Decision.ALLOWED
    return Decision.OUT_OF_SCOPE


def _authorize_publisher(principal: Principal, verb: Verb, resource: Resource) -> Decision:
    if any(_covers(scope, verb, resource) for scope in principal.scopes or ()):
        return Decision.ALLOWED
    open_to_all = verb is Verb.READ and Grant(ANONYMOUS, Verb.READ) in resource.grants
    return Decision.ALLOWED if open_to_all else Decision.OUT_OF_SCOPE


def authorize_some_project(principal: Principal, verb: Verb, resource: Resource) -> Decision:
    """Decide whether `principal` may do `verb` to at least one project of the index.

    For the check before a body is read, when the project is not known yet; never in place of `authorize`.
    """
    projects = [None, *(scope.project for scope in principal.scopes or () if scope.project is not None)]
    decisions = [authorize(principal, verb, replace(resource, project=project)) for project in projects]
    return Decision.ALLOWED if Decision.ALLOWED in decisions else decisions[0]


def unlimited(principal: Principal) -> bool:
    """Return whether nothing narrows what the account may do: a password, or a token for everything everywhere.

    What gives away new credentials of an account asks for this, so that no token can become more than it is.
    """
    return principal.scopes is None or any(
        scope.index is None and scope.project is None and scope.verbs >= frozenset(Verb) for scope in principal.scopes
    )


def _covers(scope: Scope, verb: Verb, resource: Resource) -> bool:
    """Whether a scope holds the verb, the index and the project; a project scope reads the whole index of its
    project."""
    if verb not in scope.verbs or (scope.index is not None and scope.index != resource.index):
        return False
    return scope.project is None or scope.project == resource.project or verb is Verb.READ
