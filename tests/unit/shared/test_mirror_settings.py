"""What an operator may reserve for the whole deployment."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shared.settings import Mirrors


def test_prefixes_are_written_by_commas() -> None:
    """Each once, without what stands around it."""
    assert Mirrors(reserved=" acme-, lab ,acme-").reserved_prefixes == ("acme-", "lab")
    assert Mirrors().reserved_prefixes == ()


@pytest.mark.parametrize("written", ["Acme", "acme_x", "-", "a--b", "acme-,*", "a" * 65])
def test_what_no_normalised_name_begins_with_is_refused(written: str) -> None:
    """At the start, in words: else the operator would think the name is kept."""
    with pytest.raises(ValidationError, match="is no beginning of a normalised name"):
        Mirrors(reserved=written)
