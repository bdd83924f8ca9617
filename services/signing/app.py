"""Wires the signing service. It answers nothing from outside: its work arrives as jobs."""

from __future__ import annotations

from starlette.applications import Starlette

from services.signing.jobs import RefreshLoop, handlers
from services.signing.keys import KeyCheck
from services.signing.telling import SigningLook
from services.signing.tidying import TidyLoop
from services.signing.usecases import Publisher
from shared.resources import Resources
from shared.service import Service


def create_service(resources: Resources) -> Service:
    """Return the signing service; its application has no routes but those its process adds (health)."""
    publisher = Publisher(resources)
    return Service(
        name="signing",
        app=Starlette(),
        handlers=handlers(publisher),
        loops=(RefreshLoop(resources).run, TidyLoop(resources).run, SigningLook(resources).run),
        checks={"keys": KeyCheck(resources)},
    )
