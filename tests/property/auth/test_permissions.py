"""Laws of authorisation, over all principals, grants and scopes."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import NormalizedName

from countermark.core.names import IndexName
from shared.auth.permissions import Decision, authorize, authorize_some_project
from shared.auth.principal import ANONYMOUS, AUTHENTICATED, NOBODY, Grant, Principal, Resource, Scope, Verb

verbs = st.sampled_from(list(Verb))
accounts = st.sampled_from(["root", "ci", "mallory"])
groups = st.sampled_from(["team", "root"])
subjects = st.one_of(accounts, groups.map(lambda name: f":{name}"), st.sampled_from([ANONYMOUS, AUTHENTICATED]))
indexes = st.sampled_from([IndexName("root", "stable"), IndexName("root", "other")])
projects = st.one_of(st.none(), st.sampled_from([NormalizedName("widget"), NormalizedName("gadget")]))
scopes = st.builds(Scope, st.one_of(st.none(), indexes), projects, st.frozensets(verbs))
grants = st.builds(Grant, subjects, verbs)
resources = st.builds(Resource, indexes, st.frozensets(grants, max_size=8), projects)
known = st.builds(
    Principal, accounts, st.frozensets(groups), st.one_of(st.none(), st.lists(scopes, max_size=3).map(tuple))
)
principals = st.one_of(st.just(NOBODY), known)
publishers = st.builds(
    Principal,
    st.just("github:root/stable"),
    scopes=st.lists(scopes, max_size=3).map(tuple),
    publisher=st.just(True),
)


def allowed(principal: Principal, verb: Verb, resource: Resource) -> bool:
    """Whether the decision is yes."""
    return authorize(principal, verb, resource) is Decision.ALLOWED


@given(principals, verbs, resources)
def test_whoever_is_allowed_has_a_grant(principal: Principal, verb: Verb, resource: Resource) -> None:
    """No way leads to a right but a row of the grant table for that verb."""
    if allowed(principal, verb, resource):
        assert any(grant.verb is verb for grant in resource.grants)


@given(known, verbs, resources)
def test_a_token_never_has_more_than_its_account(principal: Principal, verb: Verb, resource: Resource) -> None:
    """Scopes only narrow."""
    if allowed(principal, verb, resource):
        assert allowed(replace(principal, scopes=None), verb, resource)


@given(principals, verbs, resources, grants)
def test_a_grant_more_never_takes_a_right_away(
    principal: Principal, verb: Verb, resource: Resource, grant: Grant
) -> None:
    """There are no denying rows: rights only add up."""
    if allowed(principal, verb, resource):
        assert allowed(principal, verb, replace(resource, grants=resource.grants | {grant}))


@given(known, verbs, resources)
def test_what_nobody_needs_credentials_for_everybody_may_read(
    principal: Principal, verb: Verb, resource: Resource
) -> None:
    """Sending a token never closes what is open to read."""
    if allowed(NOBODY, Verb.READ, resource):
        assert allowed(principal, Verb.READ, resource)
    if not allowed(NOBODY, verb, resource):
        assert authorize(NOBODY, verb, resource) is Decision.NEEDS_CREDENTIALS


@given(known, verbs, resources, projects)
def test_the_check_before_the_body_never_refuses_what_would_be_allowed(
    principal: Principal, verb: Verb, resource: Resource, project: NormalizedName | None
) -> None:
    """Whoever may do it to this project passes the earlier check, which does not know the project yet."""
    if allowed(principal, verb, replace(resource, project=project)):
        early = authorize_some_project(principal, verb, replace(resource, project=None))
        assert early is Decision.ALLOWED


@given(publishers, verbs, resources)
def test_a_publisher_has_what_its_scopes_say_and_what_everybody_may_read(
    publisher: Principal, verb: Verb, resource: Resource
) -> None:
    """No grant gives it more, also none of all who are known; and none is needed."""
    bare = replace(resource, grants=frozenset())
    opened = verb is Verb.READ and allowed(NOBODY, verb, resource)
    assert allowed(publisher, verb, resource) == (allowed(publisher, verb, bare) or opened)
    within = any(
        verb in scope.verbs
        and scope.index in {None, resource.index}
        and (scope.project in {None, resource.project} or verb is Verb.READ)
        for scope in publisher.scopes or ()
    )
    assert allowed(publisher, verb, bare) == within
    assert not allowed(replace(publisher, scopes=()), verb, bare)
