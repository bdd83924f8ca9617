"""Wires the signing service. Its work arrives as jobs; from outside, through the gateway, come ceremonies alone."""

from __future__ import annotations

from services.signing.auditing import ChainLoop
from services.signing.events_api import trust_app
from services.signing.jobs import RefreshLoop, handlers
from services.signing.keys import KeyCheck
from services.signing.renewing import RenewLoop
from services.signing.telling import SigningLook
from services.signing.tidying import TidyLoop
from services.signing.usecases import Publisher
from shared.resources import Resources
from shared.service import Service


def create_service(resources: Resources) -> Service:
    """Return the signing service: publications and refreshes, and the routes of ceremonies."""
    publisher = Publisher(resources)
    return Service(
        name="signing",
        app=trust_app(resources),
        handlers=handlers(publisher),
        loops=(
            RefreshLoop(resources).run,
            ChainLoop(resources).run,
            RenewLoop(resources).run,
            TidyLoop(resources).run,
            SigningLook(resources).run,
        ),
        checks={"keys": KeyCheck(resources)},
    )
