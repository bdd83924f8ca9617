"""The index whose rights these people have."""

from __future__ import annotations

from countermark.core.names import IndexName
from shared.auth.principal import Verb
from tests.support.gateway import TestGateway

LAB = IndexName("ann", "lab")
RIGHTS = "/indexes/ann/lab/rights"


def verbs_of(gateway: TestGateway, subject: str) -> set[Verb]:
    """Return what somebody may do in that index."""
    record = gateway.resources.directory.index(LAB)
    assert record is not None
    return {grant.verb for grant in record.grants if grant.subject == subject}
