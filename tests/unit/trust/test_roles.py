"""Roles, their numbers, and the metadata made from them."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.trust.roles import PROFILES, Role, RoleSpec, is_due


@pytest.mark.parametrize(("keys", "threshold"), [(1, 2), (3, 0), (0, 0)])
def test_impossible_thresholds_are_refused(keys: int, threshold: int) -> None:
    """A threshold no set of keys can meet is an error, though the TUF library would take it."""
    with pytest.raises(ValueError, match="cannot be met"):
        RoleSpec(keys, threshold, timedelta(days=2), timedelta(days=1))


def test_a_role_that_is_always_due_is_refused() -> None:
    """Signing again before a signature is made would never end."""
    with pytest.raises(ValueError, match="due again"):
        RoleSpec(1, 1, timedelta(days=1), timedelta(days=1))


@pytest.mark.parametrize("name", list(PROFILES))
def test_every_profile_names_every_role(name: str) -> None:
    """No profile leaves a role without keys."""
    assert set(PROFILES[name].roles) == set(Role)


def test_a_timestamp_is_due_an_hour_after_it_was_made() -> None:
    """It lives a day, so many refreshes may fail before a client notices."""
    spec = PROFILES["development"].roles[Role.TIMESTAMP]
    made = datetime(2026, 1, 1, tzinfo=UTC)
    assert not is_due(spec, made + spec.lifetime, made + timedelta(minutes=59))
    assert is_due(spec, made + spec.lifetime, made + timedelta(hours=1))
