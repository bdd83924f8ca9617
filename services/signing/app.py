"""Wires the signing service. It answers nothing from outside: its work arrives as jobs."""

from __future__ import annotations

from fastapi import FastAPI

from services.signing.jobs import RefreshLoop, handlers
from services.signing.usecases import Publisher
from shared.resources import Resources
from shared.service import Service


def create_service(resources: Resources) -> Service:
    """Return the signing service; its application has no routes but those its process adds (health)."""
    publisher = Publisher(resources)
    app = FastAPI(title="Countermark signing", openapi_url=None, docs_url=None, redoc_url=None)
    return Service(name="signing", app=app, handlers=handlers(publisher), loops=(RefreshLoop(resources).run,))
