"""The one authorisation decision."""

import pytest
from packaging.utils import NormalizedName

from countermark.core.names import IndexName
from shared.auth.permissions import Decision, authorize, authorize_some_project
from shared.auth.principal import ANONYMOUS, AUTHENTICATED, NOBODY, Grant, Principal, Resource, Scope, Verb

INDEX = IndexName("root", "stable")
WIDGET = NormalizedName("widget")
GADGET = NormalizedName("gadget")
ROOT = Principal("root")
STRANGER = Principal("mallory")


def resource(*grants: tuple[str, Verb], project: NormalizedName | None = None) -> Resource:
    """An index, or a project in it, with these grants."""
    return Resource(INDEX, frozenset(Grant(subject, verb) for subject, verb in grants), project)


def token(verbs: set[Verb], index: IndexName | None = INDEX, project: NormalizedName | None = None) -> Principal:
    """The owner, with a token of one scope."""
    return Principal("root", scopes=(Scope(index, project, frozenset(verbs)),))


@pytest.mark.parametrize("verb", list(Verb))
@pytest.mark.parametrize("principal", [NOBODY, ROOT, STRANGER])
def test_without_a_grant_nobody_may_do_anything(principal: Principal, verb: Verb) -> None:
    """An index without grants is closed, also to its owner: the table is the only source of rights."""
    assert authorize(principal, verb, resource()) is not Decision.ALLOWED


def test_a_private_index_asks_nobody_for_credentials_and_refuses_strangers() -> None:
    """Anonymous readers are told to authenticate, known ones that they lack the right."""
    private = resource(("root", Verb.READ))
    assert authorize(ROOT, Verb.READ, private) is Decision.ALLOWED
    assert authorize(NOBODY, Verb.READ, private) is Decision.NEEDS_CREDENTIALS
    assert authorize(STRANGER, Verb.READ, private) is Decision.NO_GRANT


@pytest.mark.parametrize("subject", [AUTHENTICATED, ":team", "mallory"])
def test_every_kind_of_subject_counts(subject: str) -> None:
    """An account is reached by its name, by a group, and by being known at all."""
    principal = Principal("mallory", groups=frozenset({"team"}))
    assert authorize(principal, Verb.UPLOAD, resource((subject, Verb.UPLOAD))) is Decision.ALLOWED
    assert authorize(NOBODY, Verb.UPLOAD, resource((subject, Verb.UPLOAD))) is Decision.NEEDS_CREDENTIALS


def test_an_account_named_like_a_group_is_not_that_group() -> None:
    """The colon of group subjects keeps accounts and groups apart."""
    assert authorize(Principal("team"), Verb.READ, resource((":team", Verb.READ))) is Decision.NO_GRANT


def test_a_token_never_gives_more_than_its_account_has() -> None:
    """A scope without a grant behind it is worth nothing."""
    assert authorize(token({Verb.UPLOAD}), Verb.UPLOAD, resource(("other", Verb.UPLOAD))) is Decision.NO_GRANT


@pytest.mark.parametrize(
    "principal",
    [
        token({Verb.READ}),
        token({Verb.UPLOAD}, index=IndexName("root", "other")),
        token({Verb.UPLOAD}, project=GADGET),
    ],
)
def test_a_token_is_held_to_its_verbs_index_and_project(principal: Principal) -> None:
    """Each limit of a scope refuses by itself."""
    target = resource(("root", Verb.UPLOAD), project=WIDGET)
    assert authorize(principal, Verb.UPLOAD, target) is Decision.OUT_OF_SCOPE


def test_a_project_token_uploads_to_its_project_only() -> None:
    """The right project is allowed, and before the project is known there is at least one."""
    principal = token({Verb.UPLOAD}, project=WIDGET)
    grants = (("root", Verb.UPLOAD),)
    assert authorize(principal, Verb.UPLOAD, resource(*grants, project=WIDGET)) is Decision.ALLOWED
    assert authorize(principal, Verb.UPLOAD, resource(*grants)) is Decision.OUT_OF_SCOPE
    assert authorize_some_project(principal, Verb.UPLOAD, resource(*grants)) is Decision.ALLOWED
    assert authorize_some_project(token({Verb.READ}), Verb.UPLOAD, resource(*grants)) is Decision.OUT_OF_SCOPE


def test_what_everybody_may_read_needs_no_scope() -> None:
    """A token for one index does not lock its bearer out of public ones."""
    elsewhere = token({Verb.UPLOAD}, index=IndexName("root", "other"))
    assert authorize(elsewhere, Verb.READ, resource((ANONYMOUS, Verb.READ))) is Decision.ALLOWED
    assert authorize(elsewhere, Verb.READ, resource(("root", Verb.READ))) is Decision.OUT_OF_SCOPE
