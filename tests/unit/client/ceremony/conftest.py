"""A server of ceremonies on this machine."""

from __future__ import annotations

import pytest

from tests.unit.client.ceremony_server import (
    CeremonyServer,
)
from tests.unit.client.loopback import Loopback


@pytest.fixture
def ceremony(server: Loopback) -> CeremonyServer:
    """A deployment whose first ceremony is over."""
    made = CeremonyServer(server)
    made.bootstrap()
    return made
