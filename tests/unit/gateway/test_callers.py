"""What a token may hand on, and when nothing narrows its account."""

from __future__ import annotations

import pytest

from countermark.core.names import IndexName, NormalizedName
from gateway.v1.callers import holds
from shared.auth.permissions import unlimited
from shared.auth.principal import Principal, Scope, Verb

STABLE, OTHER = IndexName("root", "stable"), IndexName("root", "other")
DEMO = NormalizedName("demo")


def _scope(index: IndexName | None, project: NormalizedName | None, *verbs: Verb) -> Scope:
    return Scope(index, project, frozenset(verbs))


@pytest.mark.parametrize(
    ("held", "wanted", "allowed"),
    [
        (_scope(STABLE, None, Verb.READ), _scope(STABLE, None, Verb.READ), True),
        (_scope(STABLE, None, Verb.READ), _scope(STABLE, DEMO, Verb.READ), True),
        (_scope(None, None, Verb.READ), _scope(STABLE, None, Verb.READ), True),
        (_scope(STABLE, None, Verb.READ), _scope(None, None, Verb.READ), False),
        (_scope(STABLE, None, Verb.READ), _scope(OTHER, None, Verb.READ), False),
        (_scope(STABLE, None, Verb.READ), _scope(STABLE, None, Verb.UPLOAD), False),
        (_scope(STABLE, DEMO, Verb.UPLOAD), _scope(STABLE, None, Verb.UPLOAD), False),
        (_scope(None, DEMO, Verb.UPLOAD), _scope(STABLE, DEMO, Verb.UPLOAD), True),
    ],
)
def test_a_scope_is_within_another(held: Scope, wanted: Scope, allowed: bool) -> None:
    """Index, project and verb each count; leaving one out asks for all of them."""
    assert holds(Principal("alice", scopes=(held,)), [wanted]) is allowed


def test_scopes_add_up() -> None:
    """Two verbs may come from two scopes; an account without a token holds everything, a token without scopes
    nothing."""
    both = (_scope(STABLE, None, Verb.READ), _scope(None, None, Verb.UPLOAD))
    assert holds(Principal("alice", scopes=both), [_scope(STABLE, None, Verb.READ, Verb.UPLOAD)])
    assert not holds(Principal("alice", scopes=both), [_scope(OTHER, None, Verb.READ, Verb.UPLOAD)])
    assert holds(Principal("alice"), [_scope(None, None, *Verb)])
    assert not holds(Principal("alice", scopes=()), [_scope(STABLE, None, Verb.READ)])


def test_only_all_verbs_everywhere_are_unlimited() -> None:
    """One verb less, one index or one project only: the token is narrower than its account."""
    assert unlimited(Principal("alice"))
    assert unlimited(Principal("alice", scopes=(_scope(None, None, *Verb),)))
    for scope in (
        _scope(None, None, *(set(Verb) - {Verb.APPROVE})),
        _scope(STABLE, None, *Verb),
        _scope(None, DEMO, *Verb),
    ):
        assert not unlimited(Principal("alice", scopes=(scope,)))
